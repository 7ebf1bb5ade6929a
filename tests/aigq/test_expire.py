"""Expiry removes what no run refers to, and nothing else."""

import json
import os
import shutil
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from aigq import expire, jobs, warehouse
from aigq.as_of import resolve_snapshot
from aigq.cli import main
from aigq.settings import UserError


def replace_users(home, user: str) -> None:
    sql = "INSERT INTO lake.raw.users (user_id) SELECT ? || i FROM range(2000) AS t (i)"

    def work(con) -> None:
        con.execute("DELETE FROM lake.raw.users")
        con.execute(sql, [user])

    warehouse.write(home, work)


def states(home) -> dict[int, str]:
    """The user of each state that can be read."""
    with warehouse.connect(home, read_only=True) as con:
        ids = con.execute(
            "SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_id > 1"
        ).fetchall()
        sql = "SELECT min(user_id)[1] FROM raw.users AT (VERSION => {})"
        return {i: con.execute(sql.format(i)).fetchone()[0] for (i,) in ids}


def test_what_runs_refer_to_stays(home):
    for user in "abcd":
        replace_users(home, user)
    with jobs.job(home, "reader", {}) as run:
        for user in "efgh":
            replace_users(home, user)
    for user in "ijk":
        replace_users(home, user)
    before = states(home)
    assert set(before.values()) >= set("abcdefghijk")
    dry = CliRunner().invoke(main, ["expire", "--older-than-days", "0", "--dry-run"])
    assert states(home) == before
    result = CliRunner().invoke(main, ["expire", "--older-than-days", "0"])
    assert result.exit_code == 0, result.output
    after = states(home)
    assert set(after.values()) == set("dhk"), "what the run read, what it left, and the newest"
    assert all(after[i] == before[i] for i in after.keys() & before.keys())
    with warehouse.connect(home, read_only=True) as con:
        (metrics,) = con.execute(
            "SELECT metrics FROM lake.meta.runs WHERE job = 'expire'"
        ).fetchone()
    assert json.loads(metrics)["files_removed"] == 0, "a query that is running may still need them"
    assert f"would remove {json.loads(metrics)['snapshots_removed']:,} snapshots" in dry.output
    assert run.snapshot_read in after
    with (
        warehouse.connect(home, read_only=True) as con,
        pytest.raises(UserError, match=r"states between snapshots \d+ and \d+ were expired"),
    ):
        (at,) = con.execute(
            "SELECT snapshot_time FROM ducklake_snapshots('lake') WHERE snapshot_id = ?",
            [run.snapshot_read],
        ).fetchone()
        resolve_snapshot(con, (at + timedelta(milliseconds=1)).isoformat())


def test_files_go_after_their_grace(home, monkeypatch):
    for user in "abc":
        replace_users(home, user)
    files = {p for p in home.lake_data.rglob("*.parquet") if "users" in str(p)}
    monkeypatch.setattr(expire, "_GRACE", timedelta(seconds=-60))
    with jobs.job(home, "expire", {}) as run:
        expire.expire(run, datetime.now(UTC) + timedelta(days=1))
    left = {p for p in home.lake_data.rglob("*.parquet") if "users" in str(p)}
    assert run.metrics["files_removed"] > 0 and left < files
    assert "c" in states(home).values()


def test_files_of_killed_transactions_go_after_their_grace(home):
    """Nothing but a file's age tells one that a writer still needs from one that nobody does."""
    replace_users(home, "a")
    (referred,) = (p for p in home.lake_data.rglob("*.parquet") if "users" in str(p))
    old, young, foreign = (referred.with_name(n) for n in ("old.parquet", "young.parquet", "note"))
    for left in (old, young, foreign):
        shutil.copyfile(referred, left)
    past = (datetime.now(UTC) - expire._GRACE - timedelta(minutes=1)).timestamp()
    for path in (referred, old, foreign):
        os.utime(path, (past, past))
    with jobs.job(home, "expire", {}) as run:
        expire.expire(run, datetime.now(UTC))
    assert run.metrics["files_removed"] == 1
    assert {p.name for p in referred.parent.iterdir()} == {referred.name, "young.parquet", "note"}
    assert "a" in states(home).values()


@pytest.mark.parametrize(
    ("days", "sizes"), [(30, range(50, 500, 50)), (0, (100, 150, 200, 250, 450))]
)
def test_small_files_are_merged_and_states_stay_as_they_were(home, days, sizes):
    """By the rows of each state, and by what has changed since, which is what a build takes up: all
    states, or those that runs refer to. Some rows replace known ones, as in ingest."""

    def load(rows: str, replaced: str = "false") -> None:
        def work(lake) -> None:
            lake.execute(f"DELETE FROM lake.raw.users WHERE {replaced}")
            lake.execute(f"INSERT INTO lake.raw.users (user_id) {rows}")

        warehouse.write(home, work)

    for number in range(6):
        with jobs.job(home, "reader", {}) if number in (2, 4) else nullcontext():
            load(f"SELECT '{number}-' || i FROM range(50) AS t (i)")
    load("VALUES ('0-7'), ('3-7')", replaced="user_id IN ('0-7', '3-7')")
    for number in range(6, 9):
        load(f"SELECT '{number}-' || i FROM range(50) AS t (i)")
    with jobs.job(home, "reader", {}) as last:
        pass

    def found() -> tuple[int, dict[int, list[list[tuple]]]]:
        """Files of the table, and its rows and their news by state."""
        with warehouse.connect(home, read_only=True) as con:
            files = con.execute("FROM ducklake_list_files('lake', 'users', schema => 'raw')")
            number = len(files.fetchall())
            states = con.execute(
                "SELECT snapshot_id FROM ducklake_snapshots('lake') WHERE snapshot_id > 1"
                " AND snapshot_id <= ? ORDER BY ALL",
                [last.snapshot_read],
            ).fetchall()
            rows = "SELECT user_id FROM raw.users AT (VERSION => {0}) ORDER BY ALL"
            news = "ducklake_table_insertions('lake', 'raw', 'users', {0}, {1})"
            new = f"SELECT snapshot_id, rowid, user_id FROM {news} ORDER BY ALL"
            gone = new.replace("snapshot_id, ", "").replace("insertions", "deletions")
            return number, {
                state: [
                    con.execute(query.format(state, last.snapshot_read)).fetchall()
                    for query in (rows, new, gone)
                ]
                for (state,) in states
            }

    before, content = found()
    assert before == 10
    assert {len(rows) for rows, _, _ in content.values()} >= set(range(50, 500, 50))
    result = CliRunner().invoke(main, ["expire", "--older-than-days", str(days)])
    assert "files that were due (a day after their snapshot went); merged" in result.output, (
        result.output
    )
    after, left = found()
    assert after < before
    assert {len(rows) for rows, _, _ in left.values()} == set(sizes)
    assert left.items() <= content.items()


def test_young_snapshots_stay(home):
    replace_users(home, "a")
    replace_users(home, "b")
    before = states(home)
    assert CliRunner().invoke(main, ["expire"]).exit_code == 0
    assert before.items() <= states(home).items()
