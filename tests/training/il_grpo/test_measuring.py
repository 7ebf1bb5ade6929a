"""What held-out rollouts are worth, by hand."""

import pytest

from training.il_grpo.measuring import measure

pytestmark = pytest.mark.torch

# Queries are worth their length in bounds alone: 1 each, and 0 for what is one character.
WORTH = {"weight_ctr": 0, "weight_rouge": 0, "weight_length": 1}


def test_figures_by_hand(make_trainer):
    """References of two queries and of one."""
    texts = [("red shoes\nx", "lamp", "lamp\nred\nshoes", "\n"), ("gift\ncard",) * 4]
    trainer = make_trainer(texts=texts, **WORTH)
    found = measure(trainer, trainer.tasks)
    # Slots as written: 1 0, 1, 1 1 1, none; then four times 1 1.
    assert found["query_reward"] == pytest.approx((5 + 8) / (6 + 8))
    assert found["list_reward"] == pytest.approx((1 + 1 + 3 + 0 + 4 * 2) / 8)
    # Of the reference's slots: 1/2, 1/2, 1, 0; then four times 1.
    assert found["slot_reward"] == pytest.approx((0.5 + 0.5 + 1 + 0 + 4) / 8)
    assert found["malformed"] == pytest.approx(1 / 8) and found["prompts"] == 2
    assert measure(trainer, []) == {}


def test_figures_of_each_term_by_hand(make_trainer):
    """ "red shoes" is clicked with .2, all else with .1, and the reward is four times that."""
    texts = [("red shoes\nblue lamp", "red shoes\nred shoes"), ("gift card", "lamp\ngift card")]
    trainer = make_trainer(
        texts=texts, rollouts=2, weight_ctr=0.5, weight_rouge=0.25, weight_length=1
    )
    found = measure(trainer, trainer.tasks)
    # .8 .4; .8, and 0 for what was said; .4; .4 .4.
    assert found["ctr_per_query"] == pytest.approx((0.8 + 0.4 + 0.8 + 0 + 0.4 + 0.4 + 0.4) / 7)
    # With "red shoes", "blue lamp": 1 1; 1 0. With "gift card": 1; 0, and nothing to be like.
    assert found["rouge_per_query"] == pytest.approx(4 / 7)
    assert found["ctr"] == pytest.approx(0.5 * 3.2 / 4)
    assert found["rouge"] == pytest.approx(0.25 * 4 / 4)
    assert found["length"] == pytest.approx(7 / 4)
    assert found["query_reward"] == pytest.approx((0.5 * 3.2 + 0.25 * 4 + 7) / 7)
    # Both slots, one of two filled by distinct queries, one, more than one.
    assert found["format"] == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert found["duplicates"] == pytest.approx(-0.5 / 4)
    assert found["triggers"] == 0
    of_terms = ("ctr", "rouge", "length", "format", "duplicates", "triggers")
    assert found["reward"] == pytest.approx(sum(found[name] for name in of_terms))
    assert found["queries"] == pytest.approx(7 / 4)
    assert found["distinct_share"] == pytest.approx((2 + 2) / 7)


def test_longer_lists_alone_raise_the_list_s_reward_and_no_slot_s(make_trainer):
    short, long = "red shoes\nblue lamp", "red shoes\nblue lamp\ngift\ncard"
    found = []
    for text in (short, long):
        trainer = make_trainer(texts=[(text,) * 4, ("gift card",) * 4], **WORTH)
        found.append(measure(trainer, trainer.tasks[:1]))
    assert found[1]["list_reward"] == 2 * found[0]["list_reward"]
    assert found[1]["slot_reward"] == found[0]["slot_reward"] == 1
