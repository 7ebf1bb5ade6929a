"""From sample rows to training examples, and what is refused."""

from datetime import date

import pytest

from aigq import warehouse
from aigq.days import parse_days
from aigq.settings import UserError
from aigq.think import BEHAVIORS_KEY
from training.base.tokenizer import train_tokenizer
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import last_day
from training.il_sft.samples import make_samples, read_rows
from training.il_sft.settings import SftSettings
from training.workspace import Snapshot, train_end


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["red shoes", "gift card"] * 3, vocab_size=420, max_behaviors=50)


def read(home, variant="direct", objective="il_sft", limit=1000, seed=1, outdated=0):
    con = warehouse.connect(home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with Snapshot(home, newest) as snapshot:
        rows, counts = read_rows(snapshot, variant, objective=objective, limit=limit, seed=seed)
        left_out = {
            "samples_without_rationales": 2,
            "samples_with_outdated_rationales": outdated,
        }
        assert counts == (left_out if variant == "think" else {})
        return rows


def make(rows, tokenizer, **changes):
    settings = {
        "max_prompt_tokens": 2000,
        "max_target_tokens": 100,
        "day_start_share": 0.0,
        "heldout_share": 0.0,
    }
    return make_samples(rows, tokenizer, SftSettings(**settings | changes))


ROW = {
    "session_id": "r1",
    "user_id": "u1",
    "age_band": "25-34",
    "gender": None,
    "region": "north",
    "behaviors": [
        {"days_ago": 2, "action": "search", "content_text": "red shoes", "content_key": "query:x"},
        {"days_ago": 0, "action": "order", "content_text": "Red shoe", "content_key": "item:1"},
    ],
    "labels": ["gift card", "red shoes"],
    "is_replayed": False,
    "user_hash": "80000000",
}


def test_one_sample_by_hand(tokenizer):
    samples = make([ROW], tokenizer)
    assert (samples.counts["samples_train"], samples.counts["samples_heldout"]) == (1, 0)
    (example,) = samples.train
    prompt, target = (
        example.input_ids[: example.target_start],
        example.input_ids[example.target_start :],
    )
    assert tokenizer.decode(prompt) == (
        "25-34||north\n1|<2_day_ago>|<search>|red shoes\n2|<0_day_ago>|<order>|Red shoe\n<hints>"
    )
    assert tokenizer.decode(target) == "gift card\nred shoes<|endoftext|>"
    assert example.labels == [-100] * len(prompt) + target


def test_day_start_drops_the_same_day_only(tokenizer):
    (example,) = make([ROW], tokenizer, day_start_share=1.0).train
    assert tokenizer.decode(example.input_ids[: example.target_start]) == (
        "25-34||north\n1|<2_day_ago>|<search>|red shoes\n<hints>"
    )
    whole, cut = (make([ROW] * 400, tokenizer, day_start_share=share).train for share in (0.0, 0.3))
    changed = sum(a != b for a, b in zip(whole, cut, strict=True))
    assert 80 < changed < 160


def test_training_split_only_in_an_order_of_the_seed(shop_home):
    rows = read(shop_home)
    assert len(rows) == 100
    assert not any(row["session_id"].endswith("-10") for row in rows)
    order = [row["session_id"] for row in rows]
    assert order == [row["session_id"] for row in read(shop_home)] != sorted(order)
    assert order[:10] == [row["session_id"] for row in read(shop_home, limit=10)]
    assert order != [row["session_id"] for row in read(shop_home, seed=2)]


def test_users_are_held_out_whole(shop_home, tokenizer):
    rows = read(shop_home)
    samples = make(rows, tokenizer, heldout_share=0.3)
    counts = samples.counts
    assert counts["samples_read"] == 100
    assert counts["samples_train"] + counts["samples_heldout"] == 100
    assert 10 < counts["samples_heldout"] < 50
    held = {row["user_id"] for row in rows if int(row["user_hash"], 16) < 0.3 * 16**8}
    assert sum(row["user_id"] in held for row in rows) == counts["samples_heldout"]


def test_long_targets_are_dropped_and_counted(tokenizer):
    long = ROW | {"labels": ["gift card"] * 60}
    samples = make([ROW] * 30 + [long], tokenizer)
    assert len(samples.train) == 30
    assert samples.counts["samples_target_too_long"] == 1
    with pytest.raises(UserError, match="10 of 40 targets have more than 100 tokens"):
        make([ROW] * 30 + [long] * 10, tokenizer)


def test_labels_that_no_list_can_hold_are_left_out_and_counted(tokenizer):
    mixed = ROW | {"labels": ["x" * 101, "red\u200bmug", "a\x00b"]}
    nothing = ROW | {"labels": ["x" * 101]}
    samples = make([ROW, mixed, nothing], tokenizer)
    targets = [tokenizer.decode(e.input_ids[e.target_start : -1]) for e in samples.train]
    assert targets == ["gift card\nred shoes", "red\u200bmug"]
    assert [samples.counts[name] for name in ("samples_read", "samples_train")] == [3, 2]
    assert samples.counts["labels_unlistable"] == 3
    assert samples.counts["samples_unlistable"] == 1
    with pytest.raises(UserError, match=r"none of 1 samples .* 1 without a label"):
        make([nothing], tokenizer)


def test_a_label_ends_no_target(tokenizer):
    (example,) = make([ROW | {"labels": ["<|endoftext|>x", "<hints>"]}], tokenizer).train
    target = example.input_ids[example.target_start :]
    assert target.count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(target[:-1]) == "<|endoftext|>x\n<hints>"


def test_nothing_left(tokenizer):
    with pytest.raises(UserError, match="none of 1 samples is left"):
        make([ROW], tokenizer, heldout_share=0.9)


@pytest.mark.parametrize("variant", ["direct", "think"])
def test_the_baseline_takes_the_same_labels_in_an_order_free_of_interest(
    shop_home, tokenizer, variant
):
    ours, plain = (read(shop_home, variant, o) for o in ("il_sft", "sft"))
    assert [row["session_id"] for row in ours] == [row["session_id"] for row in plain]
    for a, b in zip(ours, plain, strict=True):
        assert a["labels"] != b["labels"]
        assert sorted(a["labels"]) == sorted(b["labels"])


def test_the_baseline_is_asked_in_words(tokenizer):
    (example,) = make([ROW], tokenizer, objective="sft").train
    prompt = tokenizer.decode(example.input_ids[: example.target_start])
    assert prompt.startswith("You recommend search queries")
    # Prompt and order can be had apart, for the ablations.
    (example,) = make([ROW], tokenizer, objective="sft", prompt_style="compressed").train
    assert tokenizer.decode(example.input_ids[: example.target_start]).endswith("<hints>")


def test_a_think_sample_by_hand(tokenizer):
    points = [
        {"point_index": 0, "triggers": [2], "queries": ["red shoes", "socks"], "rationale": "Why."},
        {"point_index": 1, "triggers": [1, 2], "queries": ["gift card"], "rationale": "Why\nnot."},
    ]
    samples = make([ROW | {"points": points}], tokenizer, variant="think")
    (example,) = samples.train
    assert tokenizer.decode(example.input_ids) == (
        "25-34||north\n1|<2_day_ago>|<search>|red shoes\n2|<0_day_ago>|<order>|Red shoe\n"
        "<interests>1|Why not.\n2|Why.\n\n1|1,2\tgift card\n2|2\tred shoes<|endoftext|>"
    )
    assert tokenizer.decode(example.input_ids[example.target_start :]).startswith("1|Why not.")
    counts = samples.counts
    assert counts["labels_without_point"] == counts["points_not_shown"] == 0
    # At the start of the day the second behaviour is not there yet: nothing to reason from.
    points[1]["triggers"] = [1]
    cut = make([ROW | {"points": points}], tokenizer, variant="think", day_start_share=1.0)
    target = tokenizer.decode(cut.train[0].input_ids[cut.train[0].target_start :])
    assert target == "1|Why not.\n\n1|1\tgift card<|endoftext|>"
    assert cut.counts["points_not_shown"] == 1
    assert cut.counts["labels_without_point"] == 1


def test_triggers_follow_the_lines_that_the_budget_leaves(tokenizer):
    behaviors = [
        {"days_ago": 9 - i, "action": "search", "content_text": f"thing {i}", "content_key": "q"}
        for i in range(9)
    ]
    points = [
        {"point_index": 0, "triggers": [8], "queries": ["gift card"], "rationale": "Late."},
        {"point_index": 1, "triggers": [2], "queries": ["red shoes"], "rationale": "Early."},
    ]
    row = ROW | {"behaviors": behaviors, "points": points}
    whole = make([row], tokenizer, variant="think")
    size = whole.train[0].target_start
    samples = make([row], tokenizer, variant="think", max_prompt_tokens=size // 2)
    text = tokenizer.decode(samples.train[0].input_ids)
    prompt, target = text.split("<interests>")
    line = next(x for x in prompt.splitlines() if x.endswith("thing 7"))
    assert target == f"1|Late.\n\n1|{line.split('|')[0]}\tgift card<|endoftext|>"
    assert samples.counts["samples_context_cut"] == 1
    assert samples.counts["context_cut_share"] == 1
    assert samples.counts["points_not_shown"] == 1
    unseen = row | {"points": points[1:]}
    few = make([row, *[unseen] * 3], tokenizer, variant="think", max_prompt_tokens=size // 2)
    assert few.counts["samples_without_points"] == 3 and len(few.train) == 1
    with pytest.raises(UserError, match="4 of 5 samples have no interest point whose triggers"):
        make([row, *[unseen] * 4], tokenizer, variant="think", max_prompt_tokens=size // 2)


def test_think_reads_whole_sessions_that_a_teacher_explained(shop_home, tokenizer):
    rows = read(shop_home, "think")
    assert len(rows) == 98
    assert not any(row["user_id"] == "u0" for row in rows)
    assert len(read(shop_home, "think", limit=10)) == 10
    samples = make(rows, tokenizer, variant="think", max_target_tokens=400)
    assert len(samples.train) == 98
    saved = samples.counts["prompt_tokens"]["saved_share"]
    assert 0.3 < saved < 0.9


def test_tokens_of_both_prompts_are_counted(tokenizer):
    counts = make([ROW], tokenizer).counts["prompt_tokens"]
    (example,) = make([ROW], tokenizer).train
    (verbose,) = make([ROW], tokenizer, prompt_style="verbose").train
    assert counts["compressed"] == example.target_start
    assert counts["verbose"] == verbose.target_start


THINK = "lake.samples.samples_think"
RATIONALES = "lake.think.rationales"


@pytest.mark.parametrize(
    "change, message",
    [
        (f"DELETE FROM {RATIONALES}", "run `aigq generate rationales` first"),
        (f"DELETE FROM {THINK} WHERE split = 'train'", "no row with split 'train'"),
        (
            f"UPDATE {THINK} SET split = 'train' WHERE session_id = 'u4:2026-03-10'",
            "session u4:2026-03-10 has split 'train' but starts after the end",
        ),
    ],
)
def test_degenerate_think_samples_are_refused(own_home, change, message):
    warehouse.write(own_home, lambda con: con.execute(change))
    with pytest.raises(UserError, match=message):
        read(own_home, "think")


def test_rationales_of_other_behaviours_are_left_out(own_home):
    """A late event, or a teacher asked again in vain: numbers would point at neighbours."""
    asked = f"""
        INSERT INTO lake.think.teacher_inputs BY NAME
        SELECT 'rationales' AS task, session_id, {BEHAVIORS_KEY} AS behaviors_key FROM {THINK}
    """
    late = f"""
        UPDATE {THINK} SET behaviors = behaviors[2:] WHERE session_id IN
        ('u7:2026-03-08', 'u5:2026-03-08')
    """
    warehouse.write(own_home, lambda con: con.execute(asked))
    before = {row["session_id"] for row in read(own_home, "think")}
    warehouse.write(own_home, lambda con: con.execute(late))
    after = {row["session_id"] for row in read(own_home, "think", outdated=2)}
    assert before - after == {"u7:2026-03-08", "u5:2026-03-08"}
    every = f"UPDATE {THINK} SET behaviors = behaviors[2:]"
    warehouse.write(own_home, lambda con: con.execute(every))
    with pytest.raises(UserError, match=r"but for 98 with other behaviours: run `aigq generate"):
        read(own_home, "think")


@pytest.mark.parametrize("trigger", ["0", "99", "NULL"])
def test_triggers_of_another_context_are_refused(own_home, tokenizer, trigger):
    change = (
        f"UPDATE {RATIONALES} SET triggers = [1, {trigger}]"
        " WHERE session_id = 'u7:2026-03-08' AND point_index = 1"
    )
    warehouse.write(own_home, lambda con: con.execute(change))
    rows = read(own_home, "think")
    with pytest.raises(UserError, match=r"session u7:2026-03-08, point 1 has trigger \w+, but"):
        make(rows, tokenizer, variant="think")


SAMPLES = "lake.samples.samples_direct"


@pytest.mark.parametrize(
    "change, message",
    [
        (f"DELETE FROM {SAMPLES} WHERE split = 'train'", "no row with split 'train'"),
        (
            f"UPDATE {SAMPLES} SET labels = [] WHERE session_id = 'r3-7'",
            "1 training rows of samples.samples_direct have no label",
        ),
        (
            f"UPDATE {SAMPLES} SET labels = NULL WHERE user_id = 'u3'",
            "2 training rows of samples.samples_direct have no label",
        ),
        (
            f"UPDATE {SAMPLES} SET labels = ['red shoes', ' '] WHERE session_id = 'r3-7'",
            "session r3-7 has an empty label",
        ),
        (
            f"UPDATE {SAMPLES} SET split = 'train' WHERE session_id = 'r4-10'",
            "session r4-10 has split 'train' but starts after the end",
        ),
    ],
)
def test_degenerate_samples_are_refused(own_home, change, message):
    warehouse.write(own_home, lambda con: con.execute(change))
    with pytest.raises(UserError, match=message):
        read(own_home)


@pytest.mark.parametrize(
    ("days", "last", "rows"),
    [("2026-03-08..2026-03-10", 10, 100), ("2026-03-10..", 10, 50), ("..2026-03-09", 8, 100)],
)
def test_days_count_whatever_their_split(shop_home, days, last, rows):
    """Days 7 and 8 are of the training split, day 10 of the test split; day 9 has no sample."""
    con = warehouse.connect(shop_home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with Snapshot(shop_home, newest) as snapshot:
        found, _ = read_rows(snapshot, "direct", limit=1000, seed=1, days=parse_days(days))
        settings = GrpoSettings.load(None, {"days": days})
        day = last_day(snapshot, settings)
        assert day == date(2026, 3, last)
        end = f"2026-03-{last + 1:02}T00:00:00+00:00"
        assert train_end(snapshot, last=day) == end
        # What its base model or the CTR model has seen, it has seen too.
        assert train_end(snapshot, "2026-03-20T00:00:00+00:00", last=day)[:10] == "2026-03-20"
        assert train_end(snapshot)[:10] == "2026-03-10", "the training split's, where none is named"
        assert last_day(snapshot, GrpoSettings()) is None
    assert len(found) == rows
    numbers = {int(row["session_id"].split("-")[1]) for row in found}
    asked = parse_days(days)
    first, end = asked.first or date.min, asked.last or date.max
    assert numbers == {n for n in (7, 8, 10) if first <= date(2026, 3, n) <= end}


@pytest.mark.parametrize(
    ("variant", "days", "says"),
    [
        ("direct", "2026-03-09..2026-03-09", "has no row of the days 2026-03-09..2026-03-09"),
        ("think", "2026-03-10..", "think.rationales has none for the 50 training rows"),
    ],
)
def test_days_with_nothing_to_train_on(shop_home, variant, days, says):
    con = warehouse.connect(shop_home, read_only=True)
    newest = warehouse.current_snapshot(con)
    con.close()
    with Snapshot(shop_home, newest) as snapshot, pytest.raises(UserError, match=says):
        read_rows(snapshot, variant, limit=1000, seed=1, days=parse_days(days))
