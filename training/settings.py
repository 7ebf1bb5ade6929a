"""The settings that every training job has."""

from typing import Literal

from pydantic import Field

from aigq.settings import Settings

# Not with a dot: `..` is another folder, and `.work` that of trainings under way.
MODEL_NAME = "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"


class TrainSettings(Settings):
    """How to train: linear warm-up over ``warmup_share`` of the steps, then cosine decay.

    AdamW, or where ``muon_learning_rate`` is given Muon on the layers' matrices (see
    :class:`training.optimizer.MuonAdamW`).
    """

    steps: int = Field(1000, ge=1, description="Optimiser steps at most.")
    batch_tokens: int = Field(
        2048,
        ge=64,
        description="Tokens of a step over all processes and micro-batches, padding counted.",
    )
    accumulation_steps: int = Field(
        1, ge=1, description="Micro-batches that a process's share of a step is cut into."
    )
    batch_layout: Literal["padded", "packed"] = Field(
        "padded",
        description="padded: rows of similar length; packed: sequences back to back in one row,"
        " without padding (wants a flash attention kernel to be fast).",
    )
    gradient_checkpointing: bool = Field(
        False, description="Compute activations twice rather than keep them."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    muon_learning_rate: float | None = Field(
        None, gt=0, description="Peak rate of Muon on the weight matrices, else AdamW for all."
    )
    warmup_share: float = Field(0.05, ge=0, le=1, description="Share of steps that warm up.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW weight decay.")
    checkpoint_steps: int = Field(200, ge=1, description="Steps between checkpoints.")
    logging_steps: int = Field(25, ge=1, description="Steps between points of the loss curve.")
    seed: int = Field(1, ge=0, description="Seed of weights, sample choice and order.")

    def share_of_step(self, processes: int) -> int:
        """Tokens of a step that are in memory at once: a process', a micro-batch's."""
        return self.batch_tokens // (processes * self.accumulation_steps)
