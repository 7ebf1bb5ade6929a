"""`aigq train ctr` from the command line: days, continuation, what is refused."""

import json
from datetime import date, timedelta

import pytest
import torch
from safetensors.torch import load_file

from aigq import ctr, models, warehouse
from aigq.context import Context
from aigq.days import Days
from aigq.settings import UserError
from training.ctr.job import asked_days, choose_days

pytestmark = pytest.mark.torch

DAYS = {date(2026, 3, 1) + timedelta(days=n): n < 8 for n in range(10)}


def day(number: int) -> date:
    return date(2026, 3, number)


def test_it_trains_on_training_days_and_is_measured_on_later_ones(ctr_home, run_job):
    out = run_job("--epochs", "2")
    model = models.resolve(ctr_home, "ctr")
    manifest = model.manifest
    assert manifest["days_seen"] == [str(day(n)) for n in range(1, 9)]
    assert manifest["train_end_at"] == "2026-03-09T00:00:00+00:00"
    metrics = manifest["metrics"]
    assert metrics["requests"] == 480 and metrics["exposures"] == 1440
    measured = metrics["evaluation"]
    assert measured["days"] == ["2026-03-09", "2026-03-10"]
    assert measured["exposures"] == 360
    assert set(measured["metrics"]) >= {"ctr", "query CTR", "position CTR", "ranker score"}
    low, high = measured["metrics"]["ctr"]["auc"]["interval"]
    assert low < measured["metrics"]["ctr"]["auc"]["value"] < high
    assert sum(row["shown"] for row in measured["calibration"]) == 360
    assert "ranker score" in out and "360 displayed hints of 120 users" in out
    assert not list((ctr_home.models / ".work").glob("ctr-*"))
    (scores,) = ctr.load(ctr_home, "ctr").score([Context()], [["tent", "never seen"]])
    assert ((scores > 0) & (scores < 1)).all()


def test_days_without_a_click_are_measured_as_far_as_they_can_be(ctr_home, run_job, rows_of):
    """NaN is no JSON: in meta.runs it would stop every build that reads the table."""
    clear = "UPDATE lake.samples.samples_ctr SET exposures = list_transform(exposures, lambda e:"
    clear += " struct_update(e, is_clicked := false)) WHERE session_date > DATE '2026-03-08'"
    warehouse.write(ctr_home, lambda con: con.execute(clear))
    run_job("--epochs", "1")
    measured = models.resolve(ctr_home, "ctr").manifest["metrics"]["evaluation"]["metrics"]["ctr"]
    assert measured["auc"] == {"value": None, "interval": [None, None]}
    assert measured["log_loss"]["value"] > 0
    (row,) = rows_of(
        ctr_home,
        "select json_extract_string(metrics, '$.evaluation.clicks') as clicks from meta.runs",
    )
    assert row["clicks"] == "0"


def test_going_on_reads_the_new_days_log_only(ctr_home, run_job):
    """A model that goes on from day 8 with day 9 is the same, whatever days 1 to 8 now hold."""
    run_job("--epochs", "1")
    first = models.resolve(ctr_home, "ctr")
    go_on = ["--continue-from", f"ctr@{first.version}", "--recipe", "daily"]
    run_job(*go_on)
    second = models.resolve(ctr_home, "ctr")
    assert second.manifest["continued_from"] == f"ctr@{first.version}"
    assert second.manifest["days_of_this_run"] == ["2026-03-09"]
    assert second.manifest["days_seen"] == [str(day(n)) for n in range(1, 10)]
    assert second.manifest["metrics"]["evaluation"]["days"] == ["2026-03-10"]
    before, after = (load_file(m.path / ctr.WEIGHTS) for m in (first, second))
    assert not torch.equal(before["judge.0.weight"], after["judge.0.weight"])

    change = "DELETE FROM lake.samples.samples_ctr WHERE session_date < DATE '2026-03-09'"
    warehouse.write(ctr_home, lambda con: con.execute(change))
    run_job(*go_on)
    third = models.resolve(ctr_home, "ctr")
    assert third.version != second.version
    for name, tensor in load_file(third.path / ctr.WEIGHTS).items():
        assert torch.equal(tensor, after[name]), name

    refused = run_job(
        "--continue-from", f"ctr@{second.version}", "--days", "2026-03-09..", fails=True
    )
    assert "the model has seen days up to 2026-03-09" in refused
    last = run_job("--continue-from", f"ctr@{second.version}", "--recipe", "daily")
    assert "not measured: the log ends with 2026-03-10" in last
    go_on[1] = "ctr"
    beyond = run_job(*go_on, fails=True)
    assert "no displayed hint on the days asked for after 2026-03-10" in beyond


