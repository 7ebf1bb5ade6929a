"""One optimiser step's examples, shared out over processes and micro-batches, and their loss.

A step has the same examples and the same loss however many processes and micro-batches it is cut
into: the loss of a part is the sum over its target tokens, divided by those of the whole step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

MASKED = -100
# Widths are padded to a multiple of this: CPU kernels are compiled per shape and kept, and a run of
# ever new shapes grows by gigabytes.
PAD_TO = 32


def padded(width: int) -> int:
    """The width that rows of ``width`` tokens are padded to."""
    return -(-width // PAD_TO) * PAD_TO


@dataclass(frozen=True)
class Example:
    """Token ids of one training sequence; the loss counts those from ``target_start`` on."""

    input_ids: list[int]
    target_start: int

    @property
    def labels(self) -> list[int]:
        """``input_ids`` with the prompt masked."""
        return [MASKED] * self.target_start + self.input_ids[self.target_start :]

    @property
    def target_tokens(self) -> int:
        """Tokens that the loss counts: the first of a sequence follows nothing."""
        return len(self.input_ids) - max(self.target_start, 1)


def collator(tokenizer: Any, *, packed: bool = False) -> DataCollatorForLanguageModeling:
    """Rows padded at their ends, or (``packed``) one row of sequences back to back, told apart by
    position ids that start again."""
    return DataCollatorForLanguageModeling(
        tokenizer.pad_token_id, padding_free=packed, pad_to_multiple_of=PAD_TO
    )


class Parts(Dataset):
    """The parts of one process in the order it trains on them: ``accumulation`` a step.

    ``plan``: indices into ``examples`` of every step, shared out to ``world`` processes of which
    this is number ``rank``. A step with fewer examples than parts gives the last parts an example
    whose tokens are all masked: every process has to take part in every exchange of gradients.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        plan: Sequence[Sequence[int]],
        collate: DataCollatorForLanguageModeling,
        *,
        accumulation: int = 1,
        rank: int = 0,
        world: int = 1,
    ):
        self._examples = examples
        self._plan = plan
        self._collate = collate
        self._accumulation = accumulation
        self._rank = rank
        self._world = world

    def __len__(self) -> int:
        return len(self._plan) * self._accumulation

    def __getitem__(self, index: int) -> dict[str, Any]:
        step, part = divmod(index, self._accumulation)
        batch = self._plan[step]
        # Parts of neighbouring lengths: a plan's batch is sorted, so little is padded.
        shares = np.array_split(batch, self._accumulation * self._world)
        mine = [self._examples[i] for i in shares[part * self._world + self._rank]]
        rows = [{"input_ids": e.input_ids, "labels": e.labels} for e in mine]
        if not rows:
            ids = self._examples[batch[0]].input_ids
            rows = [{"input_ids": ids, "labels": [MASKED] * len(ids)}]
        return self._collate(rows) | {
            "step_tokens": sum(self._examples[i].target_tokens for i in batch)
        }


def planned_tokens(
    examples: Sequence[Example],
    plan: Sequence[Sequence[int]],
    *,
    accumulation: int,
    world: int,
    packed: bool,
) -> dict[str, float]:
    """Of a whole run: target tokens, tokens (padding not counted), and the share of padding in what
    the model computes."""
    tokens = computed = targets = 0
    for batch in plan:
        for share in np.array_split(batch, accumulation * world):
            sizes = [len(examples[i].input_ids) for i in share]
            tokens += sum(sizes)
            widths = [sum(sizes)] if packed else [max(sizes, default=0)] * len(sizes)
            computed += sum(map(padded, widths))
        targets += sum(examples[i].target_tokens for i in batch)
    return {
        "target_tokens": targets,
        "tokens": tokens,
        "padding_share": round(1 - tokens / computed, 4),
    }


def target_loss(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """AIGQ eq. 5: the summed -log p of the label tokens, in nats. ``inputs`` as collated.

    Logits are computed where a target is predicted only: of a single row exactly there, of several
    rows from the first such position on.
    """
    labels = inputs["labels"]
    is_target = labels[:, 1:] != MASKED  # the logits at t predict token t + 1
    if labels.shape[0] == 1:
        keep = is_target[0].nonzero().flatten()
        targets = F.pad(labels[0, keep + 1], (0, -len(keep) % PAD_TO), value=MASKED)
        keep = F.pad(keep, (0, -len(keep) % PAD_TO))
    else:
        first = is_target.any(dim=0).nonzero()[:1].flatten().tolist() or [labels.shape[1] - 1]
        # Starts at a multiple, so that there are few shapes.
        start = (first[0] + 1) // PAD_TO * PAD_TO
        start = max(start - 1, 0)
        keep = torch.arange(start, labels.shape[1] - 1, device=labels.device)
        targets = labels[:, start + 1 :].flatten()
    if not len(keep):  # nothing to predict, but the exchange of gradients wants a graph
        keep, targets = keep.new_zeros(1), labels.new_full((labels.shape[0],), MASKED)
    # No mask of the padding: it follows a row's tokens, which look back, and its own labels are
    # masked. Without one the fused attention kernels skip what lies ahead of a token.
    order = {"position_ids": inputs["position_ids"]} if "position_ids" in inputs else {}
    logits = model(
        input_ids=inputs["input_ids"], use_cache=False, logits_to_keep=keep, **order
    ).logits
    return F.cross_entropy(
        logits.float().flatten(0, 1), targets, ignore_index=MASKED, reduction="sum"
    )
