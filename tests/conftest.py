"""Fixtures that tests of several parts share."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aigq import warehouse
from aigq.settings import PROJECT_ROOT, Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty data home with a lake, which ``AIGQ_HOME`` points at."""
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    return make_home(tmp_path)


def make_home(path: Path) -> Home:
    """A data home with an empty lake at ``path``."""
    home = Home(path)
    warehouse.ensure_lake(home)
    return home


def insert_raw(home: Home, **tables: Iterable[Mapping[str, Any]]) -> None:
    """Put rows into ``lake.raw.<table>`` as ingest would have; missing columns become null."""

    def insert(con) -> None:
        for table, rows in tables.items():
            rows = list(rows)
            if rows:
                con.register("new_rows", pa.Table.from_pylist(rows))
                con.execute(f"INSERT INTO lake.raw.{table} BY NAME SELECT * FROM new_rows")
                con.unregister("new_rows")

    warehouse.write(home, insert)


def run_dbt(home: Home, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Run dbt from the checkout's root, as a user would, with its own target folder."""
    result = subprocess.run(
        [sys.executable, "-m", "dbt.cli.main", *arguments],
        cwd=PROJECT_ROOT,
        env=os.environ
        | {
            "AIGQ_HOME": str(home.root),
            "DBT_TARGET_PATH": str(home.root / "target"),
            "DBT_LOG_PATH": str(home.root / "logs"),
            "DBT_USE_COLORS": "false",
        },
        capture_output=True,
        text=True,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"dbt {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")
    return result


def dbt_vars(**variables: Any) -> tuple[str, str]:
    """The ``--vars`` arguments."""
    return "--vars", json.dumps(variables)


def rows_of(home: Home, query: str) -> list[dict[str, Any]]:
    """The rows of a query over the lake, read-only."""
    con = warehouse.connect(home, read_only=True)
    try:
        return con.sql(query).to_arrow_table().to_pylist()
    finally:
        con.close()
