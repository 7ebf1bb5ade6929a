"""The one trainer of all list models: TRL's SFTTrainer with planned batches and safe checkpoints.

Deviations from TRL, and why:

- batches come from a plan made beforehand (``training.batches``), so resuming is exact;
- logits are computed from the batch's first target position on only: away from GPUs TRL scores
  every position, and most of them are prompt, which the loss of AIGQ eq. 5 masks;
- a checkpoint is written aside and renamed, so that a kill leaves whole ones only.
"""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from aigq.settings import UserError
from training.optimizer import MuonAdamW
from training.settings import TrainSettings

MASKED = -100
# Widths are padded to a multiple of this: CPU kernels are compiled per shape and kept, and a run of
# ever new shapes grows by gigabytes.
_PAD_TO = 32


@dataclass(frozen=True)
class Example:
    """Token ids of one training sequence; the loss counts those from ``target_start`` on."""

    input_ids: list[int]
    target_start: int

    @property
    def labels(self) -> list[int]:
        """``input_ids`` with the prompt masked."""
        return [MASKED] * self.target_start + self.input_ids[self.target_start :]


def target_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """AIGQ eq. 5: the summed -log p of the label tokens, in nats. ``inputs`` as collated."""
    labels = inputs["labels"]
    is_target = (labels != MASKED).any(dim=0).nonzero()
    # The logits at t - 1 predict token t.
    first = max(int(is_target[0]) // _PAD_TO * _PAD_TO, 1)
    keep = torch.arange(first - 1, labels.shape[1] - 1, device=labels.device)
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        use_cache=False,
        logits_to_keep=keep,
    ).logits
    return F.cross_entropy(
        logits.float().flatten(0, 1),
        labels[:, first:].flatten(),
        ignore_index=MASKED,
        reduction="sum",
    )


class ListTrainer(SFTTrainer):
    """See the module's docstring. ``plan``: indices of the examples of every step."""

    def __init__(
        self, *args: Any, plan: Sequence[Sequence[int]], muon_learning_rate: float | None, **kwargs
    ):
        self._plan = plan
        self._muon_learning_rate = muon_learning_rate
        self._checkpoints_at: str | None = None
        super().__init__(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        loader = DataLoader(
            self.train_dataset, batch_sampler=list(self._plan), collate_fn=self.data_collator
        )
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self._muon_learning_rate is None or self.optimizer is not None:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        tables = [model.get_input_embeddings(), model.get_output_embeddings()]
        self.optimizer = MuonAdamW(
            [p for p in model.parameters() if p.requires_grad],
            [table.weight for table in tables],
            muon_learning_rate=self._muon_learning_rate,
            learning_rate=self.args.learning_rate,
            weight_decay=self.args.weight_decay,
            betas=(self.args.adam_beta1, self.args.adam_beta2),
        )
        return self.optimizer

    def compute_loss(
        self, model, inputs, return_outputs=False, num_items_in_batch=None
    ) -> torch.Tensor:
        tokens = (inputs["labels"][:, 1:] != MASKED).sum()
        return target_loss(model, inputs) / tokens

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        Trainer.log(self, logs, start_time)

    def _get_output_dir(self, trial) -> str:
        return self._checkpoints_at or super()._get_output_dir(trial)

    def _save_checkpoint(self, model, trial) -> None:
        if not all(bool(p.isfinite().all()) for p in model.parameters() if p.requires_grad):
            raise _diverged(self.state.global_step, "weights are no numbers")
        work = Path(self.args.output_dir)
        partial = work / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        self._checkpoints_at = str(partial)
        try:
            Trainer._save_checkpoint(self, model, trial)
        finally:
            self._checkpoints_at = None
        older = checkpoints(work)
        (written,) = partial.glob("checkpoint-*")
        written.rename(work / written.name)
        for path in older:
            shutil.rmtree(path)


def checkpoints(work: Path) -> list[Path]:
    """The whole checkpoints in ``work``, oldest first."""
    return sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def _diverged(step: int, sign: str) -> UserError:
    return UserError(f"training diverged at step {step} ({sign}): lower learning_rate")


class _Progress(TrainerCallback):
    """A progress bar with the running loss; refuses to go on once the loss is not a number."""

    def __init__(self, title: str):
        self._title = title
        self._bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._title,
            unit="step",
            mininterval=0.5,
        )

    def on_step_end(self, args, state, control, **kwargs):
        self._bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise _diverged(state.global_step, f"loss {loss}")
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

    def on_train_end(self, args, state, control, **kwargs):
        self._bar.close()


def train(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    plan: Sequence[Sequence[int]],
    how: TrainSettings,
    work: Path,
    *,
    bf16: bool,
    title: str,
    peft_config: Any = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[Any, dict[str, float]]:
    """Train ``model`` in place along ``plan``, resuming from the newest checkpoint in ``work``.

    Returns the trained model (an adapter model where ``peft_config`` is given) and its metrics:
    steps, target tokens seen, the last logged training loss in nats per target token.
    With the same inputs a killed and resumed run ends bit for bit like an uninterrupted one, on the
    same kind of machine with the same number of threads.
    """
    for partial in work.glob(".partial"):
        shutil.rmtree(partial)
    if not torch.cuda.is_available():
        # On CPU, at list lengths, plain matrix products beat the fused attention kernel by a fifth.
        model.set_attn_implementation("eager")
    dataset = Dataset.from_dict(
        {"input_ids": [e.input_ids for e in examples], "labels": [e.labels for e in examples]}
    )
    trainer = ListTrainer(
        model=model,
        args=_arguments(how, len(plan), work, bf16=bf16),
        plan=plan,
        muon_learning_rate=how.muon_learning_rate,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=_collator(tokenizer),
        callbacks=[_Progress(title), *callbacks],
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    done = checkpoints(work)
    trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    metrics = {
        "steps": trainer.state.global_step,
        "target_tokens": sum(
            len(examples[i].input_ids) - max(examples[i].target_start, 1) for b in plan for i in b
        ),
        "train_loss": losses[-1] if losses else None,
    }
    return trainer.model, metrics


def _collator(tokenizer: Any) -> DataCollatorForLanguageModeling:
    return DataCollatorForLanguageModeling(tokenizer.pad_token_id, pad_to_multiple_of=_PAD_TO)


def _arguments(how: TrainSettings, steps: int, work: Path, *, bf16: bool) -> SFTConfig:
    return SFTConfig(
        output_dir=str(work),
        max_steps=steps,
        learning_rate=how.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(how.warmup_share * steps),
        weight_decay=how.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=1.0,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        save_strategy="steps",
        save_steps=how.checkpoint_steps,
        logging_steps=25,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        seed=how.seed,
        data_seed=how.seed,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )


@torch.no_grad()
def heldout_loss(
    model: Any, tokenizer: Any, examples: Sequence[Example], *, batch_tokens: int, bf16: bool
) -> float | None:
    """Mean -log p per target token over ``examples`` (nats); None where there are none."""
    if not examples:
        return None
    collate = _collator(tokenizer)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    total, tokens = 0.0, 0
    for batch in _by_length(examples, batch_tokens):
        inputs = collate([{"input_ids": e.input_ids, "labels": e.labels} for e in batch])
        inputs = {name: tensor.to(device) for name, tensor in inputs.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            total += float(target_loss(model, inputs))
        tokens += int((inputs["labels"][:, 1:] != MASKED).sum())
    model.train(was_training)
    return total / tokens


def _by_length(examples: Sequence[Example], batch_tokens: int) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for example in sorted(examples, key=lambda e: len(e.input_ids)):
        if batch and (len(batch) + 1) * len(example.input_ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(example)
    yield batch
