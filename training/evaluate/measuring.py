"""From lists to figures: metrics, intervals and comparisons of all models at once."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from aigq import embeddings, jobs, warehouse
from aigq.context import Context
from aigq.days import EVERY_DAY, Days
from aigq.neighbors import nearest, store_neighbors
from training.evaluate import data, metrics
from training.evaluate.bootstrap import UserBootstrap
from training.evaluate.data import Judged, Lists
from training.evaluate.metrics import Clicks, Lookups
from training.evaluate.result import Result

if TYPE_CHECKING:
    from aigq.ctr import CtrScorer


def evaluate(
    run: jobs.Run,
    judged: Sequence[Judged],
    *,
    instances: int,
    lists: int,
    seed: int,
    days: Days = EVERY_DAY,
    ctr: "CtrScorer | None" = None,
    rows: Mapping[str, Judged] | None = None,
    asked: Sequence[tuple[Judged, Judged]] = (),
) -> Result:
    """Measure each of ``judged`` on the first ``instances`` test user-days of ``days``.

    Instances, baselines and categories are read as of the run's snapshot; the models' lists, which
    may have been generated long after it, as of the run's beginning. ``ctr``: what says how likely
    a query is clicked.
    """
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    lists_con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_begun)
    try:
        chosen, is_replayed = data.load_instances(con, instances, days)
        true_queries = data.load_true_queries(con)
        instance_ids = [i.instance_id for i in chosen]
        if run.is_as_of:  # what was not made then cannot be made for then any more
            wanted = {j for pair in asked for j in pair}
            judged = [
                j
                for j in judged
                if not j.is_baseline or j in wanted or data.is_made(con, j, instance_ids)
            ]
        keys = data.load_context_keys(con, instance_ids)
        found = {
            j: data.load_lists(con if j.is_baseline else lists_con, keys, j, lists) for j in judged
        }
        contexts = data.load_contexts(con, instance_ids) if ctr else {}
        category = data.placed_by_clicks(con)
    finally:
        con.close()
        lists_con.close()
    run.read("lake.samples.test_user_days", len(chosen))
    run.read("lake.eval.lists", sum(len(c) for of in found.values() for c in of.ranked.values()))
    look = _look_up(run, true_queries, found, category)
    values = {
        j: metrics.measure(chosen, of.ranked, look)
        | metrics.measure_drawn(
            chosen, of.drawn, look.vector, _clicks(ctr, contexts, of) if ctr else None
        )
        for j, of in found.items()
    }
    resampled = UserBootstrap([i.user_id for i in chosen], seed=seed)
    return Result(
        estimates={j: resampled.estimate(of) for j, of in values.items()},
        comparisons={
            (one, other): resampled.compare(values[one], values[other])
            for one, other in combinations(judged, 2)
        },
        lists=found,
        instances=len(chosen),
        without_category=sum(
            not any(q.text in look.category for q in i.true_queries) for i in chosen
        ),
        is_replayed=is_replayed,
        rows=dict(rows or {}),
        asked=asked,
    )


def _clicks(ctr: "CtrScorer", contexts: Mapping[str, Context], lists: Lists) -> Clicks:
    """The click probability of every query that ``lists`` has for a context."""
    queries = {
        instance_id: sorted({query for one in drawn for query in one.queries})
        for instance_id, drawn in lists.drawn.items()
    }
    scores = ctr.score([contexts[i] for i in queries], list(queries.values()))
    return {
        instance_id: dict(zip(of, map(float, scored), strict=True))
        for (instance_id, of), scored in zip(queries.items(), scores, strict=True)
    }


def _look_up(
    run: jobs.Run, true_queries: set[str], lists: Mapping[Judged, Lists], category: dict[str, str]
) -> Lookups:
    """Embeddings of all texts at hand, and a category for those that no click has placed.

    With the ``true_queries`` of every test user-day, so that the next dbt build finds the true
    categories of all of them, not only of those that were measured.
    """
    texts = true_queries | data.texts_of(lists)
    unplaced = sorted(texts - category.keys())
    placed = sorted(category)
    everything = sorted(texts | category.keys())
    embedded = embeddings.embed(everything, home=run.home, progress="embed queries")
    vectors = dict(zip(everything, embedded, strict=True))
    borrowed: dict[str, str] = {}
    if unplaced and placed:
        of_unplaced, of_placed = (np.stack([vectors[q] for q in qs]) for qs in (unplaced, placed))
        index, _ = nearest(of_unplaced, of_placed)
        borrowed = {q: category[placed[i]] for q, i in zip(unplaced, index, strict=True)}
        if not run.is_as_of:  # The table is about the present.
            store_neighbors(run, unplaced, of_unplaced, placed, of_placed)
            run.wrote("lake.items.query_neighbors", len(unplaced))
    return Lookups(category | borrowed, vectors)
