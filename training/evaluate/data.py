"""What an evaluation reads: instances, lists, how they were drawn, and categories, all from SQL."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from aigq import warehouse
from aigq.context import CONTEXT_KEY, Context
from aigq.days import EVERY_DAY, Days
from aigq.lists import merge_lists
from aigq.settings import UserError
from training.evaluate.metrics import MAX_CANDIDATES, DrawnList
from training.evaluate.slices import Instance, TrueQuery

# Baselines that have a list for every user-day, whatever its context.
_FOR_EVERYONE = ("popularity", "popularity_profile", "co_click_own")


@dataclass(frozen=True, order=True)
class Judged:
    """A model version, or a baseline (``version`` is ``sql``), whose lists are judged."""

    name: str
    version: str

    @property
    def is_baseline(self) -> bool:
        """Whether its lists are made by SQL."""
        return self.version == "sql"

    def __str__(self) -> str:
        return self.name if self.is_baseline else f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Lists:
    """One model's lists. ``ranked``: the first 30 distinct candidates by instance id, merged.
    ``drawn``: the lists as they were drawn. ``runs``: who generated them, how."""

    ranked: dict[str, list[str]]
    drawn: dict[str, tuple[DrawnList, ...]]
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def per_instance(self) -> int:
        """The largest number of lists that an instance has."""
        return max(map(len, self.drawn.values()), default=0)


def load_instances(con, count: int, days: Days = EVERY_DAY) -> tuple[list[Instance], bool]:
    """The first ``count`` test user-days (of ``days``) by md5 of their id: a fixed, arbitrary
    sample; and whether the shop's requests are replayed.

    Raises :class:`UserError` where there are none.
    """
    for table in ("samples.test_user_days", "eval.test_instances", "eval.test_true_queries"):
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")
    rows = con.execute(
        f"""
        WITH chosen AS (
            SELECT * FROM lake.eval.test_instances WHERE {days.condition}
            ORDER BY md5(instance_id), instance_id LIMIT ?
        )
        SELECT
            chosen.instance_id,
            any_value(chosen.user_id),
            list_sort(list((q.query_text, q.is_searched, q.is_hint_click, q.is_novel, q.band))),
            any_value(chosen.behaviors),
            any_value(chosen.has_unseen_item),
            any_value(chosen.is_replayed)
        FROM chosen
        INNER JOIN lake.eval.test_true_queries AS q USING (instance_id)
        GROUP BY chosen.instance_id
        ORDER BY md5(chosen.instance_id), chosen.instance_id
        """,
        [count],
    ).fetchall()
    if not rows:
        raise UserError(
            "lake.samples.test_user_days is empty: no day after the training days holds a search;"
            " set the dbt variable train_days lower and run `dbt build`"
        )
    instances = [
        Instance(instance, user, tuple(TrueQuery(*q) for q in true), behaviors, has_unseen_item)
        for instance, user, true, behaviors, has_unseen_item, _ in rows
    ]
    return instances, any(row[-1] for row in rows)


def load_contexts(con, instance_ids: Sequence[str]) -> dict[str, Context]:
    """What each instance's lists are made of."""
    con.register("chosen", pa.table({"instance_id": list(instance_ids)}))
    rows = con.execute(
        "SELECT instance_id, age_band, gender, region, behaviors FROM lake.samples.test_user_days"
        " SEMI JOIN chosen USING (instance_id)"
    ).to_arrow_table()
    return {row["instance_id"]: Context.from_row(row) for row in rows.to_pylist()}


def load_context_keys(con, instance_ids: Sequence[str]) -> dict[str, str]:
    """What each instance's lists have to be made of, see :data:`aigq.context.CONTEXT_KEY`."""
    con.register("chosen", pa.table({"instance_id": list(instance_ids)}))
    rows = con.execute(
        f"SELECT instance_id, {CONTEXT_KEY} FROM lake.samples.test_user_days"
        " SEMI JOIN chosen USING (instance_id)"
    ).fetchall()
    return dict(rows)


