"""The lake: several processes at once, all or nothing, at whatever path it lies."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import duckdb
import pytest

from aigq import warehouse
from aigq.settings import Home, UserError
from aigq.tables import DBT_SCHEMAS, JOB_TABLES, RAW_TABLES, columns

_WRITER = """
import sys
from pathlib import Path
from aigq import warehouse
from aigq.settings import Home

name, stop = sys.argv[2], Path(sys.argv[3])
number = 0
while number < 3 or not stop.exists():
    number += 1
    warehouse.write(Home(Path(sys.argv[1])), lambda con: con.execute(
        "INSERT INTO lake.raw.users (user_id, region) VALUES (?, ?), (?, ?)",
        [f"{name}-{number}-a", name, f"{name}-{number}-b", name]))
print(number)
"""


def _count(home: Home) -> int:
    con = warehouse.connect(home, read_only=True)
    try:
        return con.execute("SELECT count(*) FROM raw.users").fetchone()[0]
    finally:
        con.close()


def test_a_new_lake_holds_every_table_empty_and_keeps_what_is_there(home):
    con = warehouse.connect(home)
    for name in RAW_TABLES | JOB_TABLES:
        assert warehouse.table_exists(con, name)
        assert con.execute(f"SELECT count(*) FROM lake.{name}").fetchone() == (0,)
    assert not warehouse.table_exists(con, "raw.nothing")
    con.execute("INSERT INTO raw.users (user_id) VALUES ('a')")
    con.execute("DROP TABLE raw.items")
    con.close()
    warehouse.ensure_lake(home)
    assert _count(home) == 1
    con = warehouse.connect(home, read_only=True)
    assert warehouse.table_exists(con, "raw.items")
    con.close()


def test_no_lake_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match=f"no lake at {tmp_path}: run `aigq ingest` first"):
        warehouse.connect(Home(tmp_path))


def test_connections_are_in_utc_and_know_the_functions(home):
    con = warehouse.connect(home, read_only=True)
    assert con.execute(
        "SELECT current_setting('TimeZone'), normalize_query(' A  b'), normalize_query(NULL)"
    ).fetchone() == ("UTC", "a b", None)
    with pytest.raises(duckdb.Error, match="read-only"):
        con.execute("INSERT INTO raw.users (user_id) VALUES ('a')")
    con.close()


def test_writers_at_once_all_succeed_while_a_reader_sees_whole_transactions(home, tmp_path):
    stop = tmp_path / "stop"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(home.root), name, str(stop)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("left", "right")
    ]
    seen = [0]
    while len(set(seen)) < 4 and any(writer.poll() is None for writer in writers):
        seen.append(_count(home))
    stop.touch()
    commits = [int(writer.communicate()[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert _count(home) == 2 * sum(commits)
    assert seen == sorted(seen)
    assert all(count % 2 == 0 for count in seen)
    assert len(set(seen)) == 4, "the reader never saw the lake between two commits"


def test_a_write_is_all_or_nothing(home):
    def fails(con):
        con.execute("INSERT INTO lake.raw.users (user_id) VALUES ('a')")
        con.execute("INSERT INTO lake.meta.runs (run_id) VALUES ('r')")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        warehouse.write(home, fails)
    assert _count(home) == 0


def test_a_reader_in_the_middle_of_a_transaction_holds_up_nobody(home):
    """With SQLite's rollback journal the commit failed after 5 s and left the lake locked for every
    process until this one ended; hence write-ahead logging."""
    reader = warehouse.connect(home, read_only=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM raw.users").fetchone() == (0,)
    attempts = []

    def work(con):
        attempts.append(1)
        con.execute("INSERT INTO lake.raw.users (user_id) VALUES ('a')")

    warehouse.write(home, work)
    assert len(attempts) == 1
    assert _count(home) == 1
    # It goes on seeing what it saw.
    assert reader.execute("SELECT count(*) FROM raw.users").fetchone() == (0,)
    reader.close()


def test_a_write_that_was_overtaken_is_run_again_from_the_start(home):
    warehouse.write(
        home, lambda con: con.execute("INSERT INTO lake.raw.users (user_id) VALUES ('a')")
    )
    attempts = []

    def slow(con):
        con.execute("UPDATE lake.raw.users SET region = concat(region, 'slow')")
        if not attempts:
            # A program that knows nothing of the lock changes the same row and commits first.
            other = warehouse.connect(home)
            other.execute("UPDATE lake.raw.users SET region = 'quick '")
            other.close()
        attempts.append(1)

    warehouse.write(home, slow)
    assert len(attempts) == 2
    con = warehouse.connect(home, read_only=True)
    assert con.execute("SELECT region FROM raw.users").fetchall() == [("quick slow",)]
    con.close()


def test_a_mistake_in_a_write_is_not_tried_again(home):
    attempts = []

    def wrong(con):
        attempts.append(1)
        con.execute("INSERT INTO lake.raw.nothing VALUES (1)")

    with pytest.raises(duckdb.CatalogException):
        warehouse.write(home, wrong)
    assert len(attempts) == 1


def test_a_moved_home_opens(home, tmp_path):
    many = "INSERT INTO lake.raw.users (user_id) SELECT i::VARCHAR FROM range(5000) AS t(i)"
    # More rows than DuckLake keeps inside the catalog: their file must be found too.
    warehouse.write(home, lambda con: con.execute(many))
    assert list(home.lake_data.rglob("*.parquet"))
    moved = Home(tmp_path.parent / f"{tmp_path.name} it's moved")
    shutil.move(home.root, moved.root)
    assert _count(moved) == 5000
    warehouse.write(moved, lambda con: con.execute(many))
    assert _count(moved) == 10_000
    assert not home.root.exists()


def test_old_snapshots_can_be_read_again(home):
    con = warehouse.connect(home)
    before = warehouse.current_snapshot(con)
    con.execute("INSERT INTO raw.users (user_id) VALUES ('a')")
    assert warehouse.current_snapshot(con) == before + 1
    at_before = con.execute(f"SELECT count(*) FROM raw.users AT (VERSION => {before})")
    assert at_before.fetchone() == (0,)
    con.close()


def test_export_parquet_replaces_the_file_whole_or_not_at_all(home, tmp_path):
    con = warehouse.connect(home, read_only=True)
    path = tmp_path / "out" / "rows.parquet"
    assert warehouse.export_parquet(con, "SELECT i FROM range(3) AS t(i)", path) == 3
    with pytest.raises(duckdb.Error):
        warehouse.export_parquet(
            con, "SELECT CASE WHEN i < 300000 THEN i ELSE error('x') END AS i"
            " FROM range(400000) AS t(i)", path)  # fmt: skip
    assert con.execute(f"SELECT list(i) FROM '{path}'").fetchone() == ([0, 1, 2],)
    assert warehouse.export_parquet(con, "SELECT 7 AS i", path) == 1
    assert con.execute(f"SELECT list(i) FROM '{path}'").fetchone() == ([7],)
    assert [p.name for p in path.parent.iterdir()] == ["rows.parquet"]
    con.close()


def test_an_older_lakes_tables_get_the_columns_they_lack(home, insert_raw):
    """Rows that are there stay; with a table that lacks a column, every later insert would fail."""
    con = warehouse.connect(home)
    con.execute("ALTER TABLE items.generated_texts DROP COLUMN facets_hash")
    con.execute("ALTER TABLE items.generated_texts DROP COLUMN error")
    con.execute("ALTER TABLE raw.quarantine DROP COLUMN source_row")
    con.execute("INSERT INTO items.generated_texts VALUES ('i1', 'tent', 'v1', 'r1')")
    before = warehouse.current_snapshot(con)
    con.close()
    warehouse.ensure_lake(home)
    warehouse.ensure_lake(home)
    insert_raw(home, "items", generated_texts=[{"item_id": "i2", "facets_hash": "h"}])
    con = warehouse.connect(home, read_only=True)
    assert con.execute(
        "SELECT item_id, item_text, facets_hash, error FROM items.generated_texts ORDER BY 1"
    ).fetchall() == [("i1", "tent", None, None), ("i2", None, "h", None)]
    assert con.execute("SELECT source_row FROM raw.quarantine").fetchall() == []
    # The second call had nothing to do.
    assert warehouse.current_snapshot(con) == before + 2
    con.close()


def _catalog(home: Home, query: str) -> list[tuple]:
    with closing(sqlite3.connect(home.catalog)) as con:
        return con.execute(query).fetchall()


def test_tables_made_anew_leave_none_of_their_own_in_the_catalog(home):
    """SQLite reads the definitions of all its tables whenever it is opened, so that they would
    make every step of every build slower, the more builds there were."""
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"
    with warehouse.connect(home) as con:
        con.execute("INSERT INTO lake.meta.runs (run_id) VALUES ('a')")
        (before,) = _catalog(home, tables)
        for schema in DBT_SCHEMAS:
            con.execute(f"CREATE OR REPLACE TABLE lake.{schema}.few AS SELECT 1 AS i")
            con.execute(f"INSERT INTO lake.{schema}.few VALUES (2)")
        con.execute("UPDATE lake.meta.runs SET job = 'b'")
    assert _catalog(home, tables) == [before]
    in_catalog = "SELECT count(*) FROM ducklake_inlined_data_tables"
    assert _catalog(home, in_catalog) == [(1,)], "that of meta.runs"
    files = "SELECT count(*) FROM ducklake_data_file JOIN ducklake_table USING (table_id)"
    assert _catalog(home, f"{files} WHERE table_name = 'runs'") == [(0,)]


def test_an_older_lake_is_told_what_it_was_not(home):
    """An option that somebody set otherwise stays."""
    with closing(sqlite3.connect(home.catalog)) as catalog, catalog:
        catalog.execute("DELETE FROM ducklake_metadata WHERE key = 'data_inlining_row_limit'")
    with warehouse.connect(home) as con:
        con.execute("CALL lake.set_option('parquet_compression', 'snappy')")
    warehouse.ensure_lake(home)
    with warehouse.connect(home, read_only=True) as con:
        told = {
            (name, entry): value
            for name, entry, value in con.execute(
                "SELECT option_name, scope_entry, value FROM lake.options()"
            ).fetchall()
        }
    assert told["data_inlining_row_limit", None] == "0"
    assert told["data_inlining_row_limit", "meta.runs"] == "10"
    assert told["parquet_compression", None] == "snappy"


def test_declared_columns_are_read_as_duckdb_reads_them():
    with duckdb.connect() as con:
        for name, declared in (RAW_TABLES | JOB_TABLES).items():
            con.execute(f"CREATE OR REPLACE TABLE t ({declared})")
            found = con.execute("DESCRIBE t").fetchall()
            assert [column[0] for column in found] == list(columns(declared)), name
            for column, type_ in columns(declared).items():
                con.execute(f"SELECT NULL::{type_} AS {column}")
