"""The paper's metrics over test user-days (method §6), as pure functions.

A test instance is a user-day with its set of true queries. Every function takes one instance's
first K distinct candidates and returns a number, or None where the instance does not count.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instance:
    """One test user-day.

    ``true_queries``: what the user searched or clicked as a hint that day (normalised text).
    ``context_queries``: the queries in the user's context as of the start of the day.
    """

    instance_id: str
    user_id: str
    true_queries: frozenset[str]
    context_queries: frozenset[str]
    has_context: bool

    @property
    def novel_queries(self) -> frozenset[str]:
        """True queries that are not in the user's context."""
        return self.true_queries - self.context_queries


def query_hit_rate(candidates: Sequence[str], true_queries: Set[str]) -> float | None:
    """Query HR@K: share of the true queries found among the K candidates."""
    if not true_queries:
        return None
    return len(true_queries & set(candidates)) / len(true_queries)


def category_hit_rate(
    candidates: Sequence[str], true_queries: Set[str], category: Mapping[str, str]
) -> float | None:
    """Cate HR@K: share of the true leaf categories found among the candidates' categories.

    None (left out) where no true query has a category.
    """
    true = {category[q] for q in true_queries if q in category}
    if not true:
        return None
    return len(true & {category[q] for q in candidates if q in category}) / len(true)


def semantic_similarity(
    candidates: Sequence[str], true_queries: Set[str], vector: Mapping[str, np.ndarray]
) -> float | None:
    """Sem. Sim.: mean over true queries of the best cosine to any of the K; no candidate gives 0.

    ``vector``: unit-length embedding of every text.
    """
    if not true_queries:
        return None
    if not candidates:
        return 0.0
    shown = np.stack([vector[q] for q in candidates])
    true = np.stack([vector[q] for q in sorted(true_queries)])
    return float((true @ shown.T).max(axis=1).mean())


def unique_categories(candidates: Sequence[str], category: Mapping[str, str]) -> float:
    """Unique Cates: number of distinct leaf categories among the K candidates."""
    return float(len({category[q] for q in candidates if q in category}))


@dataclass(frozen=True)
class Lookups:
    """Leaf category and unit-length embedding by query text."""

    category: Mapping[str, str]
    vector: Mapping[str, np.ndarray]


METRICS = ("query_hr", "cate_hr", "sem_sim", "unique_cates")
SLICES = ("all", "novel", "with_context", "without_context")


def measure(instance: Instance, candidates: Sequence[str], look: Lookups) -> dict:
    """``(metric, slice) -> number or None`` of one instance, given its first K candidates.

    Slices: ``all``; ``novel`` (only the true queries that are not in the context; Unique Cates has
    none); ``with_context`` and ``without_context`` (instances with behaviours, and without).
    """
    values = {}
    for name, true in (("all", instance.true_queries), ("novel", instance.novel_queries)):
        values["query_hr", name] = query_hit_rate(candidates, true)
        values["cate_hr", name] = category_hit_rate(candidates, true, look.category)
        values["sem_sim", name] = semantic_similarity(candidates, true, look.vector)
    values["unique_cates", "all"] = unique_categories(candidates, look.category)
    for metric in METRICS:
        value = values[metric, "all"]
        values[metric, "with_context"] = value if instance.has_context else None
        values[metric, "without_context"] = None if instance.has_context else value
    return values


@dataclass(frozen=True)
class Estimate:
    """A mean over ``instances`` with its 95% bootstrap interval over users."""

    value: float
    low: float
    high: float
    instances: int


def bootstrap(
    values: Sequence[float | None], users: Sequence[str], *, seed: int, resamples: int = 2000
) -> Estimate | None:
    """Mean of ``values`` (those not None) with a percentile interval, users drawn with replacement.

    A user's days are drawn together, because they are not independent. None where nothing counts.
    """
    kept = [(v, u) for v, u in zip(values, users, strict=True) if v is not None]
    if not kept:
        return None
    _, index = np.unique([u for _, u in kept], return_inverse=True)
    sums = np.bincount(index, weights=[v for v, _ in kept])
    counts = np.bincount(index).astype(float)
    size = len(sums)
    draws = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), len(kept))
