"""How slots lie to their references, by hand."""

import numpy as np
import pytest

from training.il_grpo.slots import alignment, matched

pytestmark = pytest.mark.torch


def test_matchings_by_hand():
    """ "red lamp" shares a word with either reference, in whichever place; what comes beyond the
    last reference has a best one, and none of its own."""
    found = matched(["red lamp", "red shoes", "blue lamp"], ["red shoes", "blue lamp"])
    own, any_order, best = found
    np.testing.assert_allclose(own, [0.5, 0, 0])
    np.testing.assert_allclose(any_order, [0.5, 0.5, 0])
    np.testing.assert_allclose(best, [0.5, 1, 1])


def test_figures_by_hand(make_trainer):
    """The first task's references are red shoes and blue lamp, in that order and in the other."""
    texts = [
        ("red shoes\nblue lamp", "blue lamp\nred shoes", "lamp\n\n", "lamp"),
        ("gift card",) * 4,
    ]
    trainer = make_trainer(texts=texts)
    found = alignment(trainer, trainer.tasks)
    # 1 1; 0 0; none, being broken; 0; 1 1 1 1.
    assert found["queries"] == 9 and found["prompts"] == 2
    assert found["own_place"] == pytest.approx(6 / 9)
    assert found["any_order"] == pytest.approx((4 * 0.5 + 1 / 3 + 4) / 9)
    assert found["best"] == pytest.approx((4 + 2 / 3 + 4) / 9)
    assert found["is_label"] == pytest.approx(8 / 9)
    assert found["is_own_label"] == pytest.approx(6 / 9)


def test_advantages_by_either_matching_are_compared(make_trainer):
    """Where every list is in order they are the same; turned lists have none by the best."""
    texts = [("red shoes\nblue lamp", "red\nblue") * 2, ("gift card",) * 4]
    trainer = make_trainer(texts=texts)
    assert alignment(trainer, trainer.tasks)["correlation"] == pytest.approx(1, abs=1e-5)
    texts = [
        ("red shoes\nblue lamp", "blue lamp\nred shoes", "red\nlamp", "lamp\nred"),
        ("lamp",) * 4,
    ]
    trainer = make_trainer(texts=texts)
    # Of the first slot, 1 0 2/3 0 by place and 1 1 2/3 2/3 by the best, both less their means (and
    # divided by their deviations); of the second likewise 1 0 2/3 0.
    assert alignment(trainer, trainer.tasks)["correlation"] == pytest.approx(0.192, abs=1e-3)
