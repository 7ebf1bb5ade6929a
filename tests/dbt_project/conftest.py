"""Shops built once and read by many tests."""

import importlib.util
import json
import shutil
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aigq import warehouse
from aigq.settings import PROJECT_ROOT

_spec = importlib.util.spec_from_file_location(
    "dbt_reference", Path(__file__).with_name("dbt_reference.py")
)
reference = importlib.util.module_from_spec(_spec)
sys.modules["dbt_reference"] = reference
_spec.loader.exec_module(reference)

# Havana set its clocks back from 01:00 to 00:00 on 2020-11-01: that day has 25 hours and two
# midnights.
ZONE, FIRST_DAY = "America/Havana", date(2020, 10, 29)
VARIABLES = {
    "shop_timezone": ZONE,
    "max_behaviors": 7,
    "direct_list_length": 4,
    "think_list_length": 6,
    "train_days": 3,
    "feature_days": 2,
    "x2q_days": 4,
    "x2q_lambda": 0.75,
    "x2q_length": 5,
}


@pytest.fixture
def copied_project(tmp_path):
    """The folder of a copy of the dbt project, to be changed; for ``run_dbt``'s ``project``."""
    project = tmp_path / "project"
    shutil.copytree(PROJECT_ROOT / "dbt_project", project / "dbt_project")
    for name in ("dbt_project.yml", "profiles.yml", "selectors.yml"):
        shutil.copy(PROJECT_ROOT / name, project)
    return project


@pytest.fixture(scope="session")
def random_shop(tmp_path_factory, make_home, insert_raw, run_dbt):
    """A random shop around a change of clocks, built with tests: (home, reference)."""
    raw = reference.random_shop(seed=7, zone=ZONE, first=FIRST_DAY, days=8)
    home = make_home(tmp_path_factory.mktemp("random_shop"))
    insert_raw(home, **raw)
    written = reference.random_job_rows(raw, seed=7, zone=ZONE)
    for schema, tables in written.items():
        insert_raw(home, schema, **tables)
    now = max(event["occurred_at"] for event in raw["events"])
    answered = {"run_id": "20201106T000000-a", "generated_at": now, "model_version": "model"}
    insert_raw(
        home,
        "serving",
        u2q_runs=[
            answered | {"user_id": user, "position": position, "query_text": text}
            for user in ("u1", "u2")
            for position, text in enumerate(["boots", f"tent {user}"], start=1)
        ],
    )
    run_dbt(home, "build", variables=VARIABLES)
    return home, reference.Reference(raw, VARIABLES, written)


@pytest.fixture(scope="session")
def replayed_shop(tmp_path_factory, make_home, insert_raw, run_dbt):
    """The same kind of shop without any hint logs or users: (home, raw rows)."""
    raw = reference.random_shop(seed=8, zone=ZONE, first=FIRST_DAY, days=9)
    raw = {name: raw[name] for name in ("items", "events")}
    home = make_home(tmp_path_factory.mktemp("replayed_shop"))
    insert_raw(home, **raw)
    run_dbt(home, "build", variables=VARIABLES)
    return home, reference.Reference(raw, VARIABLES)


@pytest.fixture
def growing_shop(tmp_path, make_home, insert_raw, run_dbt):
    """A random shop built over its first days: (home, rows of each of the two days to come,
    variables)."""
    raw = reference.random_shop(seed=9, zone=ZONE, first=FIRST_DAY, days=8, users=40)
    start = datetime.combine(FIRST_DAY, datetime.min.time(), ZoneInfo(ZONE))
    cuts = [start + timedelta(days=day) for day in (6, 7)]

    def period(row, at):
        return sum(row[at] >= cut for cut in cuts)

    of_request = {r["request_id"]: period(r, "requested_at") for r in raw["hint_requests"]}
    days = [
        {
            "events": [e for e in raw["events"] if period(e, "occurred_at") == number],
            "hint_requests": [
                r for r in raw["hint_requests"] if of_request[r["request_id"]] == number
            ],
            "hint_candidates": [
                c for c in raw["hint_candidates"] if of_request[c["request_id"]] == number
            ],
        }
        for number in range(3)
    ]
    home = make_home(tmp_path / "shop")
    insert_raw(home, users=raw["users"], items=raw["items"], **days[0])
    for schema, tables in reference.random_job_rows(raw, seed=9, zone=ZONE).items():
        insert_raw(home, schema, **tables)
    run_dbt(home, "build", variables=VARIABLES)
    return home, days[1:], VARIABLES


@pytest.fixture(scope="session")
def joins_row_by_row():
    """``joins_row_by_row(home)``: names of models, see below."""
    return _joins_row_by_row


def _operators(plan: dict) -> list[str]:
    return [plan["name"], *(name for child in plan["children"] for name in _operators(child))]


def _joins_row_by_row(home) -> list[str]:
    """The models whose latest build joined by a condition that no hash or sort can serve.

    Such a join is right, and fast on the rows of a test: a left join that asked for a variant, too,
    took two million labels times half a million judgements.
    """
    compiled = sorted((home.root / "target" / "compiled").glob("*/dbt_project/models/**/*.sql"))
    models = [path for path in compiled if path.parent.suffix != ".yml"]
    assert len(models) > 50
    found = []
    with warehouse.connect(home, read_only=True) as con:
        con.execute("SET explain_output = 'physical_only'")
        for path in models:
            query = path.read_text()
            if "__dbt" in query or "memory" in query:
                continue  # A unit test, or it reads what lives as long as the run.
            (row,) = con.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
            names = [name for plan in json.loads(row[1]) for name in _operators(plan)]
            if "BLOCKWISE_NL_JOIN" in names:
                found.append(path.stem)
    return found
