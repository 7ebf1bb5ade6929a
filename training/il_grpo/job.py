"""``aigq train grpo``: a list model rewarded for its own rollouts (AIGQ eq. 10-18).

    aigq train grpo --variant direct --base-model direct_il_sft               # 2 CPU cores
    aigq train grpo --variant think --base-model think_il_sft --filter
    aigq train grpo --variant direct --algorithm grpo                         # the baseline
    aigq train grpo --variant direct --engine vllm_colocate --prompts 64      # one GPU
    aigq train grpo --base-model direct_il_grpo --days 2026-02-04..2026-02-04 # a day later (eq. 15)

Rewards are the click probability of the CTR model, likeness to the session's labels slot by slot,
length, grammar, repeats, and for Think the triggers; what each is, and what a token gets of it,
docs/il_grpo.md says. Deviations from the paper, which names no numbers for most of this: two
updates of a rollout batch in the tiny recipes; the mean over all tokens of a batch (DAPO); the
learning rate is constant after its warm-up. docs/paper_index.md has all of them.
"""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from aigq import jobs, models
from aigq.as_of import as_of_option
from aigq.settings import Home, UserError, recipe_path, settings_options
from training import distributed
from training.checkpoint import load_base, resolve_base
from training.il_grpo.settings import GrpoSettings

_RECIPES = {"direct": "direct-tiny", "think": "think-tiny"}
_BEFORE = "before.json"


@click.command("grpo")
@click.option(
    "--recipe", help="Recipe name or YAML file. [default: direct-tiny or think-tiny, by --variant]"
)
@as_of_option
@settings_options(GrpoSettings)
def command(recipe: str | None, as_of: str | None, **options: Any) -> None:
    """Train a list model on rewards for its own rollouts."""
    path = recipe_path(
        "training/il_grpo", recipe or _RECIPES.get(options["variant"], "direct-tiny")
    )
    settings = GrpoSettings.load(path, options)
    home = Home.from_environment()
    if distributed.rank() > 0:
        return follow_grpo(home, settings)
    with jobs.job(
        home, "train grpo", {"recipe": path.stem, **settings.model_dump()}, as_of=as_of
    ) as run:
        train_grpo(run, settings, recipe=path.stem)


@dataclass(frozen=True)
class Start:
    """What a training starts from. ``base``: the policy's files, ``form`` and ``max_new_tokens``
    as it was trained with; ``ctr``: the model that rewards; ``references`` to both, versions
    included, as settings."""

    base: Any
    manifest: dict[str, Any]
    ctr: models.Model
    references: dict[str, str]

    @property
    def form(self) -> Any:
        """How the policy is asked."""
        from training.il_grpo.tasks import PromptFormat

        settings = self.manifest["settings"]
        return PromptFormat(
            settings["prompt_style"],
            settings["max_prompt_tokens"],
            settings.get("heldout_share", 0.0),
        )

    @property
    def max_new_tokens(self) -> int:
        """Tokens of a rollout at most."""
        return self.manifest["settings"]["max_target_tokens"]


def find_start(home: Home, settings: GrpoSettings) -> Start:
    """The policy and the CTR model. Raises :class:`UserError` for a model that writes no lists of
    this variant, and for batches that cannot be shared out."""
    share = settings.prompts / distributed.world_size()
    if share != int(share) or int(share) * settings.rollouts % settings.accumulation_steps:
        raise UserError(
            f"{settings.prompts} prompts of {settings.rollouts} rollouts cannot be shared out to"
            f" {distributed.world_size()} processes in {settings.accumulation_steps} parts each"
            " (accumulation_steps)"
        )
    _require_engine(settings)
    policy = models.resolve_checkpoint(home, settings.base)
    manifest = policy.manifest
    trained = manifest.get("settings") or {}
    wanted = {"prompt_style", "max_prompt_tokens", "max_target_tokens"}
    if missing := wanted - trained.keys():
        raise UserError(
            f"{settings.base} writes no lists: its manifest has no setting {sorted(missing)[0]!r},"
            " which models of `aigq train sft` have"
        )
    if manifest.get("variant") != settings.variant:
        raise UserError(
            f"{settings.base} is of variant {manifest.get('variant')!r}, not {settings.variant!r}"
        )
    ctr = models.resolve(home, settings.ctr_model)
    references = {"base_model": policy.reference, "ctr_model": ctr.reference}
    return Start(resolve_base(home, policy.reference), manifest, ctr, references)


def _require_engine(settings: GrpoSettings) -> None:
    """Raises :class:`UserError` where vLLM cannot be had: it would say so late, or wait."""
    if settings.engine == "transformers":
        return
    import torch

    if not torch.cuda.is_available():
        raise UserError(
            f"--engine {settings.engine} needs an NVIDIA GPU: TRL cannot push weights into vLLM's"
            " CPU engine"
        )
    if settings.engine == "vllm_server":
        address = urlsplit(settings.server)
        try:
            socket.create_connection((address.hostname, address.port or 80), timeout=5).close()
        except OSError as error:
            raise UserError(f"no `trl vllm-serve` answers at {settings.server}: {error}") from error


