"""u2q: contexts as they were, malformed lists never served, killed and started again."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import duckdb
import pytest

from aigq import features, models, warehouse
from aigq.context import Behavior
from aigq.settings import PROJECT_ROOT
from inference.direct import DirectModel
from inference.engines import Completion

ALL = ("generate", "u2q", "--all", "--engine", "transformers")


class Scripted:
    """An engine that writes what it is told, and remembers its prompts."""

    name = "scripted"

    def __init__(self, texts):
        self.texts, self.prompts = iter(texts), []

    def generate(self, requests, _sampling):
        self.prompts += [r.prompt for r in requests]
        return [Completion(*next(self.texts), 3) for _ in requests]

    def close(self):
        pass


@pytest.fixture
def script(monkeypatch):
    """``script((text, finished), ...)``: what the engine writes, in order of user id."""

    def install(*texts):
        engine = Scripted(texts)
        monkeypatch.setattr("inference.list_model.open_engine", lambda *_, **__: engine)
        return engine

    return install


def online(home, user):
    return features.read_online(
        features.open_store(home), "hint_recall", {"user_id": user, "surface": "home"}
    )["u2q__queries"]


RUNS = "SELECT user_id, position, query_text, generated_at FROM serving.u2q_runs ORDER BY ALL"


@pytest.mark.torch
def test_malformed_lists_are_counted_by_class_and_never_served(shop, aigq, script, rows_of):
    script(
        ("Red Shoes\nred  shoes\nblue lamp", True),
        ("scarf\n\nlamp", True),
        ("scarf\nlam", False),
        ("x" * 101, True),
        ("lamp", True),
    )
    out = aigq(*ALL)
    assert [(r["user_id"], r["position"], r["query_text"]) for r in rows_of(shop, RUNS)] == [
        ("u1", 1, "red shoes"),
        ("u1", 2, "blue lamp"),
        ("u6", 1, "lamp"),
    ]
    assert online(shop, "u1") == ["red shoes", "blue lamp"]
    assert online(shop, "u6") == ["lamp"]
    assert [online(shop, u) for u in ("u2", "u3", "u4")] == [None] * 3
    (run,) = rows_of(shop, "SELECT metrics FROM meta.runs WHERE job = 'generate u2q'")
    metrics = json.loads(run["metrics"])
    assert metrics["malformed"] == {"empty_query": 1, "long_query": 1, "truncated": 1}
    assert (metrics["lists"], metrics["duplicates"], metrics["engine"]) == (5, 1, "scripted")
    assert "3 malformed (60.0%: 1 empty_query, 1 long_query, 1 truncated)" in out.stderr


@pytest.mark.torch
def test_contexts_are_those_of_the_moment(shop, aigq, monkeypatch):
    seen = {}

    def generate(_self, contexts, seeds):
        seen.update(enumerate(contexts))
        return [[] for _ in seeds]

    monkeypatch.setattr(DirectModel, "start", lambda _: None)
    monkeypatch.setattr(DirectModel, "generate", generate)
    # 2026-03-02 16:00 UTC is the 3rd, 01:00, in Tokyo. u1's behaviour of the 3rd, 09:00 UTC, is
    # later; the one of the 2nd, 18:00 in Tokyo, was yesterday.
    with pytest.raises(AssertionError):
        aigq("generate", "u2q", "--users", "u1,u5", "--now", "2026-03-02T16:00:00")
    assert seen[0].profile == ("25-34", "f", "north")
    assert seen[0].behaviors == (
        Behavior(2, "search", "blue lamp"),
        Behavior(2, "item_click", seen[0].behaviors[1].content_text),
        Behavior(1, "search", "scarf u1"),
        Behavior(1, "item_click", seen[0].behaviors[3].content_text),
    )
    assert "Chair" in seen[0].behaviors[1].content_text
    assert seen[1].behaviors == () and seen[1].profile == ("35-44", "f", "north")


@pytest.mark.torch
def test_a_behaviour_at_the_moment_itself_is_not_seen(shop, aigq, script):
    engine = script(("a", True), ("a", True))
    aigq("generate", "u2q", "--users", "u1", "--now", "2026-03-01T09:00:00Z")
    aigq("generate", "u2q", "--users", "u1", "--now", "2026-03-01T09:00:00.000001Z")
    assert len(engine.prompts[0]) < len(engine.prompts[1])


@pytest.mark.torch
def test_running_again_neither_doubles_nor_generates(shop, aigq, rows_of, monkeypatch):
    aigq(*ALL)
    before = rows_of(shop, RUNS)
    done = {row["user_id"] for row in before}
    assert done, "the tiny model writes at least one readable list"
    monkeypatch.setattr("inference.list_model.open_engine", lambda *_, **__: pytest.fail("started"))
    aigq("generate", "u2q", "--users", ",".join(done))
    assert rows_of(shop, RUNS) == before
    con = duckdb.connect()
    exported = con.sql(f"SELECT user_id, queries FROM '{shop.features}/u2q.parquet'").fetchall()
    assert Counter(u for u, _ in exported) == Counter(done)
    for user, queries in exported:
        assert online(shop, user) == queries


@pytest.mark.torch
def test_the_newest_list_stays_online(shop, aigq, script, publish_tiny):
    script(("new", True), ("old", True), ("another model", True))
    aigq("generate", "u2q", "--users", "u1")
    aigq("generate", "u2q", "--users", "u1", "--now", "2026-03-03")
    assert online(shop, "u1") == ["new"]
    publish_tiny(shop, "v2")
    aigq("generate", "u2q", "--users", "u1")
    assert online(shop, "u1") == ["another model"]
    con = duckdb.connect()
    history = con.sql(f"SELECT queries FROM '{shop.features}/u2q.parquet' ORDER BY 1").fetchall()
    assert history == [(["another model"],), (["old"],)], "one row per user and time"


@pytest.mark.torch
def test_an_older_model_asked_for_again_is_served_again(shop, aigq, script, publish_tiny, rows_of):
    """Rolling back: same moment, the model asked for last."""
    script(("first", True), ("second", True), ("first", True), ("second", True))
    publish_tiny(shop, "v2")
    for model, text in (("v1", "first"), ("v2", "second"), ("v1", "first"), ("v2", "second")):
        aigq("generate", "u2q", "--users", "u1", "--model", f"direct@{model}")
        assert online(shop, "u1") == [text]
        time.sleep(1)  # Run ids are ordered by second.
    assert len(rows_of(shop, "SELECT DISTINCT run_id FROM serving.u2q_runs")) == 4


@pytest.mark.torch
def test_a_late_row_makes_its_users_list_anew(shop, aigq, script, rows_of):
    """The moment is the same, the context is not: the newer run's list counts."""
    script(*[("early", True)] * 5)
    aigq(*ALL)
    (first,) = {r["run_id"] for r in rows_of(shop, "SELECT run_id FROM serving.u2q_runs")}

    def late(con):
        con.execute(
            "UPDATE lake.behavior.behavior_events SET query_text = 'late' WHERE user_id = 'u2'"
            " AND behavior_order = (SELECT max(behavior_order) FROM lake.behavior.behaviors"
            " WHERE user_id = 'u2')"
        )

    warehouse.write(shop, late)
    time.sleep(1)  # Run ids are ordered by second.
    engine = script(("late", True))
    aigq(*ALL)
    assert len(engine.prompts) == 1
    lists = rows_of(shop, "SELECT user_id, run_id, query_text FROM serving.u2q_runs ORDER BY ALL")
    assert sum(r["run_id"] == first for r in lists) == 5
    (new,) = [r for r in lists if r["run_id"] != first]
    assert (new["user_id"], new["query_text"]) == ("u2", "late")
    assert [online(shop, u) for u in ("u1", "u2")] == [["early"], ["late"]]
    engine = script()
    aigq(*ALL)
    assert len(rows_of(shop, RUNS)) == 6 and not engine.prompts


