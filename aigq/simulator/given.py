"""A given catalog: ``DIR/items.*`` as in the raw contract, ``DIR/query_items.*``: what is asked.

``query_items`` has one row per query and item that answers it: ``query_text``, ``item_id``, and if
the shop knows them ``relevance`` (on any scale from 0; default 1) and ``weight`` (e.g. clicks).
Files are those that ingest reads, and broken rows, which ingest would set aside, are errors here.
"""

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from aigq.contract import TABLES, Column, Rule, Table
from aigq.ingest import files, stage
from aigq.settings import UserError
from aigq.simulator.landing import PAIRS_FILE
from aigq.simulator.pairs import Pairs
from aigq.simulator.settings import ShopSettings
from aigq.text import normalize_query

_OPTIONAL = ("relevance", "weight")
_PAIRS = Table(
    "query_items",
    key=("query_text", "item_id"),
    columns=(
        Column("query_text", "VARCHAR", required=True),
        Column("item_id", "VARCHAR", required=True),
        Column("relevance", "DOUBLE"),
        Column("weight", "DOUBLE"),
    ),
    rules=(
        Rule("relevance < 0", "'relevance is negative'"),
        Rule("weight < 0", "'weight is negative'"),
        Rule("normalize_query(query_text) = ''", "'query_text is empty after normalisation'"),
    ),
)
_TABLES = {"items": TABLES["items"], "query_items": _PAIRS}


def load(settings: ShopSettings, folder: Path) -> Pairs:
    """The language of the catalog in ``folder``.

    Raises :class:`UserError` naming the file, the row and the column that is wrong.
    """
    if not folder.is_dir():
        raise UserError(f"no catalog folder {folder}")
    found = files.discover(folder, _TABLES)
    for name in _TABLES:
        if not found.get(name):
            raise UserError(f"{folder}: no {name} there; a catalog is items and query_items")
    return _language(settings, found)


def load_written(settings: ShopSettings, items: Path, truth: Path) -> Pairs | None:
    """The language of a simulated shop, from its own items file and its ``truth`` folder; None
    where its queries are made up."""
    pairs = truth / PAIRS_FILE
    if not pairs.exists():
        return None
    return _language(settings, {"items": [items], "query_items": [pairs]})


def _language(settings: ShopSettings, found: dict[str, list[Path]]) -> Pairs:
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute("CREATE SCHEMA stage")
        con.create_function("normalize_query", normalize_query, [str], str)
        for name, table in _TABLES.items():
            stage.create_table(con, table)
            for path in found[name]:
                _add(con, table, path, Path(scratch))
            _check(con, name, "reason IS NOT NULL", "reason")
        _check(con, "items", _repeated("items", "item_id"), "'item_id stands twice'")
        _check(
            con,
            "query_items",
            "item_id NOT IN (SELECT item_id FROM stage.rows_items)",
            "'unknown item_id ' || item_id",
        )
        items = con.execute(
            f"SELECT {', '.join(TABLES['items'].column_names)} FROM stage.rows_items ORDER BY rowid"
        ).to_arrow_table()
        return Pairs(settings, items, _pairs(con))


def _add(con: duckdb.DuckDBPyConnection, table: Table, path: Path, scratch: Path) -> None:
    source = files.open_source(con, path, scratch)
    if source is None:
        return
    if table is _PAIRS:
        for name in _OPTIONAL:
            source.texts.setdefault(name, "NULL::VARCHAR")
    stage.add_rows(con, table, source)


def _repeated(table: str, key: str) -> str:
    return f"{key} IN (SELECT {key} FROM stage.rows_{table} GROUP BY ALL HAVING count(*) > 1)"


def _check(con: duckdb.DuckDBPyConnection, table: str, broken: str, reason: str) -> None:
    """Raise :class:`UserError` for the first row for which ``broken`` holds."""
    row = con.execute(f"""
        SELECT source_file, n, {reason} FROM (
            SELECT *, row_number() OVER (PARTITION BY source_file ORDER BY rowid) AS n
            FROM stage.rows_{table}
        )
        WHERE {broken} ORDER BY source_file, n LIMIT 1""").fetchone()
    if row is not None:
        raise UserError("{}, row {}: {}".format(*row))


def _pairs(con: duckdb.DuckDBPyConnection) -> pa.Table:
    """query_text (normalised), item_id, relevance, weight, in order; one row per pair."""
    pairs = con.execute("""
        SELECT normalize_query(query_text) AS query_text, item_id,
            max(coalesce(relevance, 1)) AS relevance, sum(weight) AS weight
        FROM stage.rows_query_items
        GROUP BY 1, 2
        HAVING max(coalesce(relevance, 1)) > 0 AND coalesce(sum(weight), 1) > 0
        ORDER BY 1, 2""").to_arrow_table()
    unweighted = pairs["weight"].null_count
    if 0 < unweighted < len(pairs):
        raise UserError(
            f"query_items: weight is given for some pairs only ({unweighted:,} have none)"
        )
    return pairs
