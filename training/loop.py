"""The training loop of networks that read hashed text: planned steps, safe checkpoints.

List models have TRL's trainer (training/trainer.py); CTR and EBR are too small for it.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from aigq.settings import UserError
from training.atomic import checkpoints

_STATE = "state.safetensors"


class LoopSettings(Protocol):
    """What the loop reads of a job's settings."""

    learning_rate: float
    features_learning_rate: float
    weight_decay: float
    warmup_share: float
    checkpoint_steps: int


def train(
    network: Any,
    losses_of: Callable[[int], tuple[torch.Tensor, torch.Tensor]],
    how: LoopSettings,
    work: Path,
    *,
    steps: int,
    title: str,
) -> dict[str, float]:
    """Train ``network``, whose hashed features are ``features.weight``, in place for ``steps``
    steps, from the newest checkpoint in ``work`` on.

    ``losses_of``: a step's number to its loss and what is minimised, scalars. What it draws must
    depend on the number alone: with the same inputs a killed and resumed run then ends bit for bit
    like an uninterrupted one. Returns steps and the mean loss of the last tenth of them. Raises
    :class:`UserError` where a loss is no number.
    """
    optimizer = _make_optimizer(network, how)
    losses = _restore(network, optimizer, work)
    network.train()
    bar = tqdm(total=steps, initial=len(losses), desc=title, unit="step")
    for step in range(len(losses), steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * _schedule(step, steps, how.warmup_share)
        loss, minimised = losses_of(step)
        optimizer.zero_grad(set_to_none=True)
        minimised.backward()
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


def _make_optimizer(network: Any, how: LoopSettings) -> torch.optim.AdamW:
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
    done = [path for path in checkpoints(work) if (path / _STATE).is_file()]
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
