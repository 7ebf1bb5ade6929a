"""Outcomes: each staged row against the rows before it and against the lake.

Rows count one after the other, in the order they were read, as if each were ingested alone:

- broken by itself: *quarantined*;
- a new key: loaded, *new*;
- a known key with the same content: *exact repeat*;
- a known key with other content: loaded, *replaced* (users, items), else *quarantined*.

So any split of the same rows over files and runs ends in the same tables.
"""

from dataclasses import dataclass

import duckdb

from aigq.contract import Table

_OUTCOMES = ("new", "replaced", "quarantined", "repeat")


@dataclass(frozen=True)
class Counts:
    """Rows of one table by outcome; ``rows_in`` is counted where they were read."""

    rows_in: int
    new: int = 0
    replaced: int = 0
    quarantined: int = 0
    repeat: int = 0

    def check(self, table: str) -> None:
        """Rows in = loaded + quarantined + exact repeats, or RuntimeError."""
        out = self.new + self.replaced + self.quarantined + self.repeat
        if out != self.rows_in:
            raise RuntimeError(f"{table}: {self.rows_in} rows in, but {out} outcomes: {self}")


def judge(con: duckdb.DuckDBPyConnection, table: Table, rows_in: int) -> Counts:
    """Fill ``stage.outcome_<table>`` (row_id, outcome, is_written) and count it.

    ``is_written``: the row is to stand in the lake afterwards and does not stand there yet.
    """
    _find_earlier(con, table)
    same_as_lake = _same(table, "r", "known")
    same_as_earlier = _same(table, "r", "before")
    in_lake = f"known.{table.key[0]} IS NOT NULL"
    if table.replace:
        outcome = f"""CASE
            WHEN before.row_id IS NOT NULL
                THEN CASE WHEN {same_as_earlier} THEN 'repeat' ELSE 'replaced' END
            WHEN {in_lake} THEN CASE WHEN {same_as_lake} THEN 'repeat' ELSE 'replaced' END
            ELSE 'new' END"""
        is_written = f"coalesce(e.is_last, true) AND NOT ({in_lake} AND {same_as_lake})"
    else:
        outcome = f"""CASE
            WHEN {in_lake} THEN CASE WHEN {same_as_lake} THEN 'repeat' ELSE 'quarantined' END
            WHEN before.row_id IS NOT NULL
                THEN CASE WHEN {same_as_earlier} THEN 'repeat' ELSE 'quarantined' END
            ELSE 'new' END"""
        is_written = f"NOT ({in_lake}) AND before.row_id IS NULL"
    on_key = " AND ".join(f"known.{k} = r.{k}" for k in table.key)
    con.execute(f"""
        CREATE TABLE stage.outcome_{table.name} AS
        SELECT r.rowid AS row_id, {outcome} AS outcome, {is_written} AS is_written
        FROM stage.rows_{table.name} AS r
        LEFT JOIN stage.earlier_{table.name} AS e ON e.row_id = r.rowid
        -- Of the few rows that others are compared with: all would not fit into memory.
        LEFT JOIN (
            SELECT earlier.row_id, rows.*
            FROM stage.earlier_{table.name} AS earlier
            JOIN stage.rows_{table.name} AS rows ON rows.rowid = earlier.earlier
        ) AS before ON before.row_id = r.rowid
        LEFT JOIN lake.raw.{table.name} AS known ON {on_key}
        WHERE r.reason IS NULL
        UNION ALL
        SELECT rowid, 'quarantined', false FROM stage.rows_{table.name} WHERE reason IS NOT NULL
    """)
    by_outcome = dict(
        con.execute(
            f"SELECT outcome, count(*) FROM stage.outcome_{table.name} GROUP BY ALL"
        ).fetchall()
    )
    counts = Counts(rows_in, **by_outcome)
    counts.check(table.name)
    return counts


