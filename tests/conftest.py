"""Fixtures that tests of several parts share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aigq import warehouse
from aigq.settings import PROJECT_ROOT, Home

# Test modules cannot import this file (importmode=importlib): the helpers come as fixtures.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty data home with a lake, which ``AIGQ_HOME`` points at."""
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    return _make_home(tmp_path)


@pytest.fixture(scope="session")
def make_home() -> Callable[[Path], Home]:
    """``make_home(path)``: a data home with an empty lake."""
    return _make_home


@pytest.fixture(scope="session")
def insert_raw() -> Callable[..., None]:
    """``insert_raw(home, events=[{...}], ...)``: rows into ``lake.raw`` as ingest would put them;
    missing columns become null."""
    return _insert_raw


@pytest.fixture(scope="session")
def run_dbt() -> Callable[..., subprocess.CompletedProcess]:
    """``run_dbt(home, "build", "-s", ...)``: dbt from the checkout's root, as a user runs it.

    A process of its own, since dbt keeps its connections open. ``variables={...}`` becomes
    ``--vars``; fails the test where dbt fails, unless ``check=False``.
    """
    return _run_dbt


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Home, str], list[dict[str, Any]]]:
    """``rows_of(home, query)``: the rows of a query over the lake, read-only."""
    return _rows_of


def _make_home(path: Path) -> Home:
    home = Home(path)
    warehouse.ensure_lake(home)
    return home


def _insert_raw(home: Home, **tables: Iterable[Mapping[str, Any]]) -> None:
    def insert(con) -> None:
        for table, rows in tables.items():
            rows = list(rows)
            if rows:
                con.register("new_rows", pa.Table.from_pylist(rows))
                con.execute(f"INSERT INTO lake.raw.{table} BY NAME SELECT * FROM new_rows")
                con.unregister("new_rows")

    warehouse.write(home, insert)


def _run_dbt(
    home: Home, *arguments: str, variables: Mapping[str, Any] | None = None, check: bool = True
) -> subprocess.CompletedProcess:
    if variables:
        arguments = (*arguments, "--vars", json.dumps(variables))
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


def _rows_of(home: Home, query: str) -> list[dict[str, Any]]:
    con = warehouse.connect(home, read_only=True)
    try:
        return con.sql(query).to_arrow_table().to_pylist()
    finally:
        con.close()
