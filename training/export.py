"""The one export: a merged checkpoint plus tokenizer that transformers and vLLM load as it is."""

from pathlib import Path
from typing import Any

import click
import torch

from aigq import models
from aigq.jobs import Run, code_version
from training.memory import GIB, MEMORY, peak_bytes
from training.workspace import Workspace


def save_merged(model: Any, tokenizer: Any, build: Path, dtype: torch.dtype) -> None:
    """Write ``model`` to ``build`` in ``dtype``; adapters are merged into the weights first.

    Merging happens in the precision trained in, rounding to ``dtype`` once, at the end.
    """
    from peft import PeftModel

    if isinstance(model, PeftModel):
        model = model.merge_and_unload()
    model = model.to(dtype)
    model.config.eos_token_id = tokenizer.eos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    # Whatever else a checkpoint ends on (chat models: end of turn), our lists end on this token.
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(build)
    tokenizer.save_pretrained(build)


def publish(
    run: Run, name: str, workspace: Workspace, build: Path, manifest: dict[str, Any]
) -> models.Model:
    """Publish ``build`` as a new version of ``name`` and drop the run's checkpoints.

    ``manifest`` adds recipe, seed, metrics ... to what every version carries: run, code version,
    lake snapshot, precision. The run's own metrics also tell the process' peak of memory.
    """
    common = {
        "run_id": run.run_id,
        "started_by": workspace.started_by,
        "job": run.job,
        "snapshot": workspace.snapshot,
        "code_version": code_version(),
        "precision": "bf16 autocast" if workspace.bf16 else "fp32",
        "torch": torch.__version__,
    }
    version = run.run_id
    model = models.publish(run.home, name, version, build, common | manifest)
    models.discard_work(workspace.path)
    run.metrics |= {"model": f"{name}@{version}", **manifest.get("metrics", {})}
    run.metrics["peak_memory_bytes"] = peak = peak_bytes()
    run.summary.append(f"  at most {peak / GIB:.2f} GiB of {MEMORY} were held")
    run.wrote(f"models/{name}/{version}")
    click.echo(f"published {name}@{version}", err=True)
    return model


def finish_published(run: Run, workspace: Workspace, model: models.Model) -> None:
    """End a run whose work an earlier attempt had published before it was killed."""
    models.discard_work(workspace.path)
    run.metrics["model"] = f"{model.name}@{model.version}"
    run.summary.append(f"  already published: {model.name}@{model.version}")
