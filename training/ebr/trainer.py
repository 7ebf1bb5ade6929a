"""The training loop of EBR: in-batch softmax with the sampling corrected, safe checkpoints."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from aigq.ebr import EbrNetwork
from aigq.settings import UserError
from training.ebr.examples import Batches, Examples
from training.trainer import checkpoints

if TYPE_CHECKING:
    from training.ebr.job import EbrSettings

_STATE = "state.pt"


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
    """Train ``network`` in place along ``plan``, from the newest checkpoint in ``work`` on.

    Returns steps and the mean loss of the last tenth of them. With the same inputs a killed and
    resumed run ends bit for bit like an uninterrupted one.
    """
    optimizer = torch.optim.AdamW(
        [
            # A row of the features is seen only where its text is: a rate of its own, no decay.
            {"params": [network.features.weight], "peak": how.features_learning_rate},
            {
                "params": [p for p in network.parameters() if p is not network.features.weight],
                "peak": how.learning_rate,
                "weight_decay": how.weight_decay,
            },
        ],
        lr=how.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        fused=True,
    )
    expected = torch.from_numpy(expected_in_batch(examples.counts, len(plan[0])))
    losses = _restore(network, optimizer, work)
    network.train()
    bar = tqdm(total=len(plan), initial=len(losses), desc="train ebr", unit="step")
    for step in range(len(losses), len(plan)):
        chosen = plan[step]
        rng = np.random.default_rng([how.seed, 1, step])
        users, texts = batches.users(chosen, rng.random(len(chosen)) < how.day_start_share)
        wanted, target = np.unique(examples.query[chosen], return_inverse=True)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, len(plan), how.warmup_share)
        loss = in_batch_loss(
            network.users(users, network.texts(batches.bags(texts))),
            network.queries(network.texts(batches.bags(examples.query_text[wanted]))),
            torch.from_numpy(target.reshape(-1)),
            expected[wanted],
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UserError(f"training diverged at step {step + 1}: lower learning_rate")
        bar.update(1)
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}", refresh=False)
        if (step + 1) % how.checkpoint_steps == 0:
            _checkpoint(network, optimizer, losses, work)
    bar.close()
    network.eval()
    return {
        "steps": len(losses),
        "train_loss": float(np.mean(losses[-math.ceil(len(losses) / 10) :])),
    }


def _schedule(step: int, steps: int, warmup_share: float) -> float:
    """Linear warm-up, then a cosine down to zero."""
    warmup = max(1, round(warmup_share * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _checkpoint(network, optimizer, losses: list[float], work: Path) -> None:
    """Written aside and renamed: a kill leaves whole checkpoints only."""
    partial = work / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state | {"losses": losses}, partial / _STATE)
    older = checkpoints(work)
    partial.rename(work / f"checkpoint-{len(losses)}")
    for path in older:
        shutil.rmtree(path)


def _restore(network, optimizer, work: Path) -> list[float]:
    """Load the newest checkpoint, if any; returns the losses of the steps done."""
    done = checkpoints(work)
    if not done:
        return []
    state = torch.load(done[-1] / _STATE, weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return state["losses"]