def train_grpo(run: jobs.Run, settings: GrpoSettings, *, recipe: str) -> None:
    """Read the pinned samples, train the policy, measure it on held-out users, publish."""
    from training.export import finish_published, publish, save_merged
    from training.workspace import already_published, open_workspace

    name = settings.model_name
    start = find_start(run.home, settings)
    identity = {
        "settings": settings.model_dump(),
        "base_model": start.base.identity,
        "ctr_model": start.ctr.reference,
    }
    with open_workspace(run, name, identity) as work:
        if published := already_published(run.home, name, work):
            distributed.share(None)
            return finish_published(run, work, published)
        distributed.share((work.path, work.snapshot, work.bf16, start.references))
        ready = prepare(run.home, work.snapshot, start, settings)
        run.read(
            f"samples.samples_{settings.variant} at snapshot {work.snapshot}",
            ready.tasks.counts["samples_read"],
        )
        trainer, metrics = _train(
            ready, start, settings, work.path, bf16=work.bf16, record=(run, work.started_by)
        )
        build = work.build_dir()
        (build / "training_log.json").write_text(json.dumps(trainer.state.log_history, indent=1))
        save_merged(
            trainer.accelerator.unwrap_model(trainer.model), ready.tokenizer, build, ready.dtype
        )
        publish(
            run,
            name,
            work,
            build,
            {
                "variant": settings.variant,
                "objective": settings.algorithm,
                "recipe": recipe,
                # As whoever generates has to ask it.
                "settings": settings.model_dump()
                | {
                    "prompt_style": start.form.style,
                    "max_prompt_tokens": start.form.max_tokens,
                    "max_target_tokens": start.max_new_tokens,
                    # Of users that no list model so far was trained on.
                    "heldout_share": min(settings.heldout_share, start.form.heldout_share),
                },
                "seed": settings.seed,
                "base_model": start.base.identity,
                "ctr_model": start.ctr.reference,
                "train_end_at": ready.seen_until,
                "metrics": metrics | ready.tasks.counts,
            },
        )


def follow_grpo(home: Home, settings: GrpoSettings) -> None:
    """The part of the other processes: read the same, train along, leave the rest to the first."""
    if (pinned := distributed.share()) is None:
        return
    path, snapshot, bf16, references = pinned
    start = find_start(home, settings.model_copy(update=references))
    _train(prepare(home, snapshot, start, settings), start, settings, path, bf16=bf16)


@dataclass(frozen=True)
class Prepared:
    """What there is once a run's input is read: the same in all processes."""

    model: Any
    tokenizer: Any
    dtype: Any
    tasks: Any
    scorer: Any
    seen_until: str


def prepare(home: Home, version: int, start: Start, settings: GrpoSettings) -> Prepared:
    """Read the samples at lake snapshot ``version``; load policy and CTR model."""
    from aigq import ctr
    from aigq.spans import TokenBytes
    from training.il_grpo.scoring import Scorer
    from training.il_grpo.tasks import last_day, read_tasks
    from training.workspace import Snapshot, train_end

    model, tokenizer, dtype = load_base(start.base, settings.weights_dtype)
    with Snapshot(home, version) as snapshot:
        tasks = read_tasks(snapshot, tokenizer, start.form, settings)
        seen = [start.base.train_end_at, start.ctr.manifest.get("train_end_at")]
        last = last_day(snapshot, settings)
        seen_until = train_end(snapshot, max(filter(None, seen), default=None), last=last)
    scorer = Scorer(ctr.load(home, start.ctr.reference), TokenBytes(tokenizer), settings)
    return Prepared(model, tokenizer, dtype, tasks, scorer, seen_until)


def _train(
    ready: Prepared,
    start: Start,
    settings: GrpoSettings,
    path: Path,
    *,
    bf16: bool,
    record: tuple[jobs.Run, str] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The trained policy's trainer, and what there is to say about it."""
    from accelerate.utils import set_seed

    from training.il_grpo.difficulty import DifficultyFilter, recorder
    from training.il_grpo.measuring import measure
    from training.il_grpo.preflight import preflight, require_differences
    from training.il_grpo.running import make_trainer, resume_step, run_trainer

    trainer = make_trainer(ready, settings, path, max_new_tokens=start.max_new_tokens, bf16=bf16)
    step = resume_step(path) // settings.updates

    def seeded() -> None:
        # What follows does not depend on what was drawn or kept before, hence not on where a run
        # was killed.
        set_seed(settings.seed, device_specific=True)
        trainer.scorer.forget()

    before = path / _BEFORE
    found = {}
    if not step:
        seeded()
        # Before the filter, which would judge hundreds of prompts by a policy that writes no lists.
        found["preflight"] = preflight(trainer)
    if settings.filter:
        judge = DifficultyFilter(
            trainer,
            path,
            recorder(*record, start.base.identity, trainer.tasks, settings) if record else None,
        )
        seeded()
        judge.start(step)
        trainer.add_callback(judge)
        if not step:
            seeded()
            found["preflight"]["flat"] = require_differences(trainer)
    if not step:
        seeded()
        found["before"] = measure(trainer, ready.tasks.heldout)
        if distributed.rank() == 0:
            before.write_text(json.dumps(found))
        seeded()
    metrics = run_trainer(trainer, path)
    distributed.barrier()
    metrics |= json.loads(before.read_text())
    seeded()
    metrics["after"] = measure(trainer, ready.tasks.heldout)
    return trainer, metrics
