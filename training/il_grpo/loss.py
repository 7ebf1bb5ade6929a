"""The clipped surrogate with bounds by token entropy (AIGQ eq. 18), entropy bonus and KL.

    loss = -mean_t min(rho_t A_t, clip(rho_t, 1 - eps_t, 1 + eps_t) A_t) + beta * mean_t KL_t
           - bonus * mean_t H_t

The first line is :func:`token_loss`, before the mean; ``bonus`` is :func:`entropy_bonus`.
rho_t = pi(t) / pi_old(t). Tokens whose entropy reaches the rollout batch's 80th percentile get the
wide eps_t, the others the tight one: where the policy hesitates it may move further.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch


@dataclass(frozen=True)
class Bounds:
    """How far the ratio may move before its gradient is cut: ``tight`` and ``wide``, each (below,
    above), and the ``quantile`` of token entropy from which a token has the wide ones."""

    tight: tuple[float, float] = (0.2, 0.2)
    wide: tuple[float, float] = (0.3, 0.3)
    quantile: float = 0.8

    def __post_init__(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ValueError(f"quantile must be from 0 to 1, got {self.quantile}")
        for below, above in (self.tight, self.wide):
            if not (0 <= below <= 1 and above >= 0):
                raise ValueError(f"bounds must be (0 to 1, 0 or more), got {(below, above)}")
        if any(tight > wide for tight, wide in zip(self.tight, self.wide, strict=True)):
            raise ValueError(f"tight bounds {self.tight} are wider than {self.wide}")


class TokenLoss(NamedTuple):
    """Per token, all (B, T): ``loss``, to be averaged over the completion's tokens; ``ratio`` rho;
    ``is_clipped``: its gradient is cut; ``divergence``: KL, 0 where it has no weight."""

    loss: torch.Tensor
    ratio: torch.Tensor
    is_clipped: torch.Tensor
    divergence: torch.Tensor


def log_probs_and_entropies(
    logits: torch.Tensor, ids: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of ``ids`` (B, T) under ``logits`` (B, T, V): log-probs, and the distributions' entropies."""
    log_probs = logits.float().log_softmax(-1)
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    return log_probs.gather(-1, ids[..., None])[..., 0], entropies


def kept_log_probs(logits: torch.Tensor, ids: torch.Tensor, top_k: int) -> torch.Tensor:
    """Log-probs of ``ids`` (B, T) as a sampler says them that draws from the ``top_k`` likeliest of
    ``logits`` (B, T, V) alone (0: from all). A token that is none of these has one all the same:
    two engines may differ about the last of them."""
    log_probs = logits.float().log_softmax(-1)
    found = log_probs.gather(-1, ids[..., None])[..., 0]
    if not 0 < top_k < logits.shape[-1]:
        return found
    return found - log_probs.topk(top_k).values.logsumexp(-1)


def entropy_threshold(entropies: torch.Tensor, mask: torch.Tensor, quantile: float) -> torch.Tensor:
    """The ``quantile`` of the entropies of all completion tokens; infinite where there are none.

    ``entropies``, ``mask``: of any one shape, the whole rollout batch of all processes together:
    eq. 18 compares a token with the batch, and a micro-batch has a percentile of its own.
    """
    present = entropies[mask.bool()].float()
    if not present.numel():
        return torch.tensor(torch.inf, device=entropies.device)
    # torch.quantile takes no more than 16 million.
    ordered, place = present.sort().values, quantile * (len(present) - 1)
    low = int(place)
    high = min(low + 1, len(present) - 1)
    return torch.lerp(ordered[low], ordered[high], place - low)


def is_exploring(
    entropies: torch.Tensor, mask: torch.Tensor, threshold: torch.Tensor
) -> torch.Tensor:
    """Which completion tokens have the wide bounds: those at or above the threshold (eq. 18)."""
    return (entropies >= threshold) & mask.bool()


def token_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: torch.Tensor,
    exploring: torch.Tensor,
    bounds: Bounds,
    *,
    reference_log_probs: torch.Tensor | None = None,
    beta: float = 0.0,
) -> TokenLoss:
    """The surrogate of every token, all arguments (B, T) (eq. 18).

    ``log_probs`` carries the gradient, ``old_log_probs`` is of the policy that drew the rollouts,
    ``exploring`` of :func:`is_exploring`. ``beta`` weighs the KL divergence to the reference (the
    estimator of Schulman, 2020: never negative). Raises :class:`ValueError` where that is missing.
    """
    if beta and reference_log_probs is None:
        raise ValueError("beta weighs the divergence from a reference, whose log-probs are missing")
    ratio = torch.exp(log_probs - old_log_probs)
    below = torch.where(exploring, bounds.wide[0], bounds.tight[0])
    above = torch.where(exploring, bounds.wide[1], bounds.tight[1])
    clipped = ratio.clamp(1 - below, 1 + above)
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    divergence = torch.zeros_like(loss)
    if beta:
        log_ratio = reference_log_probs - log_probs
        divergence = torch.exp(log_ratio) - log_ratio - 1
        loss = loss + beta * divergence
    is_clipped = ((ratio > 1 + above) & (advantages > 0)) | ((ratio < 1 - below) & (advantages < 0))
    return TokenLoss(loss, ratio.detach(), is_clipped, divergence.detach())


def entropy_bonus(weight: float, step: int, steps: int) -> float:
    """The bonus's weight at ``step`` (from 0) of ``steps``: falls linearly to 0 (method §4)."""
    return weight * max(0.0, 1 - step / steps)
