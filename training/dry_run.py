"""``--dry-run``: what a training would be, from its recipe alone.

Nothing is downloaded, read from the lake or trained. The architecture comes from the base model's
config.json where it is on this machine, from its recipe where `aigq train base` would make it, else
from ``architectures/NAME.json`` beside the recipes, through the real configuration class; the
weights are on torch's meta device.
"""

import json
from pathlib import Path
from typing import Any

import torch

from aigq import models
from aigq.context import SPECIAL_TOKENS
from aigq.settings import Home, UserError, recipe_path
from training.base.job import BaseSettings, architecture, recipe_of
from training.checkpoint import lora_config, require_positions, resolve_base
from training.memory import GIB, Batch, predict
from training.parts import padded
from training.precision import attention_is_fused, bf16_is_fast


def report(home: Home, settings: Any, recipes: Path, *, processes: int = 1) -> str:
    """Sizes, tokens of a step and memory per process, for people. ``settings``: SftSettings.

    Raises :class:`UserError` for an architecture that is not known here, or has too few positions.
    """
    config, origin, is_here = _config(home, settings.base_model, recipes)
    longest = settings.max_prompt_tokens + settings.max_target_tokens
    require_positions(settings.base_model, config, longest)
    on_gpu = torch.cuda.is_available() or not is_here
    bf16 = on_gpu or bf16_is_fast()
    batch = micro_batch(settings, processes)
    with torch.device("meta"):
        from transformers import AutoModelForCausalLM

        added = list(range(len(SPECIAL_TOKENS)))
        lora = lora_config(settings, AutoModelForCausalLM.from_config(config), added)
    memory = predict(
        config,
        settings,
        [batch],
        bf16=bf16,
        world=processes,
        fused_attention=attention_is_fused(bf16=bf16, on_gpu=on_gpu),
        lora=lora,
        weights_dtype=settings.weights_dtype,
    )
    share = memory.trainable / memory.parameters
    parts = processes * settings.accumulation_steps
    rows = [
        ("model", f"{settings.base_model}, {type(config).__name__} from {origin}"),
        (
            "parameters",
            f"{memory.parameters:,}, of which {memory.trainable:,} trained ({share:.2%})",
        ),
        ("arithmetic", f"{'bf16 autocast' if bf16 else 'fp32'}, weights {settings.weights_dtype}"),
        ("tokens a step", f"{settings.batch_tokens:,}"),
        (
            "micro-batch",
            f"1/{parts} of it ({processes} processes x {settings.accumulation_steps}): at most"
            f" {batch.rows} x {batch.width} tokens",
        ),
    ]
    rows += [
        (name, f"{size / GIB:10.2f} GiB")
        for name, size in (
            ("weights", memory.weights),
            ("gradients", memory.gradients),
            ("optimizer", memory.optimizer),
            ("activations", memory.activations),
            (f"in all, per {'GPU' if on_gpu else 'process'}", memory.total),
        )
    ]
    return "\n".join(f"{name:<18}{value}" for name, value in rows)


def micro_batch(settings: Any, processes: int) -> Batch:
    """The largest micro-batch that a step's share can be: rows of full length, or one packed row.

    An example longer than the share is a micro-batch of its own.
    """
    longest = settings.max_prompt_tokens + settings.max_target_tokens
    width = padded(longest)
    rows = max(1, settings.share_of_step(processes) // width)
    if settings.batch_layout == "packed":
        return Batch(1, rows * width, rows * settings.max_target_tokens)
    return Batch(rows, width, settings.max_target_tokens)


def _config(home: Home, reference: str, recipes: Path) -> tuple[Any, str, bool]:
    """The configuration, where it comes from, and whether it is for this machine: weights that are
    here, or that recipe tiny makes."""
    from transformers import AutoConfig

    name = reference.rpartition("/")[2]
    known = recipes / "architectures" / f"{name}.json"
    if "/" in reference and not Path(reference).is_dir():
        if not known.is_file():
            names = ", ".join(sorted(p.stem for p in known.parent.glob("*.json"))) or "none"
            raise UserError(
                f"--dry-run knows no architecture {name!r}; there are: {names}. Add its config.json"
                f" as {known}"
            )
        values = json.loads(known.read_text(encoding="utf-8"))
        return AutoConfig.for_model(**values), str(known.name), False
    recipe = recipe_of(reference)
    if recipe and not Path(reference).is_dir() and not models.versions(home, reference):
        made = BaseSettings.load(recipe_path("training/base", recipe), {})
        config = architecture(made, vocab_size=made.vocab_size)
        return config, f"training/base/recipes/{recipe}.yaml, not trained yet", recipe == "tiny"
    base = resolve_base(home, reference)
    return AutoConfig.from_pretrained(base.source), f"{base.source}/config.json", True
