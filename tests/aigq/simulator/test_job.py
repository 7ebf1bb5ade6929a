import json

import duckdb
import pytest
import yaml
from click.testing import CliRunner

from aigq import warehouse
from aigq.cli import main
from aigq.settings import Home


def _run(*arguments, home):
    return CliRunner().invoke(main, ["simulate", "--home", str(home), *arguments])


@pytest.mark.e2e
def test_command_writes_to_the_landing_folder_and_records_its_run(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    result = _run("--users", "50", "--days", "3", "--seed", "5", home=tmp_path)
    assert result.exit_code == 0, result.output
    events = duckdb.sql(f"from '{tmp_path}/landing/events.parquet'").fetchall()
    con = warehouse.connect(Home(tmp_path), read_only=True)
    job, status, parameters, metrics = con.execute(
        "select job, status, parameters, metrics from meta.runs"
    ).fetchone()
    assert (job, status) == ("simulate", "succeeded")
    assert json.loads(parameters)["seed"] == 5
    assert json.loads(parameters)["repeat_share"] == 0.35
    assert json.loads(metrics)["rows"]["events"] == len(events) > 0
    assert f"events.parquet ({len(events):,} rows)" in result.output


@pytest.mark.e2e
def test_a_preset_file_with_sizes_over_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    mine = tmp_path / "mine.yaml"
    mine.write_text("users: 70\ndays: 3\nrepeat_share: 0.2\n")
    result = _run("--preset", str(mine), "--days", "2", home=tmp_path)
    assert result.exit_code == 0, result.output
    settings = yaml.safe_load((tmp_path / "landing/truth/settings.yaml").read_text())
    assert (settings["users"], settings["days"], settings["repeat_share"]) == (70, 2, 0.2)
    con = warehouse.connect(Home(tmp_path), read_only=True)
    (parameters,) = con.execute("select parameters from meta.runs").fetchone()
    assert json.loads(parameters)["preset"] == str(mine)


def test_unknown_presets_are_told_which_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    result = _run("--preset", "loyal", home=tmp_path)
    assert result.exit_code == 1
    assert "default, high_loyalty, low_loyalty, paper" in result.output


def test_impossible_sizes_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    result = _run("--days", "0", home=tmp_path)
    assert result.exit_code == 1
    assert "days" in result.output
    assert list(tmp_path.iterdir()) == []
