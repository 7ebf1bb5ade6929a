"""Every job leaves a row in meta.runs, whatever becomes of it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from aigq import jobs, warehouse


def _runs(home) -> list[dict]:
    con = warehouse.connect(home, read_only=True)
    cursor = con.execute("SELECT * FROM lake.meta.runs ORDER BY started_at")
    rows = [
        dict(zip([c[0] for c in cursor.description], r, strict=True)) for r in cursor.fetchall()
    ]
    con.close()
    return rows


def _write(home) -> None:
    warehouse.write(
        home, lambda con: con.execute("INSERT INTO lake.raw.users (user_id) VALUES (1)")
    )


def test_a_job_that_succeeds(home, capsys):
    with jobs.job(home, "train base", {"seed": 1, "path": home.root}) as run:
        assert [row["status"] for row in _runs(home)] == ["running"]
        _write(home)
        run.metrics["loss"] = 0.5
        run.read("lake.raw.items", 1234)
        run.wrote("models/base")
        run.wrote("lake.raw.users", 1)
    (row,) = _runs(home)
    assert row["run_id"] == run.run_id
    assert "train-base" in run.run_id
    assert (row["job"], row["status"]) == ("train base", "succeeded")
    assert json.loads(row["parameters"]) == {"seed": 1, "path": str(home.root)}
    assert json.loads(row["metrics"]) == {"loss": 0.5}
    assert row["started_at"] <= row["finished_at"]
    assert row["code_version"] == jobs.code_version()
    # The rows it read and the rows it wrote can be told apart by snapshot.
    con = warehouse.connect(home, read_only=True)
    for snapshot, users in ((row["snapshot_read"], 0), (row["snapshot_written"], 1)):
        sql = f"SELECT count(*) FROM raw.users AT (VERSION => {snapshot})"
        assert con.execute(sql).fetchone() == (users,)
    con.close()
    assert capsys.readouterr().err == (
        f"train base: done, run {run.run_id}\n"
        "  read  lake.raw.items (1,234 rows)\n"
        "  wrote models/base\n"
        "  wrote lake.raw.users (1 row)\n"
    )


@pytest.mark.parametrize("error", [ValueError("bad row 7"), KeyboardInterrupt()])
def test_a_job_that_fails(home, capsys, error):
    with pytest.raises(type(error)), jobs.job(home, "ingest", {}) as run:
        run.metrics["rows"] = 3
        raise error
    (row,) = _runs(home)
    assert row["status"] == "failed"
    assert json.loads(row["metrics"]) == {"rows": 3, "error": f"{type(error).__name__}: {error}"}
    assert row["finished_at"] is not None
    assert "done" not in capsys.readouterr().err


def test_why_a_job_failed_is_not_hidden_by_a_failure_to_record_it(home, capsys):
    with pytest.raises(ValueError, match="bad row 7"), jobs.job(home, "ingest", {}) as run:
        run.metrics[("no", "JSON")] = 1
        raise ValueError("bad row 7")
    assert "ingest: could not record the failure: keys must be str" in capsys.readouterr().err
    assert [row["status"] for row in _runs(home)] == ["running"]


def test_a_killed_job_stays_running_and_the_next_has_a_row_of_its_own(home):
    code = (
        "import os, signal\nfrom aigq import jobs\nfrom aigq.settings import Home\n"
        "with jobs.job(Home.from_environment(), 'ingest', {}):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"AIGQ_HOME": str(home.root)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with jobs.job(home, "ingest", {}):
        pass
    rows = _runs(home)
    assert [row["status"] for row in rows] == ["running", "succeeded"]
    assert rows[0]["finished_at"] is None
    assert rows[0]["run_id"] != rows[1]["run_id"]


def test_code_version_outside_of_a_checkout(monkeypatch, tmp_path):
    from aigq import __version__

    monkeypatch.setattr(jobs, "PROJECT_ROOT", tmp_path)
    assert jobs.code_version.__wrapped__() == __version__
