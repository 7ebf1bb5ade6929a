"""The peers of the benchmark make dbt's rows: times of different results would compare nothing."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from bench import as_built, reference
from warehouse import TABLES as FINAL

from aigq import warehouse
from aigq.contract import TABLES
from aigq.settings import PROJECT_ROOT

pytestmark = pytest.mark.e2e

BENCH = Path(__file__).parent
# Rows that the small shop has at least, where they are less than 50.
FEW = {
    "popular_queries": 1,
    "queries": 6,
    "query_categories": 6,
    "item_texts": 8,
    "user_profile": 14,
    "query_stats": 18,
    "item_queries": 48,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory, make_home, insert_raw, run_dbt):
    """A shop full of ties, unknown users and items, and several spellings of a query, over five
    training days more than the defaults have: (home that dbt built, folder of its landing files).
    """
    root = tmp_path_factory.mktemp("bench")
    home = make_home(root / "home")
    raw = reference.random_shop(seed=3, zone="UTC", first=date(2026, 1, 5), days=35)
    insert_raw(home, **raw)
    landing = root / "landing"
    con = warehouse.connect(home, read_only=True)
    for table in TABLES:
        warehouse.export_parquet(con, f"FROM raw.{table}", landing / f"{table}.parquet")
    con.close()
    run_dbt(home, "run", "-s", *(f"+{table}" for table in FINAL))
    return home, landing


def _assert_same_rows(home, out: Path, tables: dict[str, str]) -> None:
    con = warehouse.connect(home, read_only=True)
    for table, schema in tables.items():
        types = "SELECT column_name, column_type FROM (DESCRIBE FROM {})"
        ours, theirs = f"{schema}.{table}", f"'{out / table}.parquet'"
        ours, theirs = (as_built(table, rows) for rows in (ours, theirs))
        columns = dict(con.execute(types.format(ours)).fetchall())
        assert columns.items() <= dict(con.execute(types.format(theirs)).fetchall()).items()
        names = ", ".join(columns)
        ours, theirs = (f"(SELECT {names} FROM {rows})" for rows in (ours, theirs))
        least = FEW.get(table, 50)
        rows = con.execute(f"SELECT count(*) FROM {ours}").fetchone()[0]
        assert rows >= least, f"{table}: too tame"
        for these, those in ((ours, theirs), (theirs, ours)):
            only = con.execute(f"FROM {these} EXCEPT ALL FROM {those} LIMIT 3").fetchall()
            assert only == [], f"rows of {table} only in {these}"
    con.close()


def _run(script: str, landing: Path, out: Path) -> None:
    subprocess.run([sys.executable, BENCH / script, landing, out], check=True, cwd=PROJECT_ROOT)


def test_the_hand_written_script_makes_the_tables_of_dbt(built, tmp_path):
    home, landing = built
    _run("warehouse.py", landing, tmp_path)
    _assert_same_rows(home, tmp_path, FINAL)


def test_polars_makes_the_direct_samples_of_dbt(built, tmp_path):
    home, landing = built
    _run("direct_samples_polars.py", landing, tmp_path)
    _assert_same_rows(home, tmp_path, {"samples_direct": "samples"})
