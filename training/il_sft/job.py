"""``aigq train sft``: list SFT of a causal language model (AIGQ eq. 5-6).

    aigq train sft --variant direct --recipe direct-tiny                       # 2 CPU cores
    aigq train sft --variant direct --recipe direct-lora --base-model Qwen/Qwen3-0.6B

The target of a sample is its ordered list, one query a line, ended by eos; prompt tokens carry no
loss. Special tokens that the base model lacks are added as eq. 1 says. Deviation from the paper:
the Direct context may be cut to the start of its day (``day_start_share``), because lists are also
made before a day's first action.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import Field

from aigq import jobs, models
from aigq.as_of import as_of_option
from aigq.context import SPECIAL_TOKENS
from aigq.settings import Home, UserError, recipe_path, settings_options
from training.settings import TrainSettings


class SftSettings(TrainSettings):
    """Settings of ``aigq train sft``."""

    variant: Literal["direct"] = Field("direct", description="Which samples: direct.")
    base_model: str = Field(
        "base", description="Model to start from: base, base@VERSION, a path or a hub name."
    )
    prompt_style: Literal["compressed", "verbose"] = Field(
        "compressed", description="compressed or verbose."
    )
    max_prompt_tokens: int = Field(512, ge=16, description="Oldest behaviours go beyond this.")
    max_target_tokens: int = Field(128, ge=8, description="Samples with longer lists are dropped.")
    max_samples: int = Field(20_000, ge=1, description="Samples drawn from the training split.")
    day_start_share: float = Field(
        0.5, ge=0, le=1, description="Share of contexts without behaviours of the same day."
    )
    heldout_share: float = Field(
        0.02, ge=0, lt=1, description="Share of users kept for the held-out loss."
    )
    max_epochs: float = Field(10, gt=0, description="Passes over the samples at most.")
    lora_rank: int | None = Field(None, ge=1, description="Train LoRA adapters of this rank.")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale, used with lora_rank.")


@dataclass(frozen=True)
class BaseModel:
    """Where the starting weights come from; ``identity`` changes when they do.

    ``train_end_at``: the end of the shop's days they have seen, None for weights from elsewhere.
    """

    source: str
    identity: str
    train_end_at: str | None = None


@click.command("sft")
@click.option(
    "--recipe", default="direct-tiny", show_default=True, help="Recipe name or YAML file."
)
@as_of_option
@settings_options(SftSettings)
def command(recipe: str, as_of: str | None, **options: Any) -> None:
    """Train a language model to write a user's ordered query list."""
    path = recipe_path("training/il_sft", recipe)
    settings = SftSettings.load(path, options)
    home = Home.from_environment()
    with jobs.job(
        home, "train sft", {"recipe": path.stem, **settings.model_dump()}, as_of=as_of
    ) as run:
        train_sft(run, settings, recipe=path.stem)


def train_sft(run: jobs.Run, settings: SftSettings, *, recipe: str) -> None:
    """Read the pinned samples, train, measure the held-out loss, merge, publish."""
    from training.batches import plan_batches
    from training.export import finish_published, publish, save_merged
    from training.il_sft.samples import make_samples, read_rows
    from training.tokens import add_special_tokens
    from training.trainer import heldout_loss, train
    from training.workspace import Snapshot, already_published, open_workspace, train_end

    base = resolve_base(run.home, settings.base_model)
    identity = {"settings": settings.model_dump(), "base_model": base.identity}
    with open_workspace(run, settings.variant, identity) as work:
        if published := already_published(run.home, settings.variant, work):
            return finish_published(run, work, published)
        with Snapshot(run.home, work.snapshot) as snapshot:
            rows = read_rows(
                snapshot, settings.variant, limit=settings.max_samples, seed=settings.seed
            )
            seen_until = train_end(snapshot, base.train_end_at)
        run.read(f"samples.samples_{settings.variant} at snapshot {work.snapshot}", len(rows))
        model, tokenizer, dtype = load_base(base)
        added = add_special_tokens(model, tokenizer, SPECIAL_TOKENS)
        samples = make_samples(
            rows,
            tokenizer,
            prompt_style=settings.prompt_style,
            max_prompt_tokens=settings.max_prompt_tokens,
            max_target_tokens=settings.max_target_tokens,
            day_start_share=settings.day_start_share,
            heldout_share=settings.heldout_share,
            seed=settings.seed,
        )
        plan = plan_batches(
            [len(e.input_ids) for e in samples.train],
            batch_tokens=settings.batch_tokens,
            steps=settings.steps,
            max_epochs=settings.max_epochs,
            seed=settings.seed,
        )
        model, metrics = train(
            model,
            tokenizer,
            samples.train,
            plan,
            settings,
            work.path,
            bf16=work.bf16,
            title=f"train sft {settings.variant}",
            peft_config=lora_config(settings, model, added),
        )
        metrics |= samples.counts
        metrics["heldout_loss"] = heldout_loss(
            model,
            tokenizer,
            samples.heldout,
            batch_tokens=settings.batch_tokens,
            bf16=work.bf16,
        )
        build = work.build_dir()
        save_merged(model, tokenizer, build, dtype)
        publish(
            run,
            settings.variant,
            work,
            build,
            {
                "variant": settings.variant,
                "recipe": recipe,
                "settings": settings.model_dump(),
                "seed": settings.seed,
                "base_model": base.identity,
                "train_end_at": seen_until,
                "added_tokens": len(added),
                "prompt": {
                    "style": settings.prompt_style,
                    "max_tokens": settings.max_prompt_tokens,
                },
                "max_target_tokens": settings.max_target_tokens,
                "metrics": metrics,
            },
        )


def resolve_base(home: Home, reference: str) -> BaseModel:
    """The checkpoint behind ``name``, ``name@version``, a directory or a hub name ``owner/name``.

    Raises :class:`UserError` naming the versions there are, or what the directory lacks.
    """
    path = Path(reference)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"{path} holds no checkpoint: it has no config.json")
        newest = max(file.stat().st_mtime_ns for file in path.iterdir())
        manifest = path / models.MANIFEST
        seen_until = (
            json.loads(manifest.read_text()).get("train_end_at") if manifest.exists() else None
        )
        return BaseModel(str(path), f"{path.resolve()} ({newest})", seen_until)
    if "/" in reference:
        return BaseModel(reference, reference)
    model = models.resolve(home, reference)
    return BaseModel(
        str(model.path), f"{model.name}@{model.version}", model.manifest.get("train_end_at")
    )


def load_base(base: BaseModel) -> tuple[Any, Any, Any]:
    """Model (fp32 weights), tokenizer, and the dtype the checkpoint is stored in.

    Raises :class:`UserError` where it cannot be loaded or has no end-of-sequence token.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        stored = AutoConfig.from_pretrained(base.source).dtype or torch.float32
        tokenizer = AutoTokenizer.from_pretrained(base.source)
        model = AutoModelForCausalLM.from_pretrained(base.source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load base model {base.source}: {error}") from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"{base.source}: its tokenizer has no end-of-sequence token to end lists")
    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer, stored


def lora_config(settings: SftSettings, model: Any, added: list[int]) -> Any:
    """LoRA on every linear layer but the head, and full training of the added tokens' rows.

    None where ``lora_rank`` is not set: all weights are trained then.
    """
    if settings.lora_rank is None:
        return None
    from peft import LoraConfig

    embeddings = model.get_input_embeddings()
    name = next(n.rpartition(".")[2] for n, m in model.named_modules() if m is embeddings)
    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        trainable_token_indices={name: added} if added else None,
        task_type="CAUSAL_LM",
    )
