"""``aigq evaluate``: measure models and SQL baselines on the test user-days, side by side.

Has the lists that are missing generated (``aigq generate lists``), then measures everything from
``lake.eval.lists`` alone. Writes ``lake.eval.metrics`` and a JSON report.

    aigq evaluate --model direct                    # the newest direct model, 1,000 user-days
    aigq evaluate --model direct@VERSION --instances 500 --lists 8
    aigq evaluate --as-of RUN                       # an old state: the report only, no eval.metrics
"""

import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

import click
import numpy as np
import pyarrow as pa

from aigq import embeddings, jobs, models, warehouse
from aigq.as_of import as_of_option, find_snapshot
from aigq.lists import merge_lists
from aigq.neighbors import store_neighbors
from aigq.settings import Home, UserError
from training.evaluate import report
from training.evaluate.metrics import (
    METRICS,
    SLICES,
    Estimate,
    Instance,
    Lookups,
    bootstrap,
    measure,
)

CUTOFFS = (1, 3, 10, 30)
BASELINES = ("popularity", "co_click", "own_recent")


@click.command()
@click.option(
    "--model",
    "references",
    multiple=True,
    default=("direct",),
    show_default=True,
    help="NAME or NAME@VERSION; may be given several times. The baselines are always there.",
)
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Test user-days: the first N by md5 of the instance id.",
)
@click.option(
    "--lists",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Lists per instance and model: one greedy, the others sampled, merged to reach K.",
)
@click.option("--engine", help="Passed on to `aigq generate lists`.")
@as_of_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of sampling and bootstrap.")
def command(
    references: tuple[str, ...],
    instances: int,
    lists: int,
    engine: str | None,
    as_of: str | None,
    seed: int,
) -> None:
    """Measure models on the test user-days beside the baselines."""
    home = Home.from_environment()
    # Once, for all that follows: a run's beginning may fit another run a moment later.
    as_of = None if as_of is None else str(find_snapshot(home, as_of))
    found = list(dict.fromkeys(models.resolve(home, reference) for reference in references))
    passed_on = [("--instances", instances), ("--lists", lists), ("--seed", seed)]
    passed_on += [("--engine", engine), ("--as-of", as_of)]
    options = [
        text for name, value in passed_on if value is not None for text in (name, str(value))
    ]
    _require_unseen_days(home, found, as_of)
    for model in found:
        _have_lists_generated(home, model, options)
    parameters = {
        "models": [f"{m.name}@{m.version}" for m in found],
        "instances": instances,
        "lists": lists,
        "seed": seed,
    }
    with jobs.job(home, "evaluate", parameters, as_of=as_of) as run:
        versions = [(name, "sql") for name in BASELINES] + [(m.name, m.version) for m in found]
        result = evaluate(run, versions, instances=instances, lists=lists, seed=seed)
        if not run.is_as_of:  # eval.metrics is about the present.
            _store(run, versions, result.estimates)
        path = report.write_json(run, result, parameters)
        run.wrote(str(path))
        run.metrics |= {
            "report": path.name,
            "instances": result.instances,
            "is_replayed": result.is_replayed,
        }
        click.echo(report.table(result))


def _require_unseen_days(home: Home, found: list[models.Model], as_of: str | None) -> None:
    """Refuse to measure a model on days that it was trained on."""
    con = warehouse.connect(home, read_only=True, snapshot=int(as_of) if as_of else None)
    try:
        if not warehouse.table_exists(con, "samples.test_user_days"):
            raise UserError("the lake has no samples.test_user_days: run `dbt build` first")
        (first,) = con.execute(
            "SELECT min(session_start_at) FROM lake.samples.test_user_days"
        ).fetchone()
    finally:
        con.close()
    for model in found:
        seen_until = model.manifest.get("train_end_at")
        if first and seen_until and first < datetime.fromisoformat(seen_until):
            raise UserError(
                f"{model.name}@{model.version} was trained on days until {seen_until}, the test"
                f" user-days begin at {first.astimezone(UTC).isoformat()}: build with the --vars it"
                " was trained with, or train it anew"
            )


