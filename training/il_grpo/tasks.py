"""The prompts that a policy is rewarded on, each with what the rewards compare with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from aigq.context import Context, fit_prompts
from aigq.days import EVERY_DAY
from aigq.lists import is_listable
from aigq.settings import UserError
from training.il_grpo.settings import GrpoSettings
from training.il_sft.points import Shown, interest_points
from training.il_sft.samples import at_day_start_of, read_rows
from training.workspace import Snapshot


@dataclass(frozen=True)
class Task:
    """One prompt. ``context``: all that was known, for the CTR model; ``prompt`` holds its newest
    ``kept`` behaviours. ``queries``: the reference list, best first (flattened over points for
    Think), so that slot 0 is the clicked query where there is one; ``triggers``: the reference's
    trigger sets by point, as lines of the prompt, None for Direct."""

    session_id: str
    prompt: list[int]
    kept: int
    context: Context
    queries: tuple[str, ...]
    triggers: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class Tasks:
    """``train``: to learn from; ``heldout``: of other users, to measure on; ``counts`` of what was
    read and left out."""

    train: list[Task]
    heldout: list[Task]
    counts: dict[str, int]


@dataclass(frozen=True)
class PromptFormat:
    """How the base model was trained to be asked, and the share of users it was not trained on."""

    style: str
    max_tokens: int
    heldout_share: float = 1.0


def read_tasks(
    snapshot: Snapshot, tokenizer: Any, form: PromptFormat, settings: GrpoSettings
) -> Tasks:
    """The samples of the training split, or of the days asked for, as tasks; their order depends on
    the seed only.

    Contexts are cut to the start of their day, and users held out, as ``aigq train sft`` does: no
    task is held out whose user the base model was trained on.
    Raises :class:`UserError` where no task is left, and for what that job refuses.
    """
    rows, left_out = read_rows(
        snapshot,
        settings.variant,
        limit=settings.max_samples,
        seed=settings.seed,
        days=settings.asked_days,
    )
    counts: Counter[str] = Counter(samples_read=len(rows), **left_out)
    rng = np.random.default_rng([settings.seed, 2])
    starts = rng.random(len(rows)) < settings.day_start_share
    contexts = [
        at_day_start_of(context) if start else context
        for context, start in zip(map(Context.from_row, rows), starts, strict=True)
    ]
    prompts = fit_prompts(
        contexts,
        tokenizer,
        style=form.style,
        max_tokens=form.max_tokens,
        variant=settings.variant,
    )
    train: list[Task] = []
    heldout: list[Task] = []
    for row, context, prompt in zip(rows, contexts, prompts, strict=True):
        shown = Shown(len(context.behaviors), prompt.kept)
        reference = _reference(row, shown, settings.variant, counts)
        if not reference[0]:
            counts["samples_without_reference"] += 1
            continue
        task = Task(row["session_id"], prompt.ids, prompt.kept, context, *reference)
        place = int(row["user_hash"], 16) / 16**8
        if place >= settings.heldout_share:
            train.append(task)
        elif place < form.heldout_share:
            heldout.append(task)
    if len(train) < settings.prompts:
        raise UserError(
            f"{len(train)} of {len(rows)} samples of samples.samples_{settings.variant} are left to"
            f" train on ({len(heldout)} held out, {counts['samples_without_reference']} without a"
            f" reference); a rollout batch takes {settings.prompts}"
        )
    return Tasks(train, heldout[: settings.heldout_prompts], dict(counts))


def last_day(snapshot: Snapshot, settings: GrpoSettings) -> date | None:
    """The newest of the days asked for that has samples; None where none were asked for."""
    if settings.asked_days == EVERY_DAY:
        return None
    (row,) = snapshot.rows(
        f"SELECT max(session_date) AS last FROM lake.samples.samples_{settings.variant}"
        f" WHERE {settings.asked_days.condition}"
    )
    return row["last"]


def _reference(
    row: dict, shown: Shown, variant: str, counts: Counter[str]
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...] | None]:
    labels = [label for label in row["labels"] if is_listable(label)]
    if variant == "direct":
        return tuple(labels), None
    points = interest_points({**row, "labels": labels}, shown, counts)
    return tuple(q for p in points for q in p.queries), tuple(p.triggers for p in points)


def plan(tasks: Sequence[int], *, steps: int, prompts: int, seed: int, since: int = 0) -> list[int]:
    """Which tasks make up which rollout batch: ``steps`` * ``prompts`` of them, each once an epoch,
    in an order of the epoch's own. ``since``: the step that the plan begins with."""
    found: list[int] = []
    epoch = 0
    while len(found) < steps * prompts:
        order = np.random.default_rng([seed, 3, since, epoch]).permutation(len(tasks))
        found += [tasks[i] for i in order]
        epoch += 1
    return found[: steps * prompts]
