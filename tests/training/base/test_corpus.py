"""What the base model may read, and the copy curriculum shown by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq import warehouse
from aigq.context import MAX_DAYS_AGO, SPECIAL_TOKENS, compressed_prompt
from aigq.lists import parse_list
from aigq.settings import UserError
from aigq.think import parse_think
from training.base.corpus import (
    Line,
    ShopText,
    copy_examples,
    copy_sample,
    is_heldout,
    pair_examples,
    read_shop_text,
    text_examples,
    tokenizer_texts,
    unlistable_labels,
)
from training.base.tokenizer import train_tokenizer
from training.workspace import Snapshot

SHOES = Line("search", "query:red shoes", "red shoes")
LAMP = Line("search", "query:desk lamp", "desk lamp")
KETTLE = Line("item_click", "item:7", "Steel kettle")


def test_copy_sample_by_hand():
    context, target = copy_sample(
        [SHOES, KETTLE, LAMP, SHOES, KETTLE], ("25-34", None, "north"), [9, 9, 4, 1, 0], 10
    )
    assert compressed_prompt(context) == (
        "25-34||north\n"
        "1|<9_day_ago>|<search>|red shoes\n"
        "2|<9_day_ago>|<click>|Steel kettle\n"
        "3|<4_day_ago>|<search>|desk lamp\n"
        "4|<1_day_ago>|<search>|red shoes\n"
        "5|<0_day_ago>|<click>|Steel kettle\n"
        "<hints>"
    )
    assert target == ["red shoes", "desk lamp"]


def test_copy_sample_keeps_the_latest_when_cut():
    _, target = copy_sample([SHOES, LAMP], (None, None, None), [1, 0], 1)
    assert target == ["desk lamp"]


def make_shop(**changes) -> ShopText:
    lines = [Line("search", f"query:thing {i}", f"thing {i}") for i in range(300)]
    lines += [Line("item_click", f"item:{i}", f"Item number {i}") for i in range(300)]
    values = {
        "queries": [(line.content_key, line.content_text) for line in lines[:300]],
        "items": {line.content_key: line.content_text for line in lines[300:]},
        "item_queries": {f"item:{i}": [f"thing {i}", f"thing {i + 1}"] for i in range(299)},
        "lines": lines,
        "profiles": [("25-34", "f", "north"), (None, None, None)],
        "max_behaviors": 50,
        "list_length": 10,
    }
    return ShopText(**(values | changes))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(tokenizer_texts(make_shop()), vocab_size=600, max_behaviors=50)


def copies(tokenizer, shop=None, **changes):
    arguments = {
        "count": 200,
        "max_lines": 12,
        "day_start_share": 0.5,
        "seed": [1],
        "heldout": False,
    }
    return copy_examples(shop or make_shop(), tokenizer, **(arguments | changes))


def test_copy_lists_are_the_prompt_s_own_queries_in_reverse(tokenizer):
    for example in copies(tokenizer):
        prompt = tokenizer.decode(example.input_ids[: example.target_start])
        lines = prompt.split("\n")
        assert lines[-1] == "<hints>"
        searched = [line.rpartition("|")[2].strip() for line in lines[1:-1] if "<search>" in line]
        assert example.input_ids[-1] == tokenizer.eos_token_id
        target = tokenizer.decode(example.input_ids[example.target_start : -1])
        parsed = parse_list(target, finished=True)
        assert parsed.error is None and parsed.duplicates == 0
        assert list(parsed.queries) == list(dict.fromkeys(reversed(searched)))[:10]


def test_copied_interest_points_name_the_lines_of_their_queries(tokenizer):
    think = 0
    for example in copies(tokenizer, think_share=0.5):
        prompt = tokenizer.decode(example.input_ids[: example.target_start])
        *lines, asked = prompt.split("\n")[1:]
        texts = [line.rpartition("|")[2].strip() if "<search>" in line else None for line in lines]
        target = tokenizer.decode(example.input_ids[example.target_start : -1])
        if asked == "<hints>":
            assert parse_list(target, finished=True).error is None
            continue
        think += 1
        parsed = parse_think(target, finished=True, behaviors=len(lines))
        assert parsed.error is None and parsed.duplicates == 0
        searched = [text for text in texts if text is not None]
        assert list(parsed.queries) == list(dict.fromkeys(reversed(searched)))[:10]
        for point in parsed.points:
            assert {texts[t - 1] for t in point.triggers} == set(point.queries)
            assert point.triggers == tuple(
                n for n, text in enumerate(texts, start=1) if text in point.queries
            )
            assert point.rationale == ", ".join(point.queries)
    assert 60 < think < 140


def test_every_day_token_is_met_and_days_fall(tokenizer):
    zero = tokenizer.convert_tokens_to_ids("<0_day_ago>")
    day_of = {
        tokenizer.convert_tokens_to_ids(t): d
        for d, t in enumerate(t for t in SPECIAL_TOKENS if t.endswith("day_ago>"))
    }
    seen = set()
    without_today = 0
    examples = copies(tokenizer, count=600)
    for example in examples:
        days = [day_of[i] for i in example.input_ids if i in day_of]
        assert days == sorted(days, reverse=True)
        seen |= set(days)
        without_today += zero not in example.input_ids
    assert seen == set(range(MAX_DAYS_AGO + 2))
    assert without_today > 0.5 * len(examples)
    assert without_today < len(examples)


def test_held_out_text_is_in_no_training_example(tokenizer):
    shop = make_shop()
    hidden = {line.content_text for line in shop.lines if is_heldout(line.content_key)}
    assert len(hidden) >= 4
    for heldout in (False, True):
        found = set()
        for example in copies(tokenizer, heldout=heldout, count=300):
            for line in tokenizer.decode(example.input_ids[: example.target_start]).split("\n"):
                found.add(line.rpartition("|")[2].strip())
        assert bool(found & hidden) == heldout
        pairs = pair_examples(shop, tokenizer, heldout=heldout)
        assert pairs
        targets = {
            query
            for e in pairs
            for query in tokenizer.decode(e.input_ids[e.target_start : -1]).split("\n")
        }
        if not heldout:
            assert not targets & hidden
    assert not set(tokenizer_texts(shop)) & hidden


def test_same_seed_same_examples(tokenizer):
    assert copies(tokenizer, seed=[4]) == copies(tokenizer, seed=[4]) != copies(tokenizer, seed=[5])


LONG = "x" * 101


def test_queries_that_no_list_can_hold_are_in_no_list(tokenizer):
    lines = [Line("search", f"query:{LONG}", LONG), *make_shop().lines[:5]]
    shop = make_shop(
        lines=lines,
        queries=[(line.content_key, line.content_text) for line in lines],
        item_queries={f"item:{i}": [LONG, "thing 1"] for i in range(20)} | {"item:20": [LONG]},
    )
    examples = copies(tokenizer, shop) + pair_examples(shop, tokenizer, heldout=False)
    for example in examples:
        target = tokenizer.decode(example.input_ids[example.target_start : -1])
        assert parse_list(target, finished=True).error is None
    assert unlistable_labels(shop) == 1 + 21


def test_text_ends_no_block(tokenizer):
    (example,) = text_examples(["a <|endoftext|>b <hints>"], tokenizer)
    assert example.input_ids.count(tokenizer.eos_token_id) == 1
    assert tokenizer.convert_tokens_to_ids("<hints>") not in example.input_ids


def test_text_blocks_hold_all_text_and_eos(tokenizer):
    texts = [f"thing {i}" for i in range(200)]
    examples = text_examples(texts, tokenizer)
    ids = [i for e in examples for i in e.input_ids]
    assert all(len(e.input_ids) <= 256 and e.target_start == 0 for e in examples)
    assert tokenizer.decode(ids).split(tokenizer.eos_token)[:-1] == texts
    assert text_examples([], tokenizer) == []


@given(st.text(max_size=40))
def test_tokenizer_returns_any_text(text):
    tokenizer = _TOKENIZER
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


_TOKENIZER = train_tokenizer(["red shoes"], vocab_size=400, max_behaviors=3)


def test_prompt_fields_are_single_tokens(tokenizer):
    for token in SPECIAL_TOKENS:
        assert len(tokenizer(token)["input_ids"]) == 1
    assert len(tokenizer("\n12|<3_day_ago>|<search>|")["input_ids"]) == 5
    assert len(tokenizer) <= 600


def test_training_days_only(own_home):
    def later(con):
        con.execute(
            "INSERT INTO lake.behavior.behaviors VALUES"
            " ('u1', TIMESTAMPTZ '2026-03-10 00:00:00+00', 'search', 'query:from the future',"
            " 'from the future', NULL),"
            " ('u1', TIMESTAMPTZ '2026-03-10 01:00:00+00', 'item_click', 'item:new', 'New', NULL)"
        )
        con.execute("INSERT INTO lake.items.item_texts VALUES ('new', 'New', 'rule', NULL)")
        return warehouse.current_snapshot(con)

    warehouse.write(own_home, later)
    con = warehouse.connect(own_home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with Snapshot(own_home, newest) as snapshot:
        shop = read_shop_text(snapshot, line_count=10**6, seed=1)
    assert len(shop.items) == len(shop.queries) == 40
    assert "item:new" not in shop.items
    texts = {line.content_text for line in shop.lines} | {text for _, text in shop.queries}
    assert "from the future" not in texts and "New" not in texts
    # Days 1 to 9, two behaviours a day, 50 users: all of them, and none of day 10.
    assert len(shop.lines) == 50 * 9 * 2
    assert shop.profiles == [("25-34", "f", "north")]


def test_no_search_no_model(own_home):
    warehouse.write(own_home, lambda con: con.execute("DELETE FROM lake.behavior.behaviors"))
    con = warehouse.connect(own_home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with (
        Snapshot(own_home, newest) as snapshot,
        pytest.raises(UserError, match=r"behavior\.behaviors holds no search"),
    ):
        read_shop_text(snapshot, line_count=10, seed=1)


def test_lines_are_drawn_by_seed(shop_home):
    con = warehouse.connect(shop_home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with Snapshot(shop_home, newest) as snapshot:
        drawn = [read_shop_text(snapshot, line_count=50, seed=s).lines for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert np.all([len(lines) == 50 for lines in drawn])