def load_lists(con, context_keys: Mapping[str, str], judged: Judged, lists: int) -> Lists:
    """The lists of ``judged`` for the instances of :func:`load_context_keys`, from
    ``eval.lists`` alone; ``eval.list_draws`` tells of malformed ones. Lists beyond the first
    ``lists`` are ignored, so that every model gets the same number. Raises :class:`UserError` where
    lists are missing, or were made of other contexts."""
    instance_ids = list(context_keys)
    con.register(
        "chosen",
        pa.table({"instance_id": instance_ids, "context_key": list(context_keys.values())}),
    )
    of_model = [judged.name, judged.version, lists]
    rows = con.execute(
        """
        SELECT instance_id, list_index, list_sort(list((position, query_text)))
        FROM lake.eval.lists
        SEMI JOIN chosen USING (instance_id)
        WHERE model = ? AND model_version = ? AND list_index < ? AND query_text IS NOT NULL
        GROUP BY ALL
        """,
        of_model,
    ).fetchall()
    found: dict[str, dict[int, list[str]]] = defaultdict(dict)
    for instance_id, index, entries in rows:
        found[instance_id][index] = [query for _, query in entries]
    ranked = {
        instance_id: merge_lists([of.get(index, []) for index in range(lists)])[:MAX_CANDIDATES]
        for instance_id, of in found.items()
    }
    if judged.is_baseline:
        if not is_made(con, judged, instance_ids):
            raise UserError(
                f"the baseline {judged.name} has no list for some of these user-days, whose lake an"
                " older version of this software built: run `dbt build --full-refresh -s"
                " profile_queries+`"
            )
        # Else no row is a list too: it has nothing to say.
        drawn = {i: (DrawnList(tuple(found[i][0] if i in found else ())),) for i in instance_ids}
        return Lists(ranked, drawn)
    draws = con.execute(
        """
        SELECT instance_id, list_index, error, duplicates FROM lake.eval.list_draws AS draws
        INNER JOIN chosen USING (instance_id)
        WHERE model = ? AND model_version = ? AND list_index < ?
            -- Draws of older versions of this software have no key.
            AND coalesce(draws.context_key, chosen.context_key) = chosen.context_key
        ORDER BY instance_id, list_index
        """,
        of_model,
    ).fetchall()
    by_instance: dict[str, list[DrawnList]] = defaultdict(list)
    for instance_id, index, error, duplicates in draws:
        queries = tuple(found.get(instance_id, {}).get(index, ()))
        by_instance[instance_id].append(DrawnList(queries, duplicates, error))
    _refuse_gaps(judged, instance_ids, by_instance)
    drawn = {instance_id: tuple(of) for instance_id, of in by_instance.items()}
    return Lists(ranked, drawn, _generated_by(con, of_model))


def is_made(con, judged: Judged, instance_ids: Sequence[str]) -> bool:
    """Whether the baseline ``judged`` has a list for each of the user-days that it should have one
    for: software that did not know it yet may have built their days."""
    if judged.name not in _FOR_EVERYONE:
        return True
    con.register("asked", pa.table({"instance_id": list(instance_ids)}))
    (lacking,) = con.execute(
        """
        SELECT count(*) FROM (
            SELECT instance_id FROM lake.eval.lists SEMI JOIN asked USING (instance_id)
            WHERE model_version = 'sql' AND model IN ('popularity', ?)
            GROUP BY instance_id
            HAVING bool_or(model = 'popularity') AND NOT bool_or(model = ?)
        )
        """,
        [judged.name, judged.name],
    ).fetchone()
    return not lacking


def _refuse_gaps(judged: Judged, instance_ids: Sequence[str], drawn: Mapping) -> None:
    """A list that was never drawn must not count as one without hits."""
    wanted = max(map(len, drawn.values()), default=1)
    lacking = [i for i in instance_ids if len(drawn.get(i, ())) < wanted]
    if lacking:
        raise UserError(
            f"{judged}: {len(lacking):,} of {len(instance_ids):,} test user-days lack lists"
            f" ({lacking[0]} is the first), because a build has changed the user-days since they"
            " were generated: run the command again"
        )


def _generated_by(con, of_model: list) -> list[dict[str, Any]]:
    """The runs that drew the lists: id, seed and all that a list was drawn with."""
    rows = con.execute(
        """
        SELECT run_id, any_value(runs.parameters), any_value(runs.metrics), count(*) AS lists
        FROM lake.eval.list_draws
        SEMI JOIN chosen USING (instance_id)
        LEFT JOIN lake.meta.runs AS runs USING (run_id)
        WHERE model = ? AND model_version = ? AND list_index < ?
        GROUP BY run_id
        ORDER BY run_id
        """,
        of_model,
    ).fetchall()
    shown = ("seed", "temperature", "top_k", "max_tokens", "zero_shot")
    found = []
    for run_id, parameters, metrics, lists in rows:
        given = json.loads(parameters or "{}")
        run = {"run_id": run_id, "lists": lists}
        run |= {name: given[name] for name in shown if given.get(name) is not None}
        if engine := json.loads(metrics or "{}").get("engine"):
            run["engine"] = engine
        found.append(run)
    return found


def load_true_queries(con) -> set[str]:
    """The true queries of all test user-days, chosen or not."""
    rows = con.execute("SELECT DISTINCT query_text FROM lake.eval.test_true_queries").fetchall()
    return {query for (query,) in rows}


def placed_by_clicks(con) -> dict[str, str]:
    """Leaf category id of every query that clicks on training days placed."""
    return dict(
        con.execute(
            "SELECT query_text, leaf_category_id FROM lake.items.query_categories"
            " WHERE source = 'clicks'"
        ).fetchall()
    )


def texts_of(lists: Mapping[Judged, Lists]) -> set[str]:
    """Every query of every model's lists."""
    return {
        query
        for of in lists.values()
        for drawn in of.drawn.values()
        for one in drawn
        for query in one.queries
    }
