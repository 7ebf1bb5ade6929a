"""What EBR is trained on in a step: in-batch softmax with the sampling corrected."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from aigq.ebr import EbrNetwork
from training import loop
from training.ebr.examples import Batches, Examples

if TYPE_CHECKING:
    from training.ebr.job import EbrSettings


def in_batch_loss(
    users: torch.Tensor, queries: torch.Tensor, target: torch.Tensor, expected: torch.Tensor
) -> torch.Tensor:
    """Mean softmax loss (nats) over the distinct queries of the batch.

    ``users`` (B, D); ``queries`` (Q, D), distinct; ``target`` (B,): each user's query among them;
    ``expected`` (Q,): how likely each query is in a batch at all. Its log is taken off the scores
    (Bengio & Senecal 2008; Yi et al. 2019): popular queries are negatives more often, which would
    otherwise push them down, and the scores would be of another distribution than the log's.
    """
    return F.cross_entropy(users @ queries.T - expected.log(), target)


def expected_in_batch(counts: np.ndarray, batch: int) -> np.ndarray:
    """How likely each query is among ``batch`` examples: 1 - (1 - share)^batch, float32."""
    share = counts / counts.sum()
    return -np.expm1(batch * np.log1p(-np.minimum(share, 1 - 1e-9))).astype(np.float32)


def plan_batches(count: int, *, batch: int, steps: int, seed: int) -> list[np.ndarray]:
    """The examples of each step: epochs of all of them, each in an order of its own."""
    batch = min(batch, count)
    per_epoch = count // batch
    plan: list[np.ndarray] = []
    epoch = 0
    while len(plan) < steps:
        order = np.random.default_rng([seed, epoch]).permutation(count)
        plan += [order[n * batch : (n + 1) * batch] for n in range(per_epoch)]
        epoch += 1
    return plan[:steps]


def train(
    network: EbrNetwork,
    batches: Batches,
    examples: Examples,
    plan: Sequence[np.ndarray],
    how: "EbrSettings",
    work: Path,
) -> dict[str, float]:
    """Train ``network`` in place along ``plan``, see :func:`training.loop.train`."""
    drawn = np.unique(np.concatenate(plan))
    counts = np.bincount(examples.query[drawn], minlength=len(examples.queries))
    expected = torch.from_numpy(expected_in_batch(counts, len(plan[0])))

    def losses_of(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = plan[step]
        rng = np.random.default_rng([how.seed, 1, step])
        users, texts = batches.users(chosen, rng.random(len(chosen)) < how.day_start_share)
        wanted, target = np.unique(examples.query[chosen], return_inverse=True)
        loss = in_batch_loss(
            network.users(users, network.texts(batches.bags(texts))),
            network.queries(network.texts(batches.bags(examples.query_text[wanted]))),
            torch.from_numpy(target.reshape(-1)),
            expected[wanted],
        )
        return loss, loss

    return loop.train(network, losses_of, how, work, steps=len(plan), title="train ebr")
