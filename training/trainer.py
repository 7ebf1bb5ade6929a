"""The one trainer of all list models: TRL's SFTTrainer with planned batches and safe checkpoints.

Deviations from TRL, and why:

- batches come from a plan made beforehand (``training.batches``), so resuming is exact;
- logits are computed from the batch's first target position on only: away from GPUs TRL scores
  every position, and most of them are prompt, which the loss of AIGQ eq. 5 masks;
- checkpoints are atomic (``training.atomic``).
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from training import distributed
from training.atomic import AtomicCheckpoints, GoOn, checkpoints, discard_partial, diverged
from training.memory import GIB, Batch, largest_batches, predict
from training.optimizer import MuonAdamW
from training.parts import MASKED, Example, Parts, collator, planned_tokens, target_loss
from training.precision import attention_is_fused, set_fast_attention
from training.settings import TrainSettings


class ListTrainer(AtomicCheckpoints, SFTTrainer):
    """See the module's docstring. ``parts``: what this process trains on, in order."""

    # By the target tokens of the whole step, which every part is told.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, parts: Parts, muon_learning_rate: float | None, **kwargs):
        self._parts = parts
        self._muon_learning_rate = muon_learning_rate
        super().__init__(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader:
        # Not prepared by accelerate: it would share out what is shared out already.
        return DataLoader(self._parts, batch_size=1, collate_fn=lambda parts: parts[0])

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self._muon_learning_rate is None or self.optimizer is not None:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        tables = [model.get_input_embeddings(), model.get_output_embeddings()]
        self.optimizer = MuonAdamW(
            [p for p in model.parameters() if p.requires_grad],
            # Under LoRA the rows of added tokens are parameters of their own inside the tables.
            [rows for table in tables for rows in table.parameters()],
            muon_learning_rate=self._muon_learning_rate,
            learning_rate=self.args.learning_rate,
            weight_decay=self.args.weight_decay,
            betas=(self.args.adam_beta1, self.args.adam_beta2),
        )
        return self.optimizer

    def compute_loss(
        self, model, inputs, return_outputs=False, num_items_in_batch=None
    ) -> torch.Tensor:
        # Gradients are averaged over the processes, hence times their number.
        scale = self.accelerator.num_processes / inputs["step_tokens"]
        return target_loss(model, inputs) * scale

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        Trainer.log(self, logs, start_time)


class Progress(TrainerCallback):
    """A progress bar with the running loss; refuses to go on once the loss is not a number."""

    def __init__(self, title: str, *, shown: bool = True):
        self._title = title
        self._shown = shown
        self._bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self._title,
            unit="step",
            mininterval=0.5,
            disable=not self._shown,
        )

    def on_step_end(self, args, state, control, **kwargs):
        self._bar.update(1)

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise diverged(state.global_step, f"loss {loss}")
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
    steps, tokens and target tokens seen, share of padding, the last logged training loss in nats
    per target token, all of them as ``loss_curve``, [step, loss] each, and the memory (bytes) that
    model and step were predicted to take.
    With the same inputs a killed and resumed run ends bit for bit like an uninterrupted one, on the
    same kind of machine with the same number of threads.
    """
    rank, world = distributed.rank(), distributed.world_size()
    if rank == 0:
        discard_partial(work)
    set_fast_attention(model, bf16=bf16)
    dataset = Dataset.from_dict(
        {"input_ids": [e.input_ids for e in examples], "labels": [e.labels for e in examples]}
    )
    packed = how.batch_layout == "packed"
    parts = {"accumulation": how.accumulation_steps, "world": world}
    largest = largest_batches(examples, plan, packed=packed, **parts)
    predicted = _predicted_bytes(model, how, largest, bf16, world, peft_config)
    if rank == 0 and predicted is not None:
        click.echo(
            f"{title}: model and step will take {predicted / GIB:.2f} GiB"
            f" {'of each GPU' if torch.cuda.is_available() else 'beside libraries and samples'}",
            err=True,
        )
    arguments = _arguments(how, len(plan), work, bf16=bf16)
    # transformers would spread a process over all GPUs by DataParallel, which cuts rows apart.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    trainer = ListTrainer(
        model=model,
        args=arguments,
        parts=Parts(examples, plan, collator(tokenizer, packed=packed), rank=rank, **parts),
        muon_learning_rate=how.muon_learning_rate,
        train_dataset=dataset,
        processing_class=tokenizer,
        data_collator=collator(tokenizer),
        callbacks=[Progress(title, shown=rank == 0), *callbacks],
        peft_config=peft_config,
    )
    trainer.remove_callback(PrinterCallback)
    done = distributed.share(checkpoints(work))
    if done:
        trainer.add_callback(GoOn(trainer, done[-1]))
    trainer.train(resume_from_checkpoint=str(done[-1]) if done else None)
    curve = [[e["step"], e["loss"]] for e in trainer.state.log_history if "loss" in e]
    metrics = {
        "steps": trainer.state.global_step,
        **planned_tokens(examples, plan, packed=packed, **parts),
        "processes": world,
        "train_loss": curve[-1][1] if curve else None,
        "loss_curve": curve,
        "predicted_memory_bytes": predicted,
    }
    return trainer.model, metrics


def _predicted_bytes(
    model: Any,
    how: TrainSettings,
    batches: Sequence[Batch],
    bf16: bool,
    world: int,
    peft_config: Any,
) -> int | None:
    """Of one process; None for an architecture that does not run without weights."""
    try:
        return predict(
            model.config,
            how,
            batches,
            bf16=bf16,
            world=world,
            fused_attention=attention_is_fused(bf16=bf16, on_gpu=torch.cuda.is_available()),
            lora=peft_config,
            weights_dtype=str(model.dtype).removeprefix("torch."),
        ).total
    except Exception as error:  # whatever it is, the training itself may do
        click.echo(f"memory not predicted: {type(error).__name__}: {error}", err=True)
        return None


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
        gradient_accumulation_steps=how.accumulation_steps,
        gradient_checkpointing=how.gradient_checkpointing,
        save_strategy="steps",
        save_steps=how.checkpoint_steps,
        logging_steps=min(how.logging_steps, max(1, steps // 10)),
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
    """Mean -log p per target token over ``examples`` (nats), by batches of at most
    ``batch_tokens`` (or one example); None where there are none."""
    if not examples:
        return None
    collate = collator(tokenizer)
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
