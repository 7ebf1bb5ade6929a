"""Ingest against a reference of a few lines that takes one row after the other.

Whatever the rows and however they are split over files and runs: the counts add up, the tables are
the reference's, and ingesting everything once more changes nothing but users and items whose own
rows disagree.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq.contract import ACTIONS, TABLES
from aigq.ingest import files, judge, stage
from aigq.tables import RAW_TABLES
from aigq.warehouse import register_functions

TIMES = {"2024-02-01 00:00:00": True, "2024-02-01T00:00:01Z": True, "yesterday": False,
         "9000-01-01": False, "1970-01-01 00:00:00": False, "2000-01-01 23:59:59.9": False,
         "2000-01-02 00:00:00": True, "0001-01-01": False}  # fmt: skip
# Nothing is counted from when a user registered.
LONG_AGO = {time for time, is_welcome in TIMES.items() if not is_welcome and time < "2001"}


def _rows(**columns):
    return st.fixed_dictionaries({name: st.sampled_from(pool) for name, pool in columns.items()})


ROWS = {
    "users": _rows(
        user_id=["a", "b", "b", "c", "", None],
        age_band=["18-24", None],
        gender=[None],
        region=["north", "south"],
        registered_at=[None, None, *TIMES],
    ),
    "events": _rows(
        event_id=["a", "b", "c", "d", None],
        user_id=["u", "u", "u", "v", None],
        occurred_at=[*TIMES, "2024-02-01 00:00:00", "2024-02-01 00:00:00"],
        action=["search", "item_click", "app_exit", "sing"],
        query_text=["q", "Q", " \u00a0", None],
        item_id=["i", None],
        quantity=[None, "1", "1.5", "0"],
        price=[None, "0", "-0.5"],
    ),
    "hint_candidates": _rows(
        request_id=["a", "b", None],
        rank=["1", "2", "one", "0"],
        query_text=["q", "\u3000"],
        rank_score=["0.5", "0.5", "NaN"],
        recall_source=[None],
        displayed=["true", "true", "false"],
        position=[None, "1", "0"],
        clicked_at=[None, "2024-02-01 00:00:00"],
    ),
}


def is_broken(table: str, row: dict) -> bool:
    values = {name: value or None for name, value in row.items()}
    if any(values[column.name] is None for column in TABLES[table].columns if column.required):
        return True
    welcome = {t for t, is_welcome in TIMES.items() if is_welcome}
    welcome |= LONG_AGO if table == "users" else set()
    if any(v not in welcome for k, v in values.items() if k.endswith("_at") and v):
        return True
    if table == "events":
        searched = values["action"] == "search"
        return (
            values["action"] not in ACTIONS
            or values["quantity"] in ("1.5", "0")
            or values["price"] == "-0.5"
            or (searched and not (values["query_text"] or "").strip())
            or (values["action"] == "item_click" and values["item_id"] is None)
        )
    if table == "hint_candidates":
        return (
            values["rank"] in ("one", "0")
            or values["position"] == "0"
            or values["rank_score"] == "NaN"
            or not values["query_text"].strip()
            or (values["displayed"] == "false" and values["clicked_at"] is not None)
        )
    return False


class Reference:
    """The lake as a dictionary."""

    def __init__(self, table: str):
        self.table = table
        self.lake: dict[tuple, dict] = {}
        self.quarantine: set[str] = set()

    def add(self, row: dict) -> str:
        key = tuple(row[name] for name in TABLES[self.table].key)
        if is_broken(self.table, row):
            return "quarantined"
        if key not in self.lake:
            self.lake[key] = row
            return "new"
        if self.lake[key] == row:
            return "repeat"
        if TABLES[self.table].replace:
            self.lake[key] = row
            return "replaced"
        return "quarantined"


def _connect() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS lake; CREATE SCHEMA lake.raw")
    for name, columns in RAW_TABLES.items():
        con.execute(f"CREATE TABLE lake.{name} ({columns})")
    register_functions(con)
    return con


def _ingest(con, table: str, batches: list[list[dict]], run_id: str) -> judge.Counts:
    con.execute("ATTACH ':memory:' AS stage")
    stage.create_table(con, TABLES[table])
    rows_in = 0
    with tempfile.TemporaryDirectory() as folder:
        for index, rows in enumerate(batches):
            path = Path(folder) / f"{index}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            source = files.open_source(con, path, Path(folder))
            if source is not None:
                rows_in += stage.add_rows(con, TABLES[table], source)
    counts = judge.judge(con, TABLES[table], rows_in)
    judge.write(con, TABLES[table], counts, run_id)
    con.execute("DETACH stage")
    return counts


def _lake(con, table: str) -> list[tuple]:
    return sorted(con.execute(f"SELECT * FROM lake.raw.{table}").fetchall(), key=repr)


def _as_lake(con, table: str, rows: list[dict]) -> list[tuple]:
    """The reference's rows with the lake's types, cast one by one."""
    casts = ", ".join(f"nullif(?, '')::{c.type}" for c in TABLES[table].columns)
    return sorted(
        (
            con.execute(f"SELECT {casts}", [row[n] for n in TABLES[table].column_names]).fetchone()
            for row in rows
        ),
        key=repr,
    )


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(sorted(ROWS)))
def test_any_rows_in_any_split_end_as_in_the_reference(data, table):
    runs = data.draw(st.lists(st.lists(st.lists(ROWS[table], max_size=8), max_size=3), max_size=3))
    con = _connect()
    reference = Reference(table)
    try:
        for number, batches in enumerate(runs):
            rows = [row for batch in batches for row in batch]
            expected = Counter(reference.add(row) for row in rows)
            counts = _ingest(con, table, batches, str(number))
            assert counts.rows_in == len(rows)
            assert {k: v for k, v in vars(counts).items() if k != "rows_in" and v} == expected
            assert _lake(con, table) == _as_lake(con, table, list(reference.lake.values()))
        once = _lake(con, table)
        stored = con.execute("SELECT count(*), count(DISTINCT (reason, row_json))"
                             " FROM lake.raw.quarantine").fetchone()  # fmt: skip
        assert stored[0] == stored[1]
        everything = [batch for batches in runs for batch in batches]
        again = _ingest(con, table, everything, "again")
        assert again.new == 0
        assert _lake(con, table) == once
        if not TABLES[table].replace:
            assert again.replaced == 0
    finally:
        con.close()


def test_counts_that_do_not_add_up_stop_the_ingest():
    con = _connect()
    row = dict.fromkeys(TABLES["users"].column_names) | {"user_id": "a"}
    # A lake that holds a key twice makes one row in two outcomes.
    con.execute("INSERT INTO lake.raw.users (user_id) VALUES ('a'), ('a')")
    try:
        _ingest(con, "users", [[row]], "run")
    except RuntimeError as error:
        assert "1 rows in, but 2 outcomes" in str(error)
    else:
        raise AssertionError("expected the identity to fail")
