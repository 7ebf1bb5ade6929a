"""``aigq diff``: what changed in a table between two states of the lake.

aigq diff labels.label_lists --from 20260301T0400 --to 20260302T0400
aigq diff raw.items --from 17
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import click
import duckdb
import yaml

from aigq import warehouse
from aigq.as_of import resolve_snapshot
from aigq.contract import TABLES
from aigq.settings import PROJECT_ROOT, Home, UserError


@click.command()
@click.argument("table")
@click.option(
    "--from", "start", required=True, metavar="RUN|SNAPSHOT|TIME", help="The earlier state."
)
@click.option("--to", "end", metavar="RUN|SNAPSHOT|TIME", help="The later one. [default: now]")
@click.option("--key", help="Columns that name a row, by commas. [default: the table's grain]")
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Examples of each kind of change.",
)
def command(table: str, start: str, end: str | None, key: str | None, rows: int) -> None:
    """Rows of TABLE (SCHEMA.NAME) added, removed and changed between two states of the lake."""
    con = warehouse.connect(Home.from_environment(), read_only=True)
    try:
        old = resolve_snapshot(con, start)
        new = resolve_snapshot(con, end) if end else warehouse.current_snapshot(con)
        columns = [c.strip() for c in key.split(",")] if key else None
        found = compare(con, table, columns, old, new, rows)
    finally:
        con.close()
    by = f", by {', '.join(found['key'])}" if found["key"] else ""
    click.echo(f"{table}, snapshot {old} to {new}{by}")
    for kind in ("added", "removed", "changed"):
        click.echo(f"{kind:<8}{found[kind]:>12,} rows")
    click.echo(f"{'same':<8}{found['same']:>12,} rows")
    for name, count in sorted(found["changed_columns"].items()):
        click.echo(f"  {name} differs in {count:,} rows")
    for kind in ("new_columns", "lost_columns"):
        if found[kind]:
            click.echo(f"{kind.replace('_', ' ')}: {', '.join(found[kind])}")
    for kind, row in found["examples"]:
        click.echo(f"{kind} {json.dumps(row, default=str, ensure_ascii=False)}")


def grain(table: str) -> list[str]:
    """The columns that name a row of ``table``, from the raw contract or dbt's tests of it; none
    of a table of one row.

    Raises :class:`UserError` for other tables.
    """
    schema, _, name = table.partition(".")
    if schema == "raw" and name in TABLES:
        return list(TABLES[name].key)
    models = PROJECT_ROOT / "dbt_project" / "models"
    # An older version of a table has the tests of its model (docs/label_versions.md).
    version_of = re.sub(r"_v\d+$", "", name)
    described = [
        model
        for path in (*models.rglob(f"{name}.yml"), *models.rglob(f"{version_of}.yml"))
        for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]
    ]
    written_by_jobs = models / "staging" / "sources.yml"
    for source in yaml.safe_load(written_by_jobs.read_text(encoding="utf-8"))["sources"]:
        if source["name"] == schema:
            described += [t for t in source["tables"] if t["name"] == name]
    for table_or_model in described:
        for test in table_or_model.get("data_tests", []):
            if isinstance(test, dict) and "unique_grain" in test:
                columns = test["unique_grain"]["arguments"]["columns"]
                if all(column.isidentifier() for column in columns):
                    return columns
            elif test == "one_row":
                return []
    raise UserError(f"{table}: its grain is not known here; name its columns with --key")


def compare(
    con: duckdb.DuckDBPyConnection,
    table: str,
    key: list[str] | None,
    old: int,
    new: int,
    rows: int,
) -> dict[str, Any]:
    """``key``: the columns that name a row, those of :func:`grain` where it is None.

    Returns this ``key``, counts of rows ``added``, ``removed``, ``changed`` and ``same``, of
    ``changed_columns``, lists of ``new_columns`` and ``lost_columns``, and at most ``rows``
    ``examples`` (label, row) of each kind.

    Raises :class:`UserError` where the table does not exist in both states, or ``key`` does not
    name its rows.
    """
    before, after = (_columns(con, table, snapshot) for snapshot in (old, new))
    key = grain(table) if key is None else key
    # "is there": no column of a table is called so.
    states = {
        "o": f'(SELECT *, true AS "is there" FROM lake.{table} AT (VERSION => {old}))',
        "n": f'(SELECT *, true AS "is there" FROM lake.{table} AT (VERSION => {new}))',
    }
    shared = [c for c in after if c in before]
    for column in key:
        if column not in shared:
            raise UserError(f"{table} has no column {column!r} in both states")
    for source in states.values():
        _require_key(con, table, source, key)
    values = [c for c in shared if c not in key]
    differs = [f"o.{_quoted(c)} IS DISTINCT FROM n.{_quoted(c)}" for c in values]
    names = [f"coalesce(n.{c}, o.{c})" for c in map(_quoted, key)]
    # The table may have columns of any name; those of `changes` are beside them only by number.
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE changes AS
        SELECT
            CASE
                WHEN o."is there" IS NULL THEN 'added'
                WHEN n."is there" IS NULL THEN 'removed'
                WHEN {" OR ".join(differs) or "false"} THEN 'changed'
                ELSE 'same'
            END AS change,
            {"".join(f"{name} AS key_{i}, " for i, name in enumerate(names))}
            {"".join(f"{condition} AS differs_{i}, " for i, condition in enumerate(differs))}
        FROM {states["o"]} AS o
        FULL JOIN {states["n"]} AS n ON {_same_key(key, "o", "n")}
        """
    )
    counts = dict(con.execute("SELECT change, count(*) FROM changes GROUP BY change").fetchall())
    changed = {
        c: con.execute(
            f"SELECT count(*) FROM changes WHERE change = 'changed' AND differs_{i}"
        ).fetchone()[0]
        for i, c in enumerate(values)
    }
    return {
        "key": key,
        **{kind: counts.get(kind, 0) for kind in ("added", "removed", "changed", "same")},
        "changed_columns": {c: count for c, count in changed.items() if count},
        "new_columns": [c for c in after if c not in before],
        "lost_columns": [c for c in before if c not in after],
        "examples": [
            example
            for kind in ("added", "removed", "changed")
            for example in _examples(con, states, key, kind, rows)
        ],
    }