def _have_lists_generated(home: Home, model: models.Model, options: list[str]) -> None:
    """The door between the rooms is the command line: training never imports inference."""
    call = [sys.executable, "-m", "aigq.cli", "generate", "lists"]
    call += ["--home", str(home.root), "--model", f"{model.name}@{model.version}", *options]
    done = subprocess.run(call, check=False)
    if done.returncode != 0:
        raise UserError(f"`aigq generate lists` failed for {model.name}@{model.version}")


@dataclass(frozen=True)
class Result:
    """Everything a report shows.

    ``estimates``: (model, version, metric, k, slice) -> estimate. ``candidates``: (model, version)
    -> mean number of distinct candidates an instance has within the largest K. ``malformed``:
    (model, version) -> share of lists without a readable query (generated models only).
    ``without_category``: instances left out of Cate HR because no true query has a category.
    ``is_replayed``: the shop logged no hint requests; its sessions are replayed from searches.
    """

    estimates: dict[tuple[str, str, str, int, str], Estimate]
    candidates: dict[tuple[str, str], float]
    malformed: dict[tuple[str, str], float]
    instances: int
    lists: int
    without_category: int
    is_replayed: bool


def evaluate(
    run: jobs.Run, versions: list[tuple[str, str]], *, instances: int, lists: int, seed: int
) -> Result:
    """Measure each (model, version) on the first ``instances`` test user-days.

    Instances, baselines and categories are read as of the run's snapshot; the models' lists, which
    may have been generated long after it, as of the run's beginning.
    """
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    lists_con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_begun)
    try:
        chosen = load_instances(con, instances)
        (is_replayed,) = con.execute(
            "SELECT bool_or(is_replayed) FROM lake.samples.test_user_days"
        ).fetchone()
        true_queries = load_true_queries(con)
        ids = [i.instance_id for i in chosen]
        baselines = [version for version in versions if version[1] == "sql"]
        generated = [version for version in versions if version[1] != "sql"]
        ranked, present = load_candidates(lists_con, ids, generated, lists)
        ranked |= load_candidates(con, ids, baselines, lists)[0]
        category = placed_by_clicks(con)
    finally:
        con.close()
        lists_con.close()
    run.read("lake.samples.test_user_days", len(chosen))
    run.read("lake.eval.lists", sum(len(c) for lists_ in ranked.values() for c in lists_.values()))

    look = _look_up(run, true_queries, ranked, category)
    users = [i.user_id for i in chosen]
    estimates: dict[tuple[str, str, str, int, str], Estimate] = {}
    for model, version in versions:
        for k in CUTOFFS:
            rows = [
                measure(i, ranked[model, version].get(i.instance_id, [])[:k], look) for i in chosen
            ]
            for metric in METRICS:
                for part in SLICES:
                    values = [row.get((metric, part)) for row in rows]
                    estimate = bootstrap(values, users, seed=seed)
                    if estimate is not None:
                        estimates[model, version, metric, k, part] = estimate
    return Result(
        estimates=estimates,
        candidates={
            key: sum(len(by_instance.get(i.instance_id, [])) for i in chosen) / len(chosen)
            for key, by_instance in ranked.items()
        },
        malformed={
            key: 1 - present.get(key, 0) / (len(chosen) * lists)
            for key in versions
            if key[1] != "sql"
        },
        instances=len(chosen),
        lists=lists,
        without_category=sum(not any(q in look.category for q in i.true_queries) for i in chosen),
        is_replayed=is_replayed,
    )


def load_instances(con, count: int) -> list[Instance]:
    """The first ``count`` test user-days by md5 of their id: a fixed, arbitrary sample.

    Raises :class:`UserError` where there are none.
    """
    rows = con.execute(
        """
        SELECT instance_id, user_id, true_queries,
            list_transform(
                list_filter(behaviors, lambda b: b.action = 'search'), lambda b: b.content_text
            ) AS context_queries,
            len(behaviors) > 0 AS has_context
        FROM lake.samples.test_user_days
        ORDER BY md5(instance_id), instance_id
        LIMIT ?
        """,
        [count],
    ).fetchall()
    if not rows:
        raise UserError(
            "lake.samples.test_user_days is empty: no day after the training days holds a search;"
            " set the dbt variable train_days lower and run `dbt build`"
        )
    return [Instance(i, u, frozenset(t), frozenset(c or ()), bool(h)) for i, u, t, c, h in rows]


