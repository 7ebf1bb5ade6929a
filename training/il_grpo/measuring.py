"""What a policy's rollouts are worth on prompts of users that it was never trained on."""

from collections.abc import Sequence

from training.il_grpo.scoring import TERMS
from training.il_grpo.tasks import Task
from training.il_grpo.trainer import ListGrpoTrainer


def measure(trainer: ListGrpoTrainer, tasks: Sequence[Task]) -> dict[str, float]:
    """Means over ``rollouts`` rollouts of each task: each reward term (weighted, summed over
    slots), the click reward per slot, distinct queries and their share of all, malformed share.

    Empty without tasks.
    """
    if not tasks:
        return {}
    count = trainer.how.rollouts
    scored = trainer.scorer.score(
        [task for task in tasks for _ in range(count)], trainer.write(tasks, count)
    )
    groups = [scored.queries[i : i + count] for i in range(0, len(scored.queries), count)]
    written = sum(map(len, scored.queries))
    distinct = sum(len({q for of in group for q in of}) for group in groups)
    return {
        **dict(zip(TERMS, scored.terms.mean(0).tolist(), strict=True)),
        "reward": float(scored.terms.sum(1).mean()),
        "query_reward": float(scored.query.nanmean()),
        "ctr_per_query": float(scored.by_slot[..., 0].nanmean()),
        "queries": written / len(scored.queries),
        "distinct_share": distinct / max(1, written),
        "malformed": sum(error is not None for error in scored.errors) / len(scored.errors),
        "prompts": len(tasks),
    }
