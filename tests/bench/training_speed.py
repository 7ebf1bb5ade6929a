"""Our trainer beside plain `transformers.Trainer`, on the same batches of the same model; and the
memory predicted before a training starts, beside the measured.

    python tests/bench/training_speed.py                    # the tiny model, 2 cores, 3 repetitions
    python tests/bench/training_speed.py --model small --batch-tokens 16384   # one GPU

Each training is a process of its own; contestants take turns, ratios are taken within a repetition.
Examples are drawn: prompts of 100 to 176 tokens, targets of 15 to 60, as recipe direct-tiny has
them; what the tokens are makes no difference to the speed. The peer gets the planned batches and
nothing else: it pads them as they come and computes the loss of transformers over every position.
Memory is measured from before the model is made to the peak of training: of the resident set (its
kernel counter, reset), on GPUs of torch's allocator. Two small steps come before, so that what the
libraries load and compile once is not counted.
"""

import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
from transformers import TrainerCallback

from aigq.settings import PROJECT_ROOT, recipe_path
from training.memory import peak_bytes
from training.parts import MASKED, Example
from training.precision import attention_is_fused

CONTESTANTS = ("ours", "plain")
_VOCABULARY = 4096


@click.command()
@click.option("--model", default="tiny", show_default=True, help="Recipe of `aigq train base`.")
@click.option("--steps", default=40, show_default=True, help="Timed steps, after ten others.")
@click.option("--batch-tokens", default=2048, show_default=True)
@click.option("--layout", type=click.Choice(["padded", "packed"]), default="padded")
@click.option("--repetitions", default=3, show_default=True)
@click.option("--contestant", type=click.Choice(CONTESTANTS), hidden=True)
def main(model, steps, batch_tokens, layout, repetitions, contestant) -> None:
    """Print tokens a second of both, their ratio, and predicted and measured memory."""
    if contestant:
        json.dump(measured(contestant, model, steps, batch_tokens, layout), sys.stdout)
        return
    options = ["--model", model, "--steps", str(steps), "--batch-tokens", str(batch_tokens)]
    taken: dict[str, list[dict]] = {name: [] for name in CONTESTANTS}
    for repetition in range(repetitions):
        for name in CONTESTANTS:
            done = subprocess.run(
                [sys.executable, __file__, *options, "--layout", layout, "--contestant", name],
                stdout=subprocess.PIPE,
                cwd=PROJECT_ROOT,
                check=True,
            )
            taken[name].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{repetition + 1} {name:<6} {json.dumps(taken[name][-1])}", err=True)
    ratios = [o["speed"] / p["speed"] for o, p in zip(*taken.values(), strict=True)]
    for name, runs in taken.items():
        peak = statistics.median(run["peak_mb"] for run in runs)
        speed = statistics.median(run["speed"] for run in runs)
        click.echo(f"{name:<6} {speed:10,.0f} tokens/s   peak {peak:8,.0f} MB")
    click.echo(
        f"ours / plain: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    predicted = taken["ours"][0]["predicted_mb"]
    peak = statistics.median(run["peak_mb"] for run in taken["ours"])
    click.echo(f"predicted {predicted:,.0f} MB, measured {peak:,.0f} MB: {predicted / peak:.2f}")


def measured(contestant: str, recipe: str, steps: int, batch_tokens: int, layout: str) -> dict:
    """Train, timed from step ten on. ``speed``: tokens a second without padding; MB are 10^6."""
    from training.base.job import BaseSettings, new_model
    from training.batches import plan_batches
    from training.precision import bf16_is_fast

    settings = BaseSettings.load(
        recipe_path("training/base", recipe),
        {
            "batch_tokens": batch_tokens,
            "batch_layout": layout,
            "checkpoint_steps": 10**6,
            "muon_learning_rate": "none",  # AdamW for both
        },
    )
    examples = drawn_examples()
    lengths = [len(e.input_ids) for e in examples]
    plan, before = (
        plan_batches(lengths, batch_tokens=tokens, steps=count, max_epochs=10**6, seed=1)
        for tokens, count in ((batch_tokens, steps + 10), (256, 2))
    )
    bf16 = bf16_is_fast()
    make = ours if contestant == "ours" else plain
    with tempfile.TemporaryDirectory() as work:
        tiny = new_model(BaseSettings(), Stub())
        make(tiny, examples, before, settings, Path(work), bf16, Clock(start=10))
        del tiny
    gc.collect()
    give_back_heap()
    clock = Clock(start=10)
    start_bytes = reset_peak()
    model = new_model(settings, Stub())
    with tempfile.TemporaryDirectory() as work:
        make(model, examples, plan, settings, Path(work), bf16, clock)
    peak = peak_bytes() - start_bytes
    tokens = sum(len(examples[i].input_ids) for batch in plan[10:] for i in batch)
    found = {"speed": tokens / clock.seconds, "peak_mb": peak / 1e6, "bf16": bf16}
    if contestant == "ours":
        found["predicted_mb"] = predicted_bytes(model.config, settings, examples, plan, bf16) / 1e6
    return found


class Stub:
    """As much of a tokenizer as a model of random tokens needs."""

    eos_token_id = 0
    pad_token_id = 1

    def __len__(self) -> int:
        return _VOCABULARY


class Clock(TrainerCallback):
    """Seconds from the end of step ``start`` to the end of training."""

    def __init__(self, start: int):
        self._start = start
        self._began = 0.0
        self.seconds = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if state.global_step == self._start:
            self._began = time.perf_counter()
        if state.global_step == state.max_steps:
            self.seconds = time.perf_counter() - self._began


def drawn_examples() -> list[Example]:
    rng = np.random.default_rng(0)
    examples = []
    for _ in range(3000):
        prompt, target = int(rng.integers(100, 177)), int(rng.integers(15, 61))
        examples.append(Example(rng.integers(80, _VOCABULARY, prompt + target).tolist(), prompt))
    return examples


def ours(model, examples, plan, settings, work, bf16, clock) -> None:
    from training.trainer import train

    tokenizer = stub_tokenizer()
    train(model, tokenizer, examples, plan, settings, work, bf16=bf16, title="ours",
          callbacks=[clock])  # fmt: skip


def stub_tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<eos>": 0, "<pad>": 1}, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>")


