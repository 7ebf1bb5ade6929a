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


def test_longer_lists_alone_raise_the_list_s_reward_and_no_slot_s(make_trainer):
    short, long = "red shoes\nblue lamp", "red shoes\nblue lamp\ngift\ncard"
    found = []
    for text in (short, long):
        trainer = make_trainer(texts=[(text,) * 4, ("gift card",) * 4], **WORTH)
        found.append(measure(trainer, trainer.tasks[:1]))
    assert found[1]["list_reward"] == 2 * found[0]["list_reward"]
    assert found[1]["slot_reward"] == found[0]["slot_reward"] == 1
