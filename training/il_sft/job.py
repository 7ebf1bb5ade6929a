"""``aigq train sft``: list SFT of a causal language model (AIGQ eq. 5-9).

    aigq train sft --variant direct --recipe direct-tiny                       # 2 CPU cores
    aigq train sft --variant think --recipe think-tiny                         # 2 CPU cores
    aigq train sft --variant direct --objective sft --name direct-sft          # the baseline
    aigq train sft --variant direct --recipe qwen3-0.6b                        # one GPU
    accelerate launch --num_processes 8 -m aigq.cli train sft --recipe qwen3-30b-a3b
    aigq train sft --recipe qwen3-30b-a3b --dry-run --processes 8              # what it takes

The target of a Direct sample is its ordered list, one query a line; of a Think sample its
rationales, then its interest points (aigq.think). Either is ended by eos; prompt tokens carry no
loss. Objective ``sft`` is the baseline: the same labels in an order free of interest, and the
verbose prompt. Special tokens that the base model lacks are added as eq. 1 says. Deviation from the
paper: a context may be cut to the start of its day (``day_start_share``), because lists are also
made before a day's first action.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from aigq import jobs
from aigq.as_of import as_of_option
from aigq.context import SPECIAL_TOKENS
from aigq.settings import Home, recipe_path, settings_options
from training import distributed
from training.checkpoint import BaseModel, load_base, lora_config, resolve_base
from training.il_sft.settings import SftSettings

_RECIPES = {"direct": "direct-tiny", "think": "think-tiny"}


@click.command("sft")
@click.option(
    "--recipe", help="Recipe name or YAML file. [default: direct-tiny or think-tiny, by --variant]"
)
@click.option("--dry-run", is_flag=True, help="Check the recipe, print sizes and memory, and end.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With --dry-run: as if this many trained together (`accelerate launch` starts them).",
)
@as_of_option
@settings_options(SftSettings)
def command(
    recipe: str | None, dry_run: bool, processes: int, as_of: str | None, **options: Any
) -> None:
    """Train a language model to write a user's ordered query list, or interest points."""
    path = recipe_path("training/il_sft", recipe or _RECIPES.get(options["variant"], "direct-tiny"))
    settings = SftSettings.load(path, options)
    home = Home.from_environment()
    if dry_run:
        from training.dry_run import report

        return click.echo(report(home, settings, path.parent, processes=processes))
    if distributed.rank() > 0:
        return follow_sft(home, settings)
    with jobs.job(
        home, "train sft", {"recipe": path.stem, **settings.model_dump()}, as_of=as_of
    ) as run:
        train_sft(run, settings, recipe=path.stem)


@dataclass(frozen=True)
class Prepared:
    """What there is once a run's input is read: the same in all processes."""

    model: Any
    tokenizer: Any
    dtype: Any
    added: Sequence[int]
    samples: Any
    rows_read: int
    seen_until: str


def train_sft(run: jobs.Run, settings: SftSettings, *, recipe: str) -> None:
    """Read the pinned samples, train, measure the held-out loss, merge, publish."""
    from training.export import finish_published, publish, save_merged
    from training.trainer import heldout_loss
    from training.workspace import already_published, open_workspace

    name = settings.model_name
    base = resolve_base(run.home, settings.base_model)
    identity = {"settings": settings.model_dump(), "base_model": base.identity}
    with open_workspace(run, name, identity) as work:
        if published := already_published(run.home, name, work):
            distributed.share(None)
            return finish_published(run, work, published)
        distributed.share((work.path, work.snapshot, work.bf16))
        ready = prepare(run.home, work.snapshot, base, settings)
        run.read(f"samples.samples_{settings.variant} at snapshot {work.snapshot}", ready.rows_read)
        model, metrics = _train(ready, settings, work.path, bf16=work.bf16)
        metrics |= ready.samples.counts
        metrics["heldout_loss"] = heldout_loss(
            model,
            ready.tokenizer,
            ready.samples.heldout,
            batch_tokens=settings.share_of_step(distributed.world_size()),
            bf16=work.bf16,
        )
        loss = metrics["heldout_loss"]
        run.summary.append(
            f"  {metrics['samples_train']:,} samples to train on, {metrics['samples_heldout']:,}"
            f" held out{'' if loss is None else f': {loss:.3f} nats a target token'};"
            f" {metrics['context_cut_share']:.0%} of the prompts lost their oldest behaviours"
            + (
                f"; {metrics['samples_without_points']:,} samples left out, whose prompt shows no"
                " trigger of theirs"
                if metrics.get("samples_without_points")
                else ""
            )
        )
        build = work.build_dir()
        save_merged(model, ready.tokenizer, build, ready.dtype)
        publish(
            run,
            name,
            work,
            build,
            {
                "variant": settings.variant,
                "objective": settings.objective,
                "recipe": recipe,
                "settings": settings.model_dump(),
                "seed": settings.seed,
                "base_model": base.identity,
                "train_end_at": ready.seen_until,
                "added_tokens": len(ready.added),
                "prompt": {
                    "style": settings.prompt_style,
                    "max_tokens": settings.max_prompt_tokens,
                },
                "max_target_tokens": settings.max_target_tokens,
                "metrics": metrics,
            },
        )


def follow_sft(home: Home, settings: SftSettings) -> None:
    """The part of the other processes: read the same, train along, leave the rest to the first."""
    if (pinned := distributed.share()) is None:
        return
    path, snapshot, bf16 = pinned
    base = resolve_base(home, settings.base_model)
    _train(prepare(home, snapshot, base, settings), settings, path, bf16=bf16)


def prepare(home: Home, version: int, base: BaseModel, settings: SftSettings) -> Prepared:
    """Read the samples at lake snapshot ``version`` and load ``base`` with the added tokens."""
    from training.il_sft.samples import make_samples, read_rows
    from training.tokens import add_special_tokens
    from training.workspace import Snapshot, train_end

    with Snapshot(home, version) as snapshot:
        rows, left_out = read_rows(
            snapshot,
            settings.variant,
            objective=settings.objective,
            limit=settings.max_samples,
            seed=settings.seed,
        )
        seen_until = train_end(snapshot, base.train_end_at)
    model, tokenizer, dtype = load_base(
        base,
        settings.weights_dtype,
        longest=settings.max_prompt_tokens + settings.max_target_tokens,
    )
    added = add_special_tokens(model, tokenizer, SPECIAL_TOKENS)
    samples = make_samples(rows, tokenizer, settings)
    samples.counts.update(left_out)
    return Prepared(model, tokenizer, dtype, added, samples, len(rows), seen_until)


def _train(
    ready: Prepared, settings: SftSettings, path: Path, *, bf16: bool
) -> tuple[Any, dict[str, Any]]:
    from training.batches import plan_batches
    from training.trainer import train

    plan = plan_batches(
        [len(e.input_ids) for e in ready.samples.train],
        batch_tokens=settings.batch_tokens,
        steps=settings.steps,
        max_epochs=settings.max_epochs,
        seed=settings.seed,
    )
    return train(
        ready.model,
        ready.tokenizer,
        ready.samples.train,
        plan,
        settings,
        path,
        bf16=bf16,
        title=f"train sft {settings.model_name}",
        peft_config=lora_config(settings, ready.model, ready.added),
    )
