"""Lists for the test user-days: what is missing, and only that, the same each time."""

import json
from datetime import date
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import pytest

from aigq import jobs, warehouse
from aigq.days import EVERY_DAY, Days
from aigq.lists import parse_list
from aigq.models import Model
from aigq.settings import UserError
from inference.eval_lists import _instances, _tables, list_seed

pytestmark = pytest.mark.torch
LISTS = "SELECT * EXCLUDE run_id FROM eval.generated_lists ORDER BY ALL"
GENERATE = ("generate", "lists", "--engine", "transformers", "--seed", "3")


def last_metrics(home, rows_of):
    rows = rows_of(
        home, "SELECT metrics FROM meta.runs WHERE job = 'generate lists' ORDER BY run_id"
    )
    return json.loads(rows[-1]["metrics"])


def test_an_interrupted_job_ends_in_the_same_lists(shop, aigq, rows_of, served_shop):
    aigq(*GENERATE, "--lists", "4", "--instances", "6")
    whole = rows_of(shop, LISTS)
    metrics = last_metrics(shop, rows_of)
    present = {(r["instance_id"], r["list_index"]) for r in whole}
    assert metrics["lists_wanted"] == 24
    assert metrics["malformed_lists"] == 24 - len(present)
    assert metrics["malformed_share"] == pytest.approx(1 - len(present) / 24)
    assert metrics["engine"] == "transformers"
    for _, group in groupby(whole, key=lambda r: (r["instance_id"], r["list_index"])):
        positions = [r["position"] for r in group]
        assert positions == list(range(1, len(positions) + 1))

    assert metrics["is_replayed"] is True

    def forget(con):
        for table in ("generated_lists", "list_draws"):
            con.execute(f"DELETE FROM lake.eval.{table} WHERE md5(instance_id) < '8'")
            con.execute(f"DELETE FROM lake.eval.{table} WHERE list_index = 3")
        con.execute("UPDATE lake.meta.runs SET status = 'running' WHERE job = 'generate lists'")

    warehouse.write(shop, forget)
    aigq(*GENERATE, "--lists", "4", "--instances", "6")
    assert rows_of(shop, LISTS) == whole
    assert last_metrics(shop, rows_of)["malformed"] == metrics["malformed"]


def test_more_lists_and_instances_add_to_those_there(shop, aigq, rows_of):
    aigq(*GENERATE, "--lists", "2", "--instances", "3")
    few = rows_of(shop, LISTS)
    aigq(*GENERATE, "--lists", "3", "--instances", "6")
    many = rows_of(shop, LISTS)
    assert [r for r in many if r in few] == few
    assert {r["list_index"] for r in many} == {0, 1, 2}
    # The first N by md5: growing N keeps the instances there.
    order = rows_of(
        shop, "SELECT instance_id FROM samples.test_user_days ORDER BY md5(instance_id) LIMIT 3"
    )
    assert {r["instance_id"] for r in few} <= {r["instance_id"] for r in order}


def test_nothing_missing_starts_no_engine_and_keeps_the_figures(shop, aigq, rows_of, monkeypatch):
    aigq(*GENERATE, "--lists", "2", "--instances", "4")
    before = last_metrics(shop, rows_of)
    monkeypatch.setattr("inference.list_model.open_engine", lambda *_, **__: pytest.fail("started"))
    out = aigq(*GENERATE, "--lists", "2", "--instances", "4")
    assert "nothing is missing" in out.stderr
    after = last_metrics(shop, rows_of)
    same = ("lists_wanted", "malformed", "malformed_lists", "malformed_share")
    assert [after[name] for name in same] == [before[name] for name in same]


@pytest.mark.parametrize("option", [("--seed", "4"), ("--max-tokens", "20")])
def test_lists_drawn_another_way_are_all_replaced(shop, aigq, rows_of, served_shop, option):
    """Else malformed lists would be drawn again and again until they are not."""
    counts = ("--lists", "3", "--instances", "5")
    aigq(*GENERATE, *counts)
    first = rows_of(shop, LISTS)
    aigq(*GENERATE, *counts, *option)
    (run_id,) = {r["run_id"] for r in rows_of(shop, "SELECT run_id FROM eval.list_draws")}
    found = rows_of(shop, LISTS)
    metrics = last_metrics(shop, rows_of)
    runs = rows_of(shop, "SELECT DISTINCT run_id FROM eval.generated_lists")
    assert runs == [{"run_id": run_id}]
    assert metrics["lists"] == metrics["lists_wanted"] == 15
    assert metrics["malformed_lists"] == 15 - len(
        {(r["instance_id"], r["list_index"]) for r in found}
    )
    # The lists of the last parameters alone, whatever came before.
    aigq(*GENERATE, *counts)
    assert rows_of(shop, LISTS) == first


