"""Lists for the test user-days: what is missing, and only that, the same each time."""

import json
from itertools import groupby

import pytest

from inference.eval_lists import list_seed

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

    def forget(con):
        con.execute("DELETE FROM lake.eval.generated_lists WHERE md5(instance_id) < '8'")
        con.execute("DELETE FROM lake.eval.generated_lists WHERE list_index = 3")
        con.execute("UPDATE lake.meta.runs SET status = 'running' WHERE job = 'generate lists'")

    from aigq import warehouse

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
    monkeypatch.setattr("inference.direct.open_engine", lambda *_, **__: pytest.fail("started"))
    out = aigq(*GENERATE, "--lists", "2", "--instances", "4")
    assert "nothing is missing" in out.stderr
    assert last_metrics(shop, rows_of) == before


def test_seeds_differ_by_everything_that_names_a_list():
    assert list_seed(0, "a", 0) is None
    seeds = {list_seed(s, i, n) for s in (0, 1) for i in ("a", "b") for n in (1, 2)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