def _find_earlier(con: duckdb.DuckDBPyConnection, table: Table) -> None:
    """For rows whose key stands in several rows: the row that each is compared with."""
    key = ", ".join(table.key)
    earlier = (
        f"lag(rowid) OVER (PARTITION BY {key} ORDER BY rowid)"
        if table.replace
        else f"nullif(min(rowid) OVER (PARTITION BY {key}), rowid)"
    )
    con.execute(f"""
        CREATE TABLE stage.earlier_{table.name} AS
        WITH repeated AS (
            SELECT {key} FROM stage.rows_{table.name} WHERE reason IS NULL
            GROUP BY ALL HAVING count(*) > 1
        ),
        several AS (
            SELECT {key}, rowid FROM stage.rows_{table.name} SEMI JOIN repeated USING ({key})
            WHERE reason IS NULL
        )
        SELECT rowid AS row_id, {earlier} AS earlier,
            rowid = max(rowid) OVER (PARTITION BY {key}) AS is_last
        FROM several
    """)


def _same(table: Table, left: str, right: str) -> str:
    return (
        "("
        + " AND ".join(
            f"{left}.{name} IS NOT DISTINCT FROM {right}.{name}"
            for name in table.column_names
            if name not in table.key
        )
        + ")"
    )


def quarantined(table: Table) -> str:
    """The query of rows that are not loaded: row_id, reason, source_file, source_row (from 1; null
    of rows that an adapter's query made)."""
    conflict = f"another row with the same {', '.join(table.key)} was loaded before"
    return f"""
        SELECT r.rowid AS row_id, coalesce(r.reason, '{conflict}') AS reason, r.source_file,
            r.rowid - files.first_row + 1 AS source_row
        FROM stage.rows_{table.name} AS r
        JOIN stage.outcome_{table.name} AS o ON o.row_id = r.rowid
        LEFT JOIN stage.files_{table.name} AS files ON files.source_file = r.source_file
        WHERE o.outcome = 'quarantined'"""


def write(con: duckdb.DuckDBPyConnection, table: Table, counts: Counts, run_id: str) -> int:
    """Bring the judged rows into the lake; returns the rows that quarantine gained.

    Raises RuntimeError, and so undoes the transaction, where the lake did not grow by exactly the
    new rows. A row that is in quarantine already, for the same reason, is not stored again.
    """
    target = f"lake.raw.{table.name}"
    written = f"""
        stage.rows_{table.name} AS r
        JOIN stage.outcome_{table.name} AS o ON o.row_id = r.rowid AND o.is_written"""
    if counts.new or counts.replaced:
        before = _count(con, target)
        if counts.replaced:
            key = ", ".join(table.key)
            con.execute(f"DELETE FROM {target} WHERE ({key}) IN (SELECT ({key}) FROM {written})")
        columns = ", ".join(f"r.{name}" for name in table.column_names)
        con.execute(f"INSERT INTO {target} SELECT {columns} FROM {written} ORDER BY r.rowid")
        if _count(con, target) != before + counts.new:
            raise RuntimeError(
                f"{table.name}: expected {before} + {counts.new} rows,"
                f" found {_count(con, target)}: nothing was ingested"
            )
    return _write_quarantine(con, table, run_id) if counts.quarantined else 0


def _write_quarantine(con: duckdb.DuckDBPyConnection, table: Table, run_id: str) -> int:
    content = ", ".join(f"'{name}': r.{name}" for name in table.column_names)
    return con.execute(
        f"""
        INSERT INTO lake.raw.quarantine
            (table_name, reason, row_json, source_file, source_row, run_id, quarantined_at)
        WITH broken AS (
            SELECT q.*, coalesce(r.row_json, to_json({{{content}}})::VARCHAR) AS row_json
            FROM ({quarantined(table)}) AS q
            JOIN stage.rows_{table.name} AS r ON r.rowid = q.row_id
        )
        SELECT $table, reason, row_json, min_by(source_file, row_id), min_by(source_row, row_id),
            $run_id, now()
        FROM broken
        WHERE NOT EXISTS (
            SELECT 1 FROM lake.raw.quarantine AS known
            WHERE known.table_name = $table AND known.reason = broken.reason
                AND known.row_json = broken.row_json
        )
        GROUP BY reason, row_json
        ORDER BY min(row_id)""",
        {"table": table.name, "run_id": run_id},
    ).fetchone()[0]


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return con.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