def test_lists_of_a_context_that_changed_are_replaced(shop, aigq, rows_of):
    aigq(*GENERATE, "--lists", "2", "--instances", "5")
    draws = "SELECT * FROM eval.list_draws ORDER BY ALL"
    before = rows_of(shop, draws)
    changed = before[0]["instance_id"]

    def late_rows(con):
        con.execute(
            "UPDATE lake.samples.test_user_days SET behaviors = behaviors[:1]"
            " WHERE instance_id = ?",
            [changed],
        )

    warehouse.write(shop, late_rows)
    aigq(*GENERATE, "--lists", "2", "--instances", "5")
    after = rows_of(shop, draws)
    keys = {(r["instance_id"], r["list_index"]): r["sampling_key"] for r in before}
    for row in after:
        old = keys.pop((row["instance_id"], row["list_index"]))
        assert (row["sampling_key"] != old) == (row["instance_id"] == changed)
    assert not keys
    assert last_metrics(shop, rows_of)["lists"] == 2


def test_instances_are_counted_within_the_days_asked_for(home):
    def build(con):
        con.execute("CREATE SCHEMA IF NOT EXISTS lake.samples")
        con.execute(
            "CREATE TABLE lake.samples.test_user_days AS SELECT 'u' || i AS instance_id,"
            " DATE '2026-03-01' + (i % 3)::INTEGER AS session_date, 'f' AS gender,"
            " NULL::VARCHAR AS age_band, NULL::VARCHAR AS region, true AS is_replayed,"
            " [{'days_ago': 1, 'action': 'search', 'content_text': 'tent',"
            " 'content_key': 'query:tent'}] AS behaviors FROM range(30) AS t (i)"
        )

    warehouse.write(home, build)

    def instances(count, days):
        with jobs.job(home, "test", {}) as run:
            return {row["instance_id"] for row in _instances(run, count, days)}

    of_day = instances(100, Days.of(date(2026, 3, 2)))
    assert of_day == {f"u{i}" for i in range(1, 30, 3)}
    few = instances(4, Days.of(date(2026, 3, 2)))
    assert len(few) == 4 and few < of_day
    assert len(instances(100, EVERY_DAY)) == 30
    with pytest.raises(UserError, match=r"no row of the days 2026-04-01\.\."):
        instances(1, Days(date(2026, 4, 1)))


def test_lists_of_unknown_origin_are_replaced(shop, aigq, rows_of):
    """Lists that no draw vouches for are not taken for this run's."""
    aigq(*GENERATE, "--lists", "2", "--instances", "4")
    whole = rows_of(shop, LISTS)

    def spoil(con):
        con.execute("DELETE FROM lake.eval.list_draws")
        con.execute("UPDATE lake.eval.generated_lists SET query_text = 'stale'")

    warehouse.write(shop, spoil)
    aigq(*GENERATE, "--lists", "2", "--instances", "4")
    assert rows_of(shop, LISTS) == whole


def test_the_instances_are_those_of_the_snapshot_read(shop, aigq, rows_of, monkeypatch):
    """A dbt run that commits while the job starts changes nothing of it."""
    import inference.eval_lists

    original = inference.eval_lists._instances

    def overtaken(run, count, days):
        warehouse.write(shop, lambda con: con.execute("DELETE FROM lake.samples.test_user_days"))
        return original(run, count, days)

    monkeypatch.setattr("inference.eval_lists._instances", overtaken)
    aigq(*GENERATE, "--lists", "1", "--instances", "3")
    assert len(rows_of(shop, "FROM eval.list_draws")) == 3


def test_a_draw_tells_what_the_list_lost():
    """Repeats that were dropped, and why nothing is left of one."""
    model = SimpleNamespace(model=Model("direct", "1", Path()))
    drawn = [
        ("ann", 0, parse_list("tent\nrope\ntent\nTent", finished=True)),
        ("ann", 1, parse_list("tent\n\nrope", finished=True)),
    ]
    draws, rows = _tables(SimpleNamespace(run_id="r"), model, drawn, {"ann": "k"}, {"ann": "c"})
    shown = ("list_index", "error", "duplicates")
    assert [tuple(draw[name] for name in shown) for draw in draws.to_pylist()] == [
        (0, None, 2),
        (1, "empty_query", 0),
    ]
    assert rows["query_text"].to_pylist() == ["tent", "rope"]


def test_seeds_differ_by_everything_that_names_a_list():
    assert list_seed(0, "a", 0) is None
    seeds = {list_seed(s, i, n) for s in (0, 1) for i in ("a", "b") for n in (1, 2)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