def plain(model, examples, plan, settings, work, bf16, clock) -> None:
    """What one writes without us; learning rate and weight decay as in the recipe."""
    from torch.utils.data import DataLoader
    from transformers import Trainer, TrainingArguments

    def collate(rows: list[Example]) -> dict[str, torch.Tensor]:
        width = max(len(row.input_ids) for row in rows)
        ids = torch.full((len(rows), width), Stub.pad_token_id)
        labels = torch.full_like(ids, MASKED)
        for place, row in enumerate(rows):
            ids[place, : len(row.input_ids)] = torch.tensor(row.input_ids)
            labels[place, : len(row.input_ids)] = torch.tensor(row.labels)
        return {"input_ids": ids, "labels": labels, "attention_mask": (ids != 1).long()}

    class Plain(Trainer):
        def get_train_dataloader(self):
            return DataLoader(examples, batch_sampler=list(plan), collate_fn=collate)

    trainer = Plain(
        model=model,
        args=TrainingArguments(
            output_dir=str(work),
            max_steps=len(plan),
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=25,
        ),
        train_dataset=examples,
        data_collator=collate,
        callbacks=[clock],
    )
    trainer.train()


def predicted_bytes(config, settings, examples, plan, bf16) -> int:
    """What a training says before it starts."""
    from training.memory import largest_batches, predict

    packed = settings.batch_layout == "packed"
    largest = largest_batches(examples, plan, accumulation=1, world=1, packed=packed)
    fused = attention_is_fused(bf16=bf16, on_gpu=torch.cuda.is_available())
    return predict(config, settings, largest, bf16=bf16, fused_attention=fused).total


def give_back_heap() -> None:
    """Else what was freed is taken again, and not counted."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def reset_peak() -> int:
    """Bytes held now; the peak counts from here."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


if __name__ == "__main__":
    main()
