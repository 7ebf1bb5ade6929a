"""The paper's metrics over test user-days (method §6).

A test instance i is a user-day with its set of true queries T_i; C_i@K are its first K distinct
candidates, in order; cat(q) is a query's leaf category, e(q) its unit-length sentence embedding.
Each is averaged over the instances that have a value, n of them:

- ``query_hr``, Query HR@K = 1/n Σ_i |T_i ∩ C_i@K| / |T_i|, equality of normalised text;
- ``cate_hr``, Cate HR@K = 1/n Σ_i |cat(T_i) ∩ cat(C_i@K)| / |cat(T_i)|, over the instances with a
  true category (others are left out and counted);
- ``sem_sim``, Sem. Sim.@K = 1/n Σ_i 1/|T_i| Σ_{t in T_i} max_{c in C_i@K} e(t)·e(c), where no
  candidate counts as 0;
- ``unique_cates``, Unique Cates@K = 1/n Σ_i |cat(C_i@K)|;
- ``candidates`` = 1/n Σ_i |C_i@K|: how many distinct candidates there are of K.

Of the lists as they were drawn, before merging (``K`` is 0 for them):

- ``list_length``: distinct queries of a list, mean over an instance's lists, then over instances;
  a malformed list has none;
- ``malformed``: share of lists that break the grammar; ``malformed_<class>``: by how they do;
- ``repeats``: share of a list's queries, as written, that repeat an earlier one in text or by
  embedding: r_dup of AIGQ eq. 10. Lists without a query are left out, and instances with one whose
  repeats were not counted;
- ``click_reward``: mean of r_ctr (AIGQ eq. 14) over a list's queries as written, 0 for one that the
  list has said before and for a list without any, scaled and clipped as the recipes do. (Training
  pays Think for a query once in each interest point.)

A slice of true queries replaces T_i by those of the slice (``slices``); what does not depend on T_i
has no such slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluate.slices import INSTANCE_SLICES, QUERY_SLICES, Instance
from training.il_grpo.rewards import (
    CTR_CAP,
    CTR_SCALE,
    NEAR_DUPLICATE,
    ctr_reward,
    duplicate_share,
)

CUTOFFS = (1, 3, 10, 30)
MAX_CANDIDATES = max(CUTOFFS)

# (metric, K, slice) -> one value per instance, nan where the instance does not count.
Values = dict[tuple[str, int, str], np.ndarray]


@dataclass(frozen=True)
class Lookups:
    """Leaf category and unit-length embedding by query text."""

    category: Mapping[str, str]
    vector: Mapping[str, np.ndarray]


# Click probability by instance id and query.
Clicks = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class DrawnList:
    """A list as it was drawn: its distinct queries, none where malformed; ``duplicates``: how many
    were dropped, being written before, None where nobody counted; ``error``: how it is malformed.
    """

    queries: tuple[str, ...]
    duplicates: int | None = 0
    error: str | None = None


def measure(
    instances: Sequence[Instance], candidates: Mapping[str, Sequence[str]], look: Lookups
) -> Values:
    """Every metric, K and slice of one model, by instance.

    ``candidates``: distinct queries by instance id, best first; an instance without any may lack.
    """
    values: Values = {}
    size = len(instances)
    for position, instance in enumerate(instances):
        found = candidates.get(instance.instance_id, ())[:MAX_CANDIDATES]
        for key, value in _of_instance(instance, found, look).items():
            values.setdefault(key, np.full(size, np.nan))[position] = value
    for part, belongs in INSTANCE_SLICES.items():
        outside = np.array([not belongs(i) for i in instances], dtype=bool)
        for metric, k, of in list(values):
            if of == "all":
                values[metric, k, part] = np.where(outside, np.nan, values[metric, k, of])
    return {key: array for key, array in values.items() if not np.isnan(array).all()}


def measure_drawn(
    instances: Sequence[Instance],
    drawn: Mapping[str, Sequence[DrawnList]],
    vectors: Mapping[str, np.ndarray],
    clicks: Clicks | None = None,
) -> Values:
    """What the lists are like as they were drawn; instances without a list have no value.

    ``vectors``: unit-length embeddings of their queries. Without ``clicks`` no ``click_reward``.
    """
    lists = [drawn.get(i.instance_id, ()) for i in instances]
    found: dict[str, list[list[float]]] = {
        "list_length": [[len(one.queries) for one in of] for of in lists],
        "malformed": [[one.error is not None for one in of] for of in lists],
        "repeats": [[_repeats(one, vectors) for one in of if one.queries] for of in lists],
    }
    for error in sorted({one.error for of in lists for one in of if one.error is not None}):
        found[f"malformed_{error}"] = [[one.error == error for one in of] for of in lists]
    if clicks is not None:
        found["click_reward"] = [
            [_click_reward(one, clicks[i.instance_id]) for one in of]
            for i, of in zip(instances, lists, strict=True)
        ]
    means = {
        (metric, 0, "all"): np.array([np.mean(of) if of else np.nan for of in by_instance])
        for metric, by_instance in found.items()
    }
    return {key: values for key, values in means.items() if not np.isnan(values).all()}


def _repeats(one: DrawnList, vectors: Mapping[str, np.ndarray]) -> float:
    if one.duplicates is None:
        return np.nan
    distinct = np.stack([vectors[query] for query in one.queries])
    near = duplicate_share(one.queries, distinct, near=NEAR_DUPLICATE) * len(one.queries)
    return (near + one.duplicates) / (len(one.queries) + one.duplicates)


def _click_reward(one: DrawnList, clicks: Mapping[str, float]) -> float:
    if one.duplicates is None:
        return np.nan
    rewards = [ctr_reward(clicks[query], scale=CTR_SCALE, cap=CTR_CAP) for query in one.queries]
    return sum(rewards) / max(1, len(one.queries) + one.duplicates)


def _of_instance(
    instance: Instance, found: Sequence[str], look: Lookups
) -> dict[tuple[str, int, str], float]:
    """All cutoffs at once: everything is decided by the rank at which it is first reached."""
    true = [q.text for q in instance.true_queries]
    rank_of = {query: rank for rank, query in enumerate(found)}
    category_rank: dict[str, int] = {}
    for rank, query in enumerate(found):
        if query in look.category:
            category_rank.setdefault(look.category[query], rank)
    never = MAX_CANDIDATES
    ranks = np.array([rank_of.get(q, never) for q in true])
    best = np.zeros((len(true), len(found)))
    if true and found:
        vectors = [np.stack([look.vector[q] for q in queries]) for queries in (true, found)]
        best = np.maximum.accumulate(vectors[0] @ vectors[1].T, axis=1)

    values: dict[tuple[str, int, str], float] = {}
    for part, belongs in QUERY_SLICES.items():
        chosen = [n for n, query in enumerate(instance.true_queries) if belongs(query)]
        if not chosen:
            continue
        categories = {look.category[true[n]] for n in chosen if true[n] in look.category}
        reached = np.array([category_rank.get(c, never) for c in categories])
        for k in CUTOFFS:
            values["query_hr", k, part] = (ranks[chosen] < k).mean()
            values["sem_sim", k, part] = best[chosen, min(k, len(found)) - 1].mean() if found else 0
            if categories:
                values["cate_hr", k, part] = (reached < k).mean()
    for k in CUTOFFS:
        values["unique_cates", k, "all"] = sum(rank < k for rank in category_rank.values())
        values["candidates", k, "all"] = min(k, len(found))
    return values
