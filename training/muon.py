"""Muon (Jordan et al., 2024) as ``torch.optim.Muon`` computes it, in the arithmetic at hand.

torch's runs its Newton-Schulz iteration in bf16 and matrix by matrix. A processor without bf16
instructions takes ten times as long for that as for the rest of a small model's step, and small
matrices one after the other leave any processor waiting: here matrices of one shape go together.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from training.precision import bf16_is_fast


class Muon(torch.optim.Muon):
    """``torch.optim.Muon``: the same settings, state and (but for rounding) updates."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One update. ``closure`` is not supported (nobody passes one)."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[torch.Tensor, torch.Tensor]]] = defaultdict(list)
            parameters, gradients, buffers = [], [], []
            self._init_group(group, parameters, gradients, buffers)
            for parameter, gradient, buffer in zip(parameters, gradients, buffers, strict=True):
                buffer.lerp_(gradient, 1 - group["momentum"])
                update = gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer
                by_shape[parameter.shape].append((parameter, update))
            for (rows, columns), pairs in by_shape.items():
                updates = orthogonal(
                    torch.stack([update for _, update in pairs]),
                    group["ns_coefficients"],
                    steps=group["ns_steps"],
                    eps=group["eps"],
                )
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-rate)


def orthogonal(
    matrices: torch.Tensor, coefficients: Sequence[float], *, steps: int, eps: float
) -> torch.Tensor:
    """(N, R, C): each matrix with its singular values near 1, by Newton-Schulz iteration."""
    a, b, c = coefficients
    x = matrices.bfloat16() if bf16_is_fast() else matrices.float()
    is_tall = x.shape[1] > x.shape[2]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
