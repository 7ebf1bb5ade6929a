"""What place-by-place matching sees of a policy's lists: ROUGE-L with other references (eq. 10).

    AIGQ_HOME=data/ladder python -m training.il_grpo.slots --base-model direct_il_sft

Rollouts of held-out prompts. Where the k-th label says hardly more of the k-th query than any other
label would, a slot's ROUGE-L rewards chance.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch

from aigq import warehouse
from aigq.settings import Home, UserError, recipe_path
from training.il_grpo.advantages import group_advantages
from training.il_grpo.rewards import rouge_l
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import Task
from training.il_grpo.trainer import ListGrpoTrainer


def matched(queries: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """(3, K): ROUGE-L of each query with the reference of its place (0 beyond the last), its mean
    over all orders of the references, and with the best of them."""
    table = np.array([[rouge_l(query, of) for of in references] for query in queries])
    own = np.zeros(len(queries))
    places = min(table.shape)
    own[:places] = table.diagonal()
    any_order = table.mean(1) * (np.arange(len(queries)) < len(references))
    return np.stack([own, any_order, table.max(1)])


def alignment(trainer: ListGrpoTrainer, tasks: Sequence[Task]) -> dict[str, float]:
    """Means over the queries of ``rollouts`` rollouts of each task, references never empty.

    ``own_place``, ``any_order``, ``best``: see :func:`matched`. ``is_label``, ``is_own_label``:
    share of queries that are among the references, and in their own place. ``correlation``: of
    slots' advantages (eq. 12) by ``own_place`` and by ``best``, where either says anything.
    """
    count = trainer.how.rollouts
    completions = trainer.write(tasks, count)
    rollouts = [task for task in tasks for _ in range(count)]
    written = trainer.scorer.score(rollouts, completions).queries
    found = [
        matched(queries, task.queries) if queries else np.zeros((3, 0))
        for task, queries in zip(rollouts, written, strict=True)
    ]
    pairs = []
    for start in range(0, len(found), count):
        group = found[start : start + count]
        rewards = np.full((3, count, max(of.shape[1] for of in group)), np.nan)
        for row, of in enumerate(group):
            rewards[:, row, : of.shape[1]] = of
        own, best = (
            group_advantages(torch.tensor(of, dtype=torch.float32), torch.zeros(count)).query
            for of in rewards[[0, 2]]
        )
        told = (own != 0) | (best != 0)
        pairs.append(torch.stack([own[told], best[told]]))
    labels = [
        (query in task.queries, query in task.queries[k : k + 1])
        for task, queries in zip(rollouts, written, strict=True)
        for k, query in enumerate(queries)
    ]
    means = [*np.concatenate(found, axis=1).mean(1), *np.mean(labels, axis=0)]
    names = ("own_place", "any_order", "best", "is_label", "is_own_label")
    return dict(zip(names, map(float, means), strict=True)) | {
        "correlation": float(torch.corrcoef(torch.cat(pairs, dim=1))[0, 1]),
        "queries": len(labels),
        "prompts": len(tasks),
    }


@click.command()
@click.option("--variant", default="direct", show_default=True)
@click.option("--base-model", required=True, help="The policy.")
def main(variant: str, base_model: str) -> None:
    """Print how a policy's slots lie to their references."""
    from training.il_grpo.job import find_start, prepare
    from training.il_grpo.running import make_trainer

    home = Home.from_environment()
    how = GrpoSettings.load(
        recipe_path("training/il_grpo", f"{variant}-tiny"),
        {"variant": variant, "base_model": base_model},
    )
    start = find_start(home, how)
    with warehouse.connect(home, read_only=True) as con:
        version = warehouse.current_snapshot(con)
    ready = prepare(home, version, start, how)
    if not ready.tasks.heldout:
        raise UserError(f"{base_model} was trained on every user: no prompts are held out")
    with TemporaryDirectory() as folder:
        limit = start.max_new_tokens
        trainer = make_trainer(ready, how, Path(folder), max_new_tokens=limit, bf16=False)
        for name, value in alignment(trainer, ready.tasks.heldout).items():
            click.echo(
                f"{name:<14}{value:>10,}" if isinstance(value, int) else f"{name:<14}{value:>10.3f}"
            )


if __name__ == "__main__":
    main()
