"""What an evaluation found: kept in the lake, written as JSON, and shown by ``report``."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import pyarrow as pa

from aigq import warehouse
from aigq.jobs import Run
from training.evaluate.bootstrap import Comparison, Estimate
from training.evaluate.data import Judged, Lists

Key = tuple[str, int, str]


@dataclass(frozen=True)
class Result:
    """Everything a report shows.

    ``without_category``: instances left out of Cate HR because no true query has a category.
    ``is_replayed``: the shop logged no hint requests; its sessions are replayed from searches.
    ``rows``: the model of each row of the paper's tables. ``asked``: comparisons to show whole.
    """

    estimates: dict[Judged, dict[Key, Estimate]]
    comparisons: dict[tuple[Judged, Judged], dict[Key, Comparison]]
    lists: dict[Judged, Lists]
    instances: int
    without_category: int
    is_replayed: bool
    rows: dict[str, Judged] = field(default_factory=dict)
    asked: Sequence[tuple[Judged, Judged]] = ()


def compared(result: Result, one: Judged, other: Judged) -> dict[Key, Comparison]:
    """``one`` minus ``other``, in whichever order they were compared."""
    if (one, other) in result.comparisons:
        return result.comparisons[one, other]
    return {
        key: Comparison(-c.difference, -c.high, -c.low, c.p, c.instances)
        for key, c in result.comparisons[other, one].items()
    }


def short_names(judged: Sequence[Judged]) -> dict[Judged, str]:
    """Names; where one occurs twice, with the end of the version, or all of it if need be."""
    names = [j.name for j in judged]
    short = [f"{j.name}@{j.version.rsplit('-', 1)[-1]}" for j in judged]
    return {
        j: j.name if names.count(j.name) == 1 else (name if short.count(name) == 1 else str(j))
        for j, name in zip(judged, short, strict=True)
    }


def store(run: Run, result: Result) -> None:
    """Replace what ``eval.metrics`` and ``eval.comparisons`` hold about these models."""
    metrics = [
        (j.name, j.version, *key, *astuple(e), run.run_id)
        for j, of in result.estimates.items()
        for key, e in of.items()
    ]
    comparisons = [
        (one.name, one.version, other.name, other.version, *key, *astuple(c), run.run_id)
        for (one, other), of in result.comparisons.items()
        for key, c in of.items()
    ]
    versions = pa.table(
        {
            "model": [j.name for j in result.estimates],
            "model_version": [j.version for j in result.estimates],
        }
    )
    tables = {"metrics": _columns(metrics), "comparisons": _columns(comparisons)}

    def replace(con) -> None:
        con.register("judged", versions)
        con.execute("DELETE FROM lake.eval.metrics WHERE (model, model_version) IN (FROM judged)")
        con.execute(
            "DELETE FROM lake.eval.comparisons WHERE (model, model_version) IN (FROM judged)"
            " AND (other_model, other_version) IN (FROM judged)"
        )
        for name, rows in tables.items():
            if rows is not None:
                con.register("fresh", rows)
                con.execute(f"INSERT INTO lake.eval.{name} SELECT * FROM fresh")
                con.unregister("fresh")

    warehouse.write(run.home, replace)
    run.wrote("lake.eval.metrics", len(metrics))
    run.wrote("lake.eval.comparisons", len(comparisons))


def _columns(rows: list[tuple]) -> pa.Table | None:
    """Rows in the order of the table's columns; None where there are none."""
    if not rows:
        return None
    return pa.table({f"c{n:02}": list(column) for n, column in enumerate(zip(*rows, strict=True))})


def document(run: Run, result: Result, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All of it as plain lists and dictionaries."""
    return {
        "run_id": run.run_id,
        "snapshot_read": run.snapshot_read,
        "parameters": dict(parameters),
        "instances": result.instances,
        "instances_without_category": result.without_category,
        "is_replayed": result.is_replayed,
        "paper_rows": {key: str(judged) for key, judged in result.rows.items()},
        "lists": {
            str(judged): {"per_instance": lists.per_instance, "generated_by": lists.runs}
            for judged, lists in result.lists.items()
        },
        "metrics": [
            {
                "model": judged.name,
                "model_version": judged.version,
                **_key(key),
                "value": e.value,
                "interval": [e.low, e.high],
                "instances": e.instances,
            }
            for judged, of in result.estimates.items()
            for key, e in of.items()
        ],
        "comparisons": [
            {
                "model": one.name,
                "model_version": one.version,
                "other_model": other.name,
                "other_version": other.version,
                **_key(key),
                "difference": c.difference,
                "interval": [c.low, c.high],
                "p": c.p,
                "instances": c.instances,
            }
            for (one, other), of in result.comparisons.items()
            for key, c in of.items()
        ],
    }


def _key(key: Key) -> dict[str, Any]:
    return dict(zip(("metric", "k", "slice"), key, strict=True))
