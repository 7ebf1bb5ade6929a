"""The difficulty filter: prompts whose rewards are neither nothing nor all there is (method §4).

A prompt's reward is the mean, over its rollouts, of the mean query reward R_q of a rollout's slots,
0 for a rollout without any. Prompts from ``keep_low`` to ``keep_high`` are trained on. Judging one
costs as much as rollouts do, so they are judged in a random order, some at a time, and no more of
them once enough are kept for the batches that follow.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
from accelerate.utils import gather_object
from transformers import TrainerCallback

from aigq import warehouse
from aigq.jobs import Run
from aigq.settings import UserError
from training import distributed
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import Task, plan
from training.il_grpo.trainer import ListGrpoTrainer

# Step, tasks judged (indices), and the mean reward of each.
Record = Callable[[int, Sequence[int], Sequence[float]], None]

# Fewer would leave a generated batch half empty.
_JUDGED_AT_ONCE = 64


def mean_rewards(trainer: ListGrpoTrainer, tasks: Sequence[Task], rollouts: int) -> list[float]:
    """Each task's mean reward over ``rollouts`` fresh rollouts, shared out over the processes."""
    rank, world = distributed.rank(), distributed.world_size()
    # As many for each: engines that serve all processes at once wait for every one of them.
    mine = [i % len(tasks) for i in range(rank, -(-len(tasks) // world) * world, world)]
    own = [tasks[i] for i in mine]
    query = trainer.scorer.query_rewards(
        [task for task in own for _ in range(rollouts)], trainer.write(own, rollouts)
    )
    per_rollout = query.nansum(1) / (~query.isnan()).sum(1).clamp(min=1)
    found = per_rollout.view(len(own), rollouts).mean(1).tolist()
    if world > 1:
        pairs = dict(gather_object(list(zip(mine, found, strict=True))))
        return [pairs[i] for i in range(len(tasks))]
    return found


def keep(rewards: Sequence[float], how: GrpoSettings) -> list[int]:
    """Which of these (indices) to train on."""
    values = np.asarray(rewards)
    return np.flatnonzero((values >= how.keep_low) & (values <= how.keep_high)).tolist()


def refuse_too_few(kept: Sequence[int], rewards: Sequence[float], how: GrpoSettings) -> None:
    """Raise :class:`UserError` where fewer are kept than a batch takes."""
    if len(kept) < how.prompts:
        low, middle, high = np.quantile(rewards, [0.1, 0.5, 0.9])
        raise UserError(
            f"the filter keeps {len(kept)} of {len(rewards)} prompts, a rollout batch takes"
            f" {how.prompts}: mean rewards are {low:.3f}, {middle:.3f}, {high:.3f} (10, 50, 90%);"
            f" move keep_low ({how.keep_low}) or keep_high ({how.keep_high})"
        )


class DifficultyFilter(TrainerCallback):
    """Judges tasks before the first step, and every ``filter_every`` steps if asked; plans the
    batches that follow from those it keeps.

    What was kept lies in ``work``, written before the checkpoint of the same step: a run that goes
    on from there goes on with the same plan.
    """

    def __init__(self, trainer: ListGrpoTrainer, work: Path, record: Record):
        self._trainer = trainer
        self._work = work
        self._record = record

    def start(self, step: int) -> None:
        """Plan the batches from the beginning, as a run that has come to ``step`` had them."""
        files = {int(p.stem.split("-")[1]): p for p in self._work.glob("kept-*.json")}
        if 0 not in files:
            self._judge(0)
            return
        for known in sorted(files):
            if known <= step:
                self._plan(known, json.loads(files[known].read_text()))

    def on_step_end(self, args, state, control, **kwargs):
        every = self._trainer.how.filter_every
        step, update = divmod(state.global_step, self._trainer.how.updates)
        if every and not update and not step % every and state.global_step < state.max_steps:
            self._judge(step)

    def _judge(self, step: int) -> None:
        trainer, how = self._trainer, self._trainer.how
        wanted = min(how.steps - step, how.filter_every or how.steps) * how.prompts
        order = np.random.default_rng([how.seed, 4, step]).permutation(len(trainer.tasks)).tolist()
        rewards: list[float] = []
        kept: list[int] = []
        while len(kept) < wanted and len(rewards) < len(order):
            size = max(wanted - len(kept), _JUDGED_AT_ONCE)
            judged = order[len(rewards) : len(rewards) + size]
            fresh = mean_rewards(trainer, [trainer.tasks[i] for i in judged], how.filter_rollouts)
            kept += [judged[i] for i in keep(fresh, how)]
            rewards += fresh
        if not step:
            refuse_too_few(kept, rewards, how)
        is_first = distributed.rank() == 0
        if is_first:
            self._record(step, order[: len(rewards)], rewards)
        if len(kept) < how.prompts:
            if is_first:
                click.echo(
                    f"the filter would keep {len(kept)} of {len(rewards)} prompts at step {step}:"
                    " going on with those of before",
                    err=True,
                )
            return
        if is_first:
            partial = self._work / ".kept"
            partial.write_text(json.dumps(kept))
            partial.replace(self._work / f"kept-{step}.json")
        self._plan(step, kept)

    def _plan(self, step: int, kept: list[int]) -> None:
        how, order = self._trainer.how, self._trainer.order
        order[step * how.prompts :] = plan(
            kept, steps=how.steps - step, prompts=how.prompts, seed=how.seed, since=step
        )


def recorder(run: Run, started_by: str, policy: str, tasks: Sequence[Task], how: GrpoSettings):
    """Writes what was found into lake.eval.prompt_rewards: one row for each task judged at a step
    of the training that ``started_by`` began; ``policy``: the model it started from. A step written
    before a kill is written anew."""

    def record(step: int, judged: Sequence[int], rewards: Sequence[float]) -> None:
        columns = {
            "session_id": [tasks[i].session_id for i in judged],
            "mean_reward": list(rewards),
            "is_kept": [how.keep_low <= reward <= how.keep_high for reward in rewards],
        }

        def replace(con) -> None:
            import pyarrow as pa

            con.register("judged", pa.table(columns))
            con.execute(
                "DELETE FROM lake.eval.prompt_rewards WHERE started_by = ? AND step = ?",
                [started_by, step],
            )
            con.execute(
                "INSERT INTO lake.eval.prompt_rewards BY NAME"
                " SELECT *, ? AS variant, ? AS model_version, ?::INTEGER AS step,"
                " ?::INTEGER AS rollouts, ? AS started_by, ? AS run_id FROM judged",
                [how.variant, policy, step, how.filter_rollouts, started_by, run.run_id],
            )
            con.unregister("judged")

        warehouse.write(run.home, replace)
        run.wrote(f"lake.eval.prompt_rewards, step {step}", len(judged))

    return record
