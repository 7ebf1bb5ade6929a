"""What the CTR model is trained on in a step."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from aigq.ctr_network import CtrNetwork, click_loss, contrast_loss
from training import loop
from training.ctr.contrast import Contrasts
from training.ctr.data import Batches

if TYPE_CHECKING:
    from training.ctr.job import CtrSettings


def train(
    network: CtrNetwork,
    batches: Batches,
    plan: Sequence[np.ndarray],
    how: "CtrSettings",
    work: Path,
) -> dict[str, float]:
    """Train ``network`` in place along ``plan``, see :func:`training.loop.train`; the loss that is
    reported is that of clicks."""

    contrasts = Contrasts(batches.data)

    def losses_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        # What is drawn in a step depends on its number alone, also after a kill.
        torch.manual_seed(how.seed * 1_000_003 + step)
        drawn = None
        if how.contrast_weight:
            drawn = contrasts.draw(plan[step], np.random.default_rng([how.seed, step]))
        batch = batches.make(plan[step], drawn)
        shown = batch.queries.shape[1]
        logits, vectors = network(
            batch.texts,
            batch.behaviors,
            torch.cat([batch.queries, batch.contrast], dim=1),
            torch.cat([batch.position, torch.ones_like(batch.contrast)], dim=1),
        )
        loss = minimised = click_loss(logits[:, :shown], batch.clicked, batch.mask)
        if how.following_weight:
            following = network.following_loss(batch.behaviors, vectors)
            minimised = minimised + how.following_weight * following
        if how.contrast_weight:
            contrast = contrast_loss(logits[:, shown:], batch.contrast_mask, how.contrast_sharpness)
            minimised = minimised + how.contrast_weight * contrast
        return loss, minimised

    return loop.train(network, losses_of, how, work, steps=len(plan), title="train ctr")
