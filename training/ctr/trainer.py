"""The training loop of the CTR model: planned batches, safe checkpoints."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from aigq.ctr_network import CtrNetwork, click_loss
from aigq.settings import UserError
from training.ctr.data import Batches
from training.trainer import checkpoints

if TYPE_CHECKING:
    from training.ctr.job import CtrSettings

_STATE = "state.safetensors"


def train(
    network: CtrNetwork,
    batches: Batches,
    plan: Sequence[np.ndarray],
    how: "CtrSettings",
    work: Path,
) -> dict[str, float]:
    """Train ``network`` in place along ``plan``, from the newest checkpoint in ``work`` on.

    Returns steps and the mean click loss of the last tenth of them. With the same inputs a killed
    and resumed run ends bit for bit like an uninterrupted one.
    """
    optimizer = make_optimizer(network, how)
    losses = _restore(network, optimizer, work)
    network.train()
    bar = tqdm(total=len(plan), initial=len(losses), desc="train ctr", unit="step")
    for step in range(len(losses), len(plan)):
        # What is drawn in a step depends on its number alone, also after a kill.
        torch.manual_seed(how.seed * 1_000_003 + step)
        batch = batches.make(plan[step])
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, len(plan), how.warmup_share)
        logits, vectors = network(batch.texts, batch.behaviors, batch.queries, batch.position)
        loss = click_loss(logits, batch.clicked, batch.mask)
        total = loss
        if how.following_weight:
            total = loss + how.following_weight * network.following_loss(batch.behaviors, vectors)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise UserError(f"training diverged at step {step + 1}: lower learning_rate")
        bar.update(1)
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
        if (step + 1) % how.checkpoint_steps == 0:
            _checkpoint(network, optimizer, losses, work)
    bar.close()
    network.eval()
    return {
        "steps": len(losses),
        "train_loss": float(np.mean(losses[-math.ceil(len(losses) / 10) :])),
    }


def make_optimizer(network: CtrNetwork, how: "CtrSettings") -> torch.optim.AdamW:
    """AdamW; the hashed features have a rate and a decay of their own, since a row is seen only
    where its text is."""
    table = network.features.weight
    rest = [p for p in network.parameters() if p is not table]
    return torch.optim.AdamW(
        [
            {"params": [table], "peak": how.features_learning_rate, "weight_decay": 0.0},
            {"params": rest, "peak": how.learning_rate, "weight_decay": how.weight_decay},
        ],
        lr=how.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )


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
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    save_file(tensors, partial / _STATE)
    (partial / "losses.json").write_text(json.dumps(losses))
    older = checkpoints(work)
    partial.rename(work / f"checkpoint-{len(losses)}")
    for path in older:
        shutil.rmtree(path)


def _restore(network, optimizer, work: Path) -> list[float]:
    """Load the newest checkpoint, if any; returns the losses of the steps done."""
    done = checkpoints(work)
    if not done:
        return []
    tensors = load_file(done[-1] / _STATE)
    state: dict[int, dict[str, torch.Tensor]] = {}
    weights = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "network":
            weights[rest] = value
        else:
            number, _, key = rest.partition(".")
            state.setdefault(int(number), {})[key] = value
    network.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return json.loads((done[-1] / "losses.json").read_text())
