"""What the compressed prompt saves (AIGQ eq. 1): tokens, time to train, time to generate.

    AIGQ_HOME=data/ladder python tests/bench/compression_speed.py

Two published models of `aigq train sft` that differ in their prompts, the compressed one first.
Each is trained a little again from its base on its own samples and settings, and then writes the
greedy list of test user-days; every measurement is a process of its own, the models take turns,
ratios are taken within a repetition. What prompts do to quality, `aigq evaluate --compare` says.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from training_speed import Clock

from aigq import models, warehouse
from aigq.context import Context
from aigq.settings import PROJECT_ROOT, Home

_WARM_UP = 10


@click.command()
@click.option("--models", "names", default="direct_il_sft,direct_il_sft_verbose", show_default=True)
@click.option("--steps", default=40, show_default=True, help=f"Timed steps, after {_WARM_UP}.")
@click.option("--lists", default=512, show_default=True, help="Test user-days to write lists for.")
@click.option("--repetitions", default=3, show_default=True)
@click.option("--contestant", hidden=True)
def main(names, steps, lists, repetitions, contestant) -> None:
    """Print both models' figures and the ratios."""
    if contestant:
        name, _, part = contestant.partition(":")
        found = training(name, steps) if part == "training" else generation(name, lists)
        json.dump(found, sys.stdout)
        return
    compressed, verbose = names.split(",")
    taken: dict[str, list[dict]] = {compressed: [], verbose: []}
    options = ["--steps", str(steps), "--lists", str(lists)]
    for repetition in range(repetitions):
        for name in taken:
            taken[name].append({})
        for part in ("training", "generation"):
            for name in taken:
                done = subprocess.run(
                    [sys.executable, __file__, *options, "--contestant", f"{name}:{part}"],
                    stdout=subprocess.PIPE,
                    cwd=PROJECT_ROOT,
                    check=True,
                )
                taken[name][-1] |= json.loads(done.stdout.splitlines()[-1])
                click.echo(f"{repetition + 1} {name} {json.dumps(taken[name][-1])}", err=True)
    click.echo(f"{'':<28} {compressed:>22} {verbose:>22}  ratio")
    for figure in taken[compressed][0]:
        pairs = [(a[figure], b[figure]) for a, b in zip(*taken.values(), strict=True)]
        of_each = [statistics.median(column) for column in zip(*pairs, strict=True)]
        ratios = [a / b for a, b in pairs]
        click.echo(
            f"{figure:<28} {of_each[0]:22,.1f} {of_each[1]:22,.1f}"
            f"  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def training(name: str, steps: int) -> dict[str, float]:
    """Samples a second from step ten on, and how long their prompts are (tokens, mean)."""
    from training.batches import plan_batches
    from training.checkpoint import resolve_base
    from training.il_sft.job import prepare
    from training.il_sft.settings import SftSettings
    from training.precision import bf16_is_fast
    from training.trainer import train

    home = Home.from_environment()
    manifest = models.resolve(home, name).manifest
    settings = SftSettings(**(manifest["settings"] | {"checkpoint_steps": 10**6}))
    if settings.lora_rank is not None:
        raise click.ClickException(f"{name} was trained with LoRA, which is not measured here")
    base = resolve_base(home, manifest["base_model"])
    ready = prepare(home, manifest["snapshot"], base, settings)
    examples = ready.samples.train
    plan = plan_batches(
        [len(e.input_ids) for e in examples],
        batch_tokens=settings.batch_tokens,
        steps=steps + _WARM_UP,
        max_epochs=10**6,
        seed=settings.seed,
    )
    clock = Clock(start=_WARM_UP)
    with tempfile.TemporaryDirectory() as work:
        train(ready.model, ready.tokenizer, examples, plan, settings, Path(work),
              bf16=bf16_is_fast(), title=name, callbacks=[clock])  # fmt: skip
    samples = sum(len(batch) for batch in plan[_WARM_UP:])
    return {
        "prompt tokens, training": statistics.mean(e.target_start for e in examples),
        "samples a second, training": samples / clock.seconds,
    }


def generation(name: str, lists: int) -> dict[str, float]:
    """Greedy lists a second, without the engine's start."""
    from inference.list_model import open_list_model

    home = Home.from_environment()
    con = warehouse.connect(home, read_only=True)
    rows = con.execute(
        "SELECT age_band, gender, region, behaviors FROM lake.samples.test_user_days"
        " ORDER BY md5(instance_id), instance_id LIMIT ?",
        [lists],
    ).to_arrow_table()
    con.close()
    contexts = [Context.from_row(row) for row in rows.to_pylist()]
    with open_list_model(models.resolve(home, name), "vllm", None) as writer:
        writer.start()
        writer.generate(contexts[:32], [[None]] * 32)  # the first ones compile
        began = time.perf_counter()
        writer.generate(contexts, [[None]] * len(contexts))
        seconds = time.perf_counter() - began
        kept = statistics.mean(writer.kept)
    return {"behaviours shown": kept, "lists a second": len(contexts) / seconds}


if __name__ == "__main__":
    main()