@pytest.mark.torch
def test_the_export_waits_for_its_turn(shop, aigq, script, monkeypatch):
    """Of two jobs the one that renames last has read last."""
    export = warehouse.export_parquet

    def held(*arguments):
        lock = shop.catalog.with_name("write.lock")
        with lock.open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return export(*arguments)

    monkeypatch.setattr(warehouse, "export_parquet", held)
    script(("tea", True))
    aigq("generate", "u2q", "--users", "u1")
    assert online(shop, "u1") == ["tea"]


@pytest.mark.torch
@pytest.mark.e2e
@pytest.mark.parametrize(
    "where", ["push_online", pytest.param("export_parquet", marks=pytest.mark.slow)]
)
def test_killed_after_the_commit_and_run_again(shop, aigq, rows_of, where):
    """The lake has the lists, the online store (or the export) does not: running again heals."""
    module = {"push_online": "features", "export_parquet": "warehouse"}[where]
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, sys; from aigq import {module}\n"
            f"{module}.{where} = lambda *_: os.kill(os.getpid(), 9)\n"
            "from aigq.cli import main; main(sys.argv[1:])",
            *ALL,
        ],
        cwd=PROJECT_ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    committed = rows_of(shop, RUNS)
    assert committed
    user = committed[0]["user_id"]
    assert (online(shop, user) is None) == (where == "push_online")
    aigq(*ALL)
    assert rows_of(shop, RUNS) == committed
    assert online(shop, user) == [r["query_text"] for r in committed if r["user_id"] == user]
    exported = duckdb.sql(f"SELECT count(*) FROM '{shop.features}/u2q.parquet'").fetchone()[0]
    assert exported == len({r["user_id"] for r in committed})
    states = rows_of(
        shop, "SELECT status FROM meta.runs WHERE job = 'generate u2q' ORDER BY run_id"
    )
    assert [s["status"] for s in states] == ["running", "succeeded"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "u1,nobody,u2"], "the shop knows no user 'nobody'"),
        (["--users", " , "], "expected user ids separated by commas"),
        ([], "expected either --users ID,ID... or --all"),
        (["--all", "--users", "u1"], "expected either --users ID,ID... or --all"),
        (["--all", "--now", "yesterday"], "expected an ISO 8601 time"),
        (["--all", "--now", "2020-01-01"], "no user has a behaviour before 2020-01-01"),
        (["--all", "--model", "think"], "no model 'think'"),
    ],
)
def test_bad_requests(shop, aigq, rows_of, arguments, message):
    with pytest.raises(AssertionError, match=message):
        aigq("generate", "u2q", *arguments)
    assert rows_of(shop, RUNS) == []


def test_a_model_that_writes_no_lists(shop, aigq):
    manifest = models.resolve(shop, "direct").path / "manifest.json"
    manifest.write_text(json.dumps({"name": "direct", "version": "v1", "settings": {}}))
    with pytest.raises(AssertionError, match="writes no lists: its manifest has no setting"):
        aigq(*ALL)
