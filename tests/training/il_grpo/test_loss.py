"""The surrogate against plain numbers and against autograd of the formula as it is written."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl import GRPOTrainer

from training.il_grpo.loss import (
    Bounds,
    entropy_bonus,
    entropy_threshold,
    is_exploring,
    kept_log_probs,
    token_loss,
)

BOUNDS = Bounds(tight=(0.1, 0.2), wide=(0.3, 0.4))
NUMBERS = st.floats(-2, 2, allow_nan=False, width=32)


def test_by_hand():
    """Ratios 1, 1.3 and 0.75. Tight: the gain stops at 1.2, a loss of probability at 0.9; wide:
    1.4 and 0.7 are not reached."""
    ratios = torch.tensor([[1.0, 1.3, 0.75]])
    old = torch.zeros(1, 3)
    for exploring, advantage, expected, clipped in (
        (False, 2.0, [-2.0, -2.4, -1.5], [False, True, False]),
        (False, -2.0, [2.0, 2.6, 1.8], [False, False, True]),
        (True, 2.0, [-2.0, -2.6, -1.5], [False, False, False]),
        (True, -2.0, [2.0, 2.6, 1.5], [False, False, False]),
    ):
        log_probs = ratios.log().requires_grad_()
        found = token_loss(
            log_probs,
            old,
            torch.full((1, 3), advantage),
            torch.full((1, 3), exploring),
            BOUNDS,
        )
        torch.testing.assert_close(found.loss, torch.tensor([expected]))
        torch.testing.assert_close(found.ratio, ratios)
        assert found.is_clipped.tolist() == [clipped]
        found.loss.sum().backward()
        assert (log_probs.grad == 0).tolist() == [clipped]


def test_the_first_step_is_the_policy_gradient():
    """On policy the ratio is 1 and the gradient - A / T times that of the log-probability."""
    log_probs = torch.randn(2, 5, requires_grad=True)
    advantages = torch.randn(2, 5)
    found = token_loss(log_probs, log_probs.detach(), advantages, torch.zeros(2, 5).bool(), BOUNDS)
    torch.testing.assert_close(found.loss, -advantages)
    found.loss.mean().backward()
    torch.testing.assert_close(log_probs.grad, -advantages / 10)


@given(NUMBERS, NUMBERS)
def test_kl_is_never_negative_and_zero_where_nothing_moved(log_prob, reference):
    log_probs, reference = torch.tensor([[log_prob]]), torch.tensor([[reference]])
    flat = torch.zeros(1, 1)
    found = token_loss(
        log_probs, log_probs, flat, flat.bool(), BOUNDS, reference_log_probs=reference, beta=0.5
    )
    assert found.loss.item() >= -1e-6
    if log_probs.equal(reference):
        assert found.loss.item() == 0
    torch.testing.assert_close(
        found.loss.item(),
        0.5 * (math.exp(reference - log_probs) - (reference - log_probs).item() - 1),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_threshold_is_of_the_whole_batch_s_completion_tokens():
    entropies = torch.tensor([[0.0, 1.0, 2.0, 9.0], [3.0, 4.0, 9.0, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    threshold = entropy_threshold(entropies, mask, 0.75)
    assert threshold.item() == 3.0
    exploring = is_exploring(entropies, mask, threshold)
    assert exploring.tolist() == [[False, False, False, False], [True, True, False, False]]
    assert is_exploring(entropies, mask, entropy_threshold(entropies, mask, 0.0)).equal(mask.bool())
    none = torch.zeros_like(mask)
    assert not is_exploring(entropies, none, entropy_threshold(entropies, none, 0.8)).any()


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=30), st.floats(0, 1))
def test_exploring_tokens_are_those_of_trl(entropies, quantile):
    alone = SimpleNamespace(pad_across_processes=lambda t, **_: t, gather=lambda t: t)
    tensor = torch.tensor([entropies])
    mask = torch.ones_like(tensor)
    mask[:, len(entropies) // 2 + 1 :] = 0
    expected = GRPOTrainer.get_high_entropy_mask(
        SimpleNamespace(accelerator=alone), tensor, mask, quantile
    )
    found = is_exploring(tensor, mask, entropy_threshold(tensor, mask, quantile))
    assert found.equal(expected)


def test_a_batch_may_be_larger_than_quantile_takes():
    entropies = torch.arange(2**24 + 2, dtype=torch.int32)
    threshold = entropy_threshold(entropies, torch.ones_like(entropies), 0.5)
    assert threshold == pytest.approx(2**23, abs=2)


@pytest.mark.parametrize("top_k", [0, 2, 3, 9])
def test_what_a_sampler_of_top_k_says(top_k):
    logits = torch.tensor([[[3.0, 1.0, 2.0, 0.0], [0.0, 0.0, 5.0, 1.0]]])
    found = kept_log_probs(logits, torch.tensor([[0, 2]]), top_k)
    for token in range(2):
        likeliest = logits[0, token].topk(top_k if 0 < top_k < 4 else 4).values
        drawn = likeliest.log_softmax(0)[0]  # its best token's, among what is kept
        assert float(found[0, token]) == pytest.approx(float(drawn), abs=1e-6)


def test_a_divergence_needs_its_reference():
    none = torch.zeros(1, 1)
    with pytest.raises(ValueError, match="log-probs are missing"):
        token_loss(none, none, none, none.bool(), BOUNDS, beta=0.1)


def test_the_bonus_falls_to_nothing():
    weights = [entropy_bonus(0.02, step, 4) for step in range(6)]
    assert weights == pytest.approx([0.02, 0.015, 0.01, 0.005, 0, 0])


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"quantile": 1.1}, "quantile must be from 0 to 1, got 1.1"),
        ({"tight": (1.2, 0.2)}, r"bounds must be \(0 to 1, 0 or more\), got \(1.2, 0.2\)"),
        ({"tight": (0.3, 0.2), "wide": (0.2, 0.3)}, "wider than"),
    ],
)
def test_bounds_that_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        Bounds(**bounds)