def _examples(
    con: duckdb.DuckDBPyConnection, states: dict[str, str], key: list[str], kind: str, rows: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    labels = {
        "added": {"n": "added"},
        "removed": {"o": "removed"},
        "changed": {"o": "was", "n": "is"},
    }[kind]
    names = ", ".join(f"key_{i} AS {c}" for i, c in enumerate(map(_quoted, key))) or "change"
    chosen = f"(SELECT {names} FROM changes WHERE change = '{kind}' ORDER BY ALL LIMIT {rows})"
    shown = {}
    for state, label in labels.items():
        cursor = con.execute(
            f'SELECT s.* EXCLUDE "is there" FROM {states[state]} AS s'
            f" SEMI JOIN {chosen} AS c ON {_same_key(key, 's', 'c')}"
            f" ORDER BY {', '.join('s.' + _quoted(c) for c in key) or 'ALL'}"
        )
        columns = [d[0] for d in cursor.description]
        shown[label] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    for of_one_key in zip(*shown.values(), strict=True):
        yield from zip(shown, of_one_key, strict=True)


def _require_key(con: duckdb.DuckDBPyConnection, table: str, source: str, key: list[str]) -> None:
    names = ", ".join(map(_quoted, key)) or "true"
    twice = con.execute(
        f"SELECT {names} FROM {source} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
    ).fetchone()
    if twice and not key:
        raise UserError(f"{table} has several rows; expected one")
    if twice:
        row = ", ".join(f"{c} {value!r}" for c, value in zip(key, twice, strict=True))
        raise UserError(f"{table}: {', '.join(key)} do not name a row; several have {row}")


def _same_key(key: list[str], left: str, right: str) -> str:
    same = [f"{left}.{_quoted(c)} IS NOT DISTINCT FROM {right}.{_quoted(c)}" for c in key]
    return " AND ".join(same) or "true"


def _columns(con: duckdb.DuckDBPyConnection, table: str, snapshot: int) -> list[str]:
    if not re.fullmatch(r"\w+\.\w+", table):
        raise UserError(f"expected a table as SCHEMA.NAME, got {table!r}")
    try:
        cursor = con.execute(f"SELECT * FROM lake.{table} AT (VERSION => {snapshot}) LIMIT 0")
        return [column[0] for column in cursor.description]
    except duckdb.CatalogException:
        raise UserError(f"{table}: there is no such table in snapshot {snapshot}") from None
    except duckdb.BinderException as error:
        raise UserError(f"{table}: {str(error).splitlines()[0]}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