def test_going_on_is_a_step_from_the_old_weights(ctr_home, run_job):
    """With a rate of next to nothing the continued model is the old one."""
    run_job("--epochs", "1")
    first = models.resolve(ctr_home, "ctr")
    tiny = ["--learning-rate", "1e-12", "--features-learning-rate", "1e-12"]
    run_job("--continue-from", "ctr", "--recipe", "daily", *tiny)
    before, after = (
        load_file(m.path / ctr.WEIGHTS) for m in (first, models.resolve(ctr_home, "ctr"))
    )
    for name, tensor in before.items():
        assert torch.allclose(tensor, after[name], atol=1e-6), name


def test_a_killed_run_goes_on_where_it_was(ctr_home, run_job, monkeypatch):
    from training.ctr import trainer

    class Killed(BaseException):
        pass

    run_job("--epochs", "2", "--seed", "3")
    whole = load_file(models.resolve(ctr_home, "ctr").path / ctr.WEIGHTS)
    # The same run elsewhere than in the version that is there: another key, the same numbers.
    original, steps = trainer.click_loss, iter(range(13))

    def dies(*arguments):
        if next(steps, None) is None:
            raise Killed
        return original(*arguments)

    again = ["--epochs", "2", "--seed", "3", "--checkpoint-steps", "5"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer, "click_loss", dies)
        run_job(*again)
    assert len(models.versions(ctr_home, "ctr")) == 1
    out = run_job(*again)
    assert "at step 10" in out
    assert len(models.versions(ctr_home, "ctr")) == 2
    for name, tensor in load_file(models.resolve(ctr_home, "ctr").path / ctr.WEIGHTS).items():
        assert torch.equal(tensor, whole[name]), name


def test_what_cannot_be_learned_from_is_refused(ctr_home, run_job):
    assert "width 8 is no multiple of heads 3" in run_job("--heads", "3", fails=True)
    clear = "UPDATE lake.samples.samples_ctr SET exposures = list_transform(exposures, lambda e:"
    clear += " struct_update(e, is_clicked := false)) WHERE session_date < DATE '2026-03-09'"
    warehouse.write(ctr_home, lambda con: con.execute(clear))
    assert "0 of 1440 displayed hints were clicked" in run_job(fails=True)
    warehouse.write(ctr_home, lambda con: con.execute("DELETE FROM lake.samples.samples_ctr"))
    assert "the log holds no displayed hint" in run_job(fails=True)
    warehouse.write(ctr_home, lambda con: con.execute("DROP TABLE lake.samples.samples_ctr"))
    assert "run `dbt build` first" in run_job(fails=True)


def test_only_a_ctr_model_can_be_gone_on_from(ctr_home, run_job):
    folder = ctr_home.models / "direct" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"job": "train sft"}))
    refused = run_job("--continue-from", "direct", fails=True)
    assert "direct@v1 is no model of `aigq train ctr`" in refused


@pytest.mark.parametrize(
    ("days", "until", "asked"),
    [
        (None, None, Days()),
        ("2026-03-01..2026-03-04", None, Days(day(1), day(4))),
        ("2026-03-02..", None, Days(day(2), None)),
        ("2026-03-02", None, Days.of(day(2))),
        (None, "2026-03-04", Days(None, day(4))),
    ],
)
def test_days_as_they_are_asked_for(days, until, asked):
    assert asked_days(days, until) == asked


@pytest.mark.parametrize(
    ("days", "until", "says"),
    [
        ("March", None, "--days: expected A..B"),
        ("2026-03-01..March", None, "--days: expected days as YYYY-MM-DD"),
        (None, "tomorrow", "--until: expected days as YYYY-MM-DD"),
        ("2026-03-04..2026-03-01", None, "2026-03-04 is after 2026-03-01"),
        ("2026-03-01..2026-03-02", "2026-03-04", "not both"),
    ],
)
def test_days_that_are_none(days, until, says):
    with pytest.raises(UserError, match=says):
        asked_days(days, until)


@pytest.mark.parametrize(
    ("asked", "seen", "first", "last"),
    [
        (Days(), [], 1, 8),
        (Days(None, day(9)), [], 1, 9),
        (Days(day(3), day(5)), [], 3, 5),
        (Days(), [day(8)], 9, 9),
        (Days(None, day(10)), [day(8)], 9, 10),
    ],
)
def test_days_that_are_chosen(asked, seen, first, last):
    assert choose_days(DAYS, asked, seen) == [day(n) for n in range(first, last + 1)]


@pytest.mark.parametrize(
    ("asked", "seen", "says"),
    [
        (Days(day(8), day(9)), [day(8)], "goes on from the day after, not from 2026-03-08"),
        (Days(None, day(7)), [day(8)], "2026-03-07 already"),
        (Days(day(10), None), [day(8)], "would leave out 2026-03-09 for good: begin there"),
        (Days(day(20), None), [], "the log has days 2026-03-01 to 2026-03-10"),
    ],
)
def test_days_that_are_refused(asked, seen, says):
    with pytest.raises(UserError, match=says):
        choose_days(DAYS, asked, seen)