def load_candidates(con, instance_ids: list[str], versions: list[tuple[str, str]], lists: int):
    """Ranked distinct candidates of each model version and instance, from ``eval.lists`` alone.

    Returns ``{(model, version): {instance_id: first 30 candidates}}`` and the number of non-empty
    lists of each model version. Lists beyond the first ``lists`` are ignored, so that every model
    gets the same number.
    """
    con.register("chosen", pa.table({"instance_id": instance_ids}))
    ranked = {}
    present: dict[tuple[str, str], int] = defaultdict(int)
    for model, version in versions:
        cursor = con.execute(
            """
            SELECT instance_id, list_index, list_sort(list((position, query_text)))
            FROM lake.eval.lists
            SEMI JOIN chosen USING (instance_id)
            WHERE model = ? AND model_version = ? AND list_index < ?
                AND query_text IS NOT NULL
            GROUP BY ALL
            """,
            [model, version, lists],
        )
        by_instance: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for instance_id, list_index, entries in cursor.fetchall():
            by_instance[instance_id][list_index] = [query for _, query in entries]
            present[model, version] += 1
        ranked[model, version] = {
            instance_id: merge_lists([found.get(i, []) for i in range(lists)])[: max(CUTOFFS)]
            for instance_id, found in by_instance.items()
        }
    return ranked, present


def load_true_queries(con) -> set[str]:
    """The true queries of all test user-days, chosen or not."""
    rows = con.execute(
        "SELECT DISTINCT unnest(true_queries) FROM lake.samples.test_user_days"
    ).fetchall()
    return {query for (query,) in rows}


def placed_by_clicks(con) -> dict[str, str]:
    """Leaf category id of every query that clicks on training days placed."""
    return dict(
        con.execute(
            "SELECT query_text, leaf_category_id FROM lake.items.query_categories"
            " WHERE source = 'clicks'"
        ).fetchall()
    )


def _look_up(run: jobs.Run, true_queries: set[str], ranked, category: dict[str, str]) -> Lookups:
    """Embeddings of all texts at hand, and a category for those that no click has placed.

    With the ``true_queries`` of every test user-day, so that the next dbt build finds the true
    categories of all of them, not only of those that were measured.
    """
    texts = set(true_queries)
    texts |= {q for by_instance in ranked.values() for found in by_instance.values() for q in found}
    unplaced = sorted(texts - category.keys())
    placed = sorted(category)
    everything = sorted(texts | category.keys())
    vectors = dict(
        zip(everything, embeddings.embed(everything, progress="embed queries"), strict=True)
    )
    if unplaced and placed:
        of_unplaced, of_placed = (np.stack([vectors[q] for q in qs]) for qs in (unplaced, placed))
        store_neighbors(run, unplaced, of_unplaced, placed, of_placed)
        run.wrote("lake.items.query_neighbors", len(unplaced))
    con = warehouse.connect(run.home, read_only=True)
    try:
        neighbors = con.execute(
            "SELECT query_text, neighbor_text FROM lake.items.query_neighbors WHERE run_id = ?",
            [run.run_id],
        ).fetchall()
    finally:
        con.close()
    return Lookups(category | {q: category[n] for q, n in neighbors if q not in category}, vectors)


def _store(run: jobs.Run, versions: list[tuple[str, str]], estimates: dict) -> None:
    """Replace the metrics of ``versions``."""
    rows = [(*key, e.value, e.low, e.high, e.instances, run.run_id) for key, e in estimates.items()]

    def replace(con) -> None:
        con.executemany(
            "DELETE FROM lake.eval.metrics WHERE model = ? AND model_version = ?", versions
        )
        con.executemany("INSERT INTO lake.eval.metrics VALUES (?,?,?,?,?,?,?,?,?,?)", rows)

    warehouse.write(run.home, replace)
    run.wrote("lake.eval.metrics", len(rows))
