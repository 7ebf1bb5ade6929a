"""What a policy's rollouts are worth on prompts of users that it was never trained on."""

from collections.abc import Sequence

import torch

from training.il_grpo.scoring import TERMS
from training.il_grpo.tasks import Task
from training.il_grpo.trainer import ListGrpoTrainer


def measure(trainer: ListGrpoTrainer, tasks: Sequence[Task]) -> dict[str, float]:
    """Means over ``rollouts`` rollouts of each task, empty without tasks.

    Each reward term, weighted and summed over slots; their sum, ``reward``. ``query_reward``,
    ``ctr_per_query``, ``rouge_per_query``: of a query as written, the latter two unweighted; longer
    lists lower them, since what goes beyond the reference has no ROUGE-L. ``list_reward``: the
    query rewards of a list together; longer lists raise it. ``slot_reward``: of a slot that the
    reference has, 0 where it is absent; length beyond the reference does not move it. Distinct
    queries and their share of all, malformed share.
    """
    if not tasks:
        return {}
    count = trainer.how.rollouts
    scored = trainer.scorer.score(
        [task for task in tasks for _ in range(count)], trainer.write(tasks, count)
    )
    wanted = torch.tensor([len(task.queries) for task in tasks]).repeat_interleave(count)
    within = scored.query.nan_to_num()
    within = torch.where(torch.arange(within.shape[1]) < wanted[:, None], within, 0).sum(1)
    groups = [scored.queries[i : i + count] for i in range(0, len(scored.queries), count)]
    written = sum(map(len, scored.queries))
    distinct = sum(len({q for of in group for q in of}) for group in groups)
    return {
        **dict(zip(TERMS, scored.terms.mean(0).tolist(), strict=True)),
        "reward": float(scored.terms.sum(1).mean()),
        "query_reward": float(scored.query.nanmean()),
        "slot_reward": float((within / wanted).mean()),
        "list_reward": float(scored.query.nansum(1).mean()),
        "ctr_per_query": float(scored.by_slot[..., 0].nanmean()),
        "rouge_per_query": float(scored.by_slot[..., 1].nanmean()),
        "queries": written / len(scored.queries),
        "distinct_share": distinct / max(1, written),
        "malformed": sum(error is not None for error in scored.errors) / len(scored.errors),
        "prompts": len(tasks),
    }
