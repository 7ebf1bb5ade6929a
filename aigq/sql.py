"""``aigq sql``: a query over the lake, for a terminal or a pipe."""

import csv
import json
import math
import re
import sys
from collections import Counter
from decimal import Decimal
from typing import Any

import click
import duckdb

from aigq import warehouse
from aigq.as_of import as_of_option, find_snapshot
from aigq.settings import Home, UserError


# Unknown options pass: a query may begin with a comment, which looks like one.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("query")
@as_of_option
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
def command(query: str, as_of: str | None, output: str) -> None:
    """Run QUERY, one statement that reads; tables are SCHEMA.TABLE, e.g. labels.label_lists."""
    home = Home.from_environment()
    snapshot = None if as_of is None else find_snapshot(home, as_of)
    con = warehouse.connect(home, read_only=True, snapshot=snapshot)
    try:
        _refuse_changes(con, query)
        relation = con.sql(query)
        if output == "table":
            con.execute("SET TimeZone = 'UTC'")
            relation.show(max_rows=200, max_width=240)
            return
        names = relation.columns
        rows = iter(relation.fetchone, None)
        if output == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(names)
            writer.writerows(rows)
        else:
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise UserError(f"column {twice[0]!r} stands twice: rename one with AS")
            # One object a line: streams, and reads back with any JSON lines reader.
            for row in rows:
                values = dict(zip(names, map(_as_json, row), strict=True))
                print(json.dumps(values, default=str, allow_nan=False))
    except duckdb.Error as error:
        # What is there now may not have been there then.
        then = "" if snapshot is None else f"\n(in the lake as of snapshot {snapshot})"
        raise UserError(f"{error}{then}") from None
    finally:
        con.close()


_EXPLAIN = re.compile(
    r"(\s|--[^\n]*\n)*explain\b(\s+analyze\b|\s*\((analyze|format)\b[^)]*\))?", re.IGNORECASE
)


def _refuse_changes(con: duckdb.DuckDBPyConnection, query: str) -> None:
    """The lake is attached read-only, but e.g. COPY would still write files."""
    # EXPLAIN ANALYZE runs what it explains, so that is what counts.
    explained = _EXPLAIN.match(query)
    statements = con.extract_statements(query[explained.end() :] if explained else query)
    types = [statement.type.name for statement in statements]
    if types == ["CREATE", "SELECT"] and not any(s.query for s in statements):
        return  # what DuckDB makes of one PIVOT
    if not types:
        raise UserError("the query is empty")
    if other := set(types) - {"SELECT"}:
        raise UserError(f"{other.pop()}: `aigq sql` reads, it does not change")
    if len(types) > 1:
        raise UserError(f"{len(types)} statements: `aigq sql` runs one at a time")


def _as_json(value: Any) -> Any:
    """``value`` as JSON can say it: decimals are numbers, NaN and infinities null."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _as_json(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(v) for v in value]
    return value
