"""What the CTR model is trained on in a step."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from aigq.ctr_network import CtrNetwork, click_loss
from training import loop
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

    def losses_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        # What is drawn in a step depends on its number alone, also after a kill.
        torch.manual_seed(how.seed * 1_000_003 + step)
        batch = batches.make(plan[step])
        logits, vectors = network(batch.texts, batch.behaviors, batch.queries, batch.position)
        loss = click_loss(logits, batch.clicked, batch.mask)
        if not how.following_weight:
            return loss, loss
        following = network.following_loss(batch.behaviors, vectors)
        return loss, loss + how.following_weight * following

    return loop.train(network, losses_of, how, work, steps=len(plan), title="train ctr")
