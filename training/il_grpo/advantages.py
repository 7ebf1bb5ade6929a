"""Advantages within a group of rollouts of one prompt: per query slot, sequence, trigger sets.

    A_q(i, k) = (R_q(i, k) - mu_k) / (sigma_k + eps)        (AIGQ eq. 12)
    A_s(i)    = (R_s(i) - mu_s) / (sigma_s + eps)           (eq. 13)
    A_trig(i) = (R_trig(i) - mu_trig) / (sigma_trig + eps)  (eq. 17)

mu and sigma are over the rollouts of the group that have the slot, sigma the unbiased estimate. A
query token of slot k gets A_q(i, k) + balance * A_s(i) (eq. 11), a trigger token A_trig(i) alone,
any other token of the completion balance * A_s(i).
"""

from typing import NamedTuple

import torch

from aigq.spans import PADDING, TRIGGER


class GroupAdvantages(NamedTuple):
    """``query``: (G, K), 0 where a rollout lacks the slot; ``sequence``: (G,); ``trigger``: (G,),
    or None where there are no trigger sets."""

    query: torch.Tensor
    sequence: torch.Tensor
    trigger: torch.Tensor | None


def group_advantages(
    query_rewards: torch.Tensor,
    sequence_rewards: torch.Tensor,
    trigger_rewards: torch.Tensor | None = None,
    *,
    eps: float = 1e-4,
    std_floor: float = 1e-3,
) -> GroupAdvantages:
    """Advantages of the G rollouts of one prompt (AIGQ eq. 12, 13, 17).

    ``query_rewards``: (G, K), NaN where rollout i has no slot k. ``sequence_rewards``: (G,).
    ``trigger_rewards``: (G,) or None. A slot that fewer than two rollouts have gives 0, and so does
    a deviation below ``std_floor``: what is left of it is rounding, or too little to learn from.
    Raises :class:`ValueError` for other shapes, and for a number that is none where one must be.
    """
    if query_rewards.ndim != 2:
        raise ValueError(f"query_rewards must be (G, K), got {tuple(query_rewards.shape)}")
    rollouts = len(query_rewards)
    if query_rewards.isinf().any():
        raise ValueError("query_rewards holds an infinite reward")
    for name, rewards in (
        ("sequence_rewards", sequence_rewards),
        ("trigger_rewards", trigger_rewards),
    ):
        if rewards is None:
            continue
        if rewards.shape != (rollouts,):
            raise ValueError(f"{name} must be ({rollouts},), got {tuple(rewards.shape)}")
        if not rewards.isfinite().all():
            raise ValueError(f"{name} must be finite, got {rewards.tolist()}")

    def of_one(rewards: torch.Tensor) -> torch.Tensor:
        return _standardized(rewards[:, None], eps, std_floor)[:, 0]

    return GroupAdvantages(
        _standardized(query_rewards, eps, std_floor),
        of_one(sequence_rewards),
        None if trigger_rewards is None else of_one(trigger_rewards),
    )


def token_advantages(
    spans: torch.Tensor, advantages: GroupAdvantages, balance: float
) -> torch.Tensor:
    """The advantage of every token, (G, T) (AIGQ eq. 11 and method §4).

    ``spans``: (G, T) integers, a query slot from 0 or a constant of :mod:`aigq.spans`: query tokens
    get A_q + ``balance`` * A_s, trigger tokens A_trig, all others of the completion ``balance`` *
    A_s, padding 0. Raises :class:`ValueError` for a slot beyond the last one,
    and for trigger tokens where nothing was rewarded.
    """
    rollouts, slots = advantages.query.shape
    if spans.ndim != 2 or len(spans) != rollouts or spans.is_floating_point():
        raise ValueError(
            f"spans must be ({rollouts}, T) integers, got {tuple(spans.shape)}, {spans.dtype}"
        )
    if spans.numel() and not PADDING <= int(spans.min()) <= int(spans.max()) < slots:
        raise ValueError(
            f"spans must lie from {PADDING} to {slots - 1}, the last slot with a reward, got"
            f" {int(spans.min())} to {int(spans.max())}"
        )
    is_query, is_trigger = spans >= 0, spans == TRIGGER
    if advantages.trigger is None and is_trigger.any():
        raise ValueError("spans holds trigger tokens, but there are no trigger rewards")

    sequence = balance * advantages.sequence[:, None]
    of_slot = torch.gather(_with_a_slot(advantages.query), 1, spans.clamp(min=0).long())
    found = torch.where(is_query, of_slot + sequence, sequence.expand_as(of_slot))
    if advantages.trigger is not None:
        found = torch.where(is_trigger, advantages.trigger[:, None], found)
    return torch.where(spans == PADDING, 0.0, found)


def _standardized(rewards: torch.Tensor, eps: float, std_floor: float) -> torch.Tensor:
    """(G, K) by column, NaN left out of the statistics and 0 in the result. Half precision has no
    digits for rewards that lie close together: in float32 at least."""
    rewards = rewards.to(torch.promote_types(rewards.dtype, torch.float32))
    present = ~rewards.isnan()
    count = present.sum(0)
    # Far from zero a sum of squares has no digits left for the deviation: the mean goes first.
    mean = rewards.nansum(0) / count.clamp(min=1)
    centred = torch.where(present, rewards - mean, 0.0)
    deviation = (centred.square().sum(0) / (count - 1).clamp(min=1)).sqrt()
    is_told = (count >= 2) & (deviation >= std_floor)
    return torch.where(is_told, centred / (deviation + eps), 0.0)


def _with_a_slot(query: torch.Tensor) -> torch.Tensor:
    """At least one column, so that a group without any slot can be looked up."""
    return query if query.shape[1] else query.new_zeros(len(query), 1)
