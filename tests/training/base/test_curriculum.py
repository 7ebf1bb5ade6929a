"""The order of the base model's tasks."""

import pytest

from aigq.settings import UserError
from training.base.corpus import Line, ShopText, tokenizer_texts
from training.base.curriculum import STAGES, heldout_examples, stage_lines, training_plan
from training.base.job import BaseSettings
from training.base.tokenizer import train_tokenizer


def make_shop(items: int = 300) -> ShopText:
    searches = [Line("search", f"query:thing {i}", f"thing {i}") for i in range(300)]
    clicks = [Line("item_click", f"item:{i}", f"Item number {i}") for i in range(items)]
    return ShopText(
        queries=[(line.content_key, line.content_text) for line in searches],
        items={line.content_key: line.content_text for line in clicks},
        item_queries={line.content_key: ["thing 1"] for line in clicks},
        lines=[*searches, *clicks],
        profiles=[(None, None, None)],
        max_behaviors=50,
        list_length=10,
    )


SHOP = make_shop()
SETTINGS = BaseSettings(steps=60, batch_tokens=400, text_share=0.2, pair_share=0.1)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(tokenizer_texts(SHOP), vocab_size=600, max_behaviors=50)


def lines_of(example, tokenizer) -> int:
    return tokenizer.decode(example.input_ids[: example.target_start]).count("\n") - 1


def test_shares_and_growing_contexts(tokenizer):
    examples, plan = training_plan(SHOP, tokenizer, SETTINGS)
    assert len(plan) == 60
    kinds, longest = [], []
    for batch in plan:
        starts = {examples[i].target_start == 0 for i in batch}
        assert len(starts) == 1, "a batch is of one task"
        lines = max(lines_of(examples[i], tokenizer) for i in batch)
        kinds.append("text" if starts == {True} else "lists")
        longest.append(lines)
    assert kinds.count("text") == 12
    # Spread over the run, not heaped at one end.
    assert 4 <= kinds[:30].count("text") <= 8
    assert max(longest[:6]) <= stage_lines(0, 40)
    assert max(longest) > 30
    assert sum(longest[30:]) > 1.5 * sum(longest[:30])


def test_stage_lines_reach_the_longest_half_way():
    lines = [stage_lines(stage, 40) for stage in range(STAGES)]
    assert lines == [8, 16, 24, 32, 40, 40, 40, 40, 40, 40]
    assert stage_lines(0, 2) == 2


def test_a_shop_without_items_copies_more(tokenizer):
    examples, plan = training_plan(make_shop(items=0), tokenizer, SETTINGS)
    assert len(plan) == 60
    assert sum(examples[batch[0]].target_start == 0 for batch in plan) == 12


def test_heldout_examples_are_of_held_out_text(tokenizer):
    heldout = heldout_examples(SHOP, tokenizer, SETTINGS)
    trained = {tuple(e.input_ids) for e in training_plan(SHOP, tokenizer, SETTINGS)[0]}
    assert all(heldout[task] for task in ("text", "pairs", "copy"))
    assert not trained & {tuple(e.input_ids) for held in heldout.values() for e in held}


def test_shares_that_leave_nothing(tokenizer):
    with pytest.raises(UserError, match="must leave some steps to copying"):
        training_plan(SHOP, tokenizer, BaseSettings(steps=10, text_share=0.6, pair_share=0.4))


def test_no_search_to_copy(tokenizer):
    clicks_only = [line for line in SHOP.lines if line.query is None]
    shop = ShopText(**(vars(SHOP) | {"lines": clicks_only}))
    with pytest.raises(UserError, match="too little text"):
        training_plan(shop, tokenizer, SETTINGS)
