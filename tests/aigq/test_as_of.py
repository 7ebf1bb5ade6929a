"""Runs, snapshots and times name past states of the lake."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from aigq import jobs, warehouse
from aigq.as_of import resolve_snapshot
from aigq.cli import main
from aigq.settings import UserError


def insert(home, user: str) -> None:
    sql = "INSERT INTO lake.raw.users (user_id) VALUES (?)"
    warehouse.write(home, lambda con: con.execute(sql, [user]))


@pytest.fixture
def two_runs(home):
    """Two ended runs that each added a user."""
    with jobs.job(home, "first", {}) as first:
        insert(home, "u1")
    with jobs.job(home, "second", {}) as second:
        insert(home, "u2")
    return first, second


def users(home, as_of: str) -> set[str]:
    with warehouse.connect(home, read_only=True) as con:
        snapshot = resolve_snapshot(con, as_of)
    with warehouse.connect(home, read_only=True, snapshot=snapshot) as con:
        return {user for (user,) in con.execute("SELECT user_id FROM lake.raw.users").fetchall()}


def test_a_run_is_the_state_it_left(home, two_runs):
    first, second = two_runs
    assert users(home, first.run_id) == {"u1"}
    assert users(home, first.run_id[:-3]) == {"u1"}
    assert users(home, second.run_id) == {"u1", "u2"}
    assert users(home, str(second.snapshot_read)) == {"u1"}


def test_digits_that_are_no_snapshot_begin_a_run(home):
    insert(home, "u1")
    run = {"job": "old", "started_at": datetime(2001, 2, 3, tzinfo=UTC), "status": "succeeded"}
    columns = [*run, "run_id", "snapshot_written"]
    with warehouse.connect(home, read_only=True) as con:
        snapshot = warehouse.current_snapshot(con)
    sql = f"INSERT INTO lake.meta.runs ({', '.join(columns)}) VALUES (?, ?, ?, ?, ?)"
    for run_id in ("20010203T000000.000000-old", "00011203T000000.000000-old"):
        values = [*run.values(), run_id, snapshot]
        warehouse.write(home, lambda con, values=values: con.execute(sql, values))
    insert(home, "u2")
    assert users(home, "20010203") == {"u1"}
    # A number that the lake has had stays one.
    assert users(home, "0001") == set()


def test_a_time_is_the_newest_state_by_then(home, two_runs):
    with warehouse.connect(home, read_only=True) as con:
        (at,) = con.execute(
            "SELECT snapshot_time FROM ducklake_snapshots('lake') WHERE snapshot_id = ?",
            [two_runs[1].snapshot_read],
        ).fetchone()
    at = at.astimezone(UTC)
    assert users(home, at.isoformat()) == {"u1"}
    # Without a zone it is UTC.
    assert users(home, at.replace(tzinfo=None).isoformat(sep=" ")) == {"u1"}
    assert users(home, (datetime.now(UTC) + timedelta(days=1)).isoformat()) == {"u1", "u2"}
    with pytest.raises(UserError, match="the lake's first snapshot is of"):
        users(home, "2001-01-01")


def test_what_names_no_state_is_an_error(home, two_runs):
    first, _ = two_runs
    for text, message in (
        ("999", r"no snapshot 999 \(any more\); its oldest is 0, its newest \d+"),
        ("soon", "expected a run, a snapshot's number or an ISO 8601 time, got 'soon'"),
        (first.run_id[:9], "several runs begin with '20"),
    ):
        with pytest.raises(UserError, match=message):
            users(home, text)
    with (
        jobs.job(home, "third", {}) as third,
        pytest.raises(UserError, match=f"run {third.run_id} has not ended"),
    ):
        users(home, third.run_id)


def test_a_job_reads_and_records_the_state_asked_for(home, two_runs):
    first, second = two_runs
    with jobs.job(home, "again", {"seed": 1}, as_of=first.run_id) as run:
        assert run.is_as_of
        assert run.snapshot_read < second.snapshot_read < run.snapshot_begun
    with warehouse.connect(home, read_only=True) as con:
        snapshot, parameters = con.execute(
            "SELECT snapshot_read, parameters FROM lake.meta.runs WHERE run_id = ?", [run.run_id]
        ).fetchone()
    assert snapshot == run.snapshot_read
    assert json.loads(parameters) == {"seed": 1, "as_of": first.run_id}


def test_sql_as_of_a_run(home, two_runs):
    query = ["sql", "SELECT count(*) AS users FROM raw.users", "--format", "csv"]
    for run, count in zip(two_runs, (1, 2), strict=True):
        result = CliRunner().invoke(main, [*query, "--as-of", run.run_id])
        assert result.output == f"users\n{count}\n"


def test_sql_says_of_which_state_it_speaks(home, two_runs):
    warehouse.write(home, lambda con: con.execute("CREATE TABLE lake.raw.later AS SELECT 1 AS n"))
    query = ["sql", "FROM raw.later"]
    result = CliRunner().invoke(main, [*query, "--as-of", two_runs[0].run_id])
    assert result.exit_code == 1 and "Table with name later does not exist" in result.output
    assert f"(in the lake as of snapshot {snapshot_of(home, two_runs[0])})" in result.output
    assert CliRunner().invoke(main, query).exit_code == 0


def snapshot_of(home, run) -> int:
    with warehouse.connect(home, read_only=True) as con:
        return resolve_snapshot(con, run.run_id)
