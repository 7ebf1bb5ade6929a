"""Killed at any moment and run again, ingest ends in the tables of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.e2e

# The command with one of its functions replaced by one that kills the process on its n-th call.
_KILLED_IN = """
import os, signal, sys
from aigq import cli, warehouse
from aigq.ingest import judge, stage

module, name, when, calls = {place!r}
module = {{"judge": judge, "stage": stage, "warehouse": warehouse}}[module]
work = getattr(module, name)

def killed(*args, **kwargs):
    global calls
    calls -= 1
    if when == "before" and calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    result = work(*args, **kwargs)
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(module, name, killed)
cli.main()
"""

PLACES = {
    "while reading": ("stage", "add_rows", "before", 3),
    "in the transaction, all tables written": ("judge", "write", "after", 5),
    # The second write of a run is the one that commits the rows; the third closes the run.
    "after the commit": ("warehouse", "write", "after", 2),
}


def _run(shop, code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code, "ingest", str(shop.landing)],
        env=os.environ | {"AIGQ_HOME": str(shop.home.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def changed_rows(rows):
    """Rows of every outcome, to be ingested over the good ones."""
    rows["users"][0]["region"] = "east"
    rows["events"][0]["action"] = "dance"
    rows["events"].append(rows["events"][1] | {"event_id": "e6"})
    rows["hint_candidates"][0]["query_text"] = "cup"
    return rows


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_killed_at_a_certain_place(shop, changed_rows, tmp_path_factory, place):
    undisturbed = type(shop)(tmp_path_factory.mktemp("undisturbed"))
    for each in (shop, undisturbed):
        each.put_shop()
        assert each.ingest().exit_code == 0
        each.put_shop(**changed_rows)
    assert undisturbed.ingest().exit_code == 0

    before = shop.tables()
    assert _run(shop, _KILLED_IN.format(place=place)).wait() == -signal.SIGKILL
    assert shop.tables() == (undisturbed.tables() if place[0] == "warehouse" else before)
    assert (shop.home.cache / "ingest").is_dir(), "the killed one staged there"
    assert shop.ingest().exit_code == 0
    assert not (shop.home.cache / "ingest").exists()
    assert shop.tables() == undisturbed.tables()
    statuses = shop.query("SELECT status FROM meta.runs ORDER BY started_at")
    assert [s for (s,) in statuses] == ["succeeded", "running", "succeeded"]


def test_killed_at_any_moment(shop, changed_rows, tmp_path_factory):
    undisturbed = type(shop)(tmp_path_factory.mktemp("undisturbed"))
    for each in (shop, undisturbed):
        each.put_shop(**changed_rows)
    started = time.monotonic()
    assert _run(undisturbed, "from aigq import cli; cli.main()").wait() == 0
    took = time.monotonic() - started
    chance = random.Random(0)
    for _ in range(3):
        process = _run(shop, "from aigq import cli; cli.main()")
        time.sleep(took * chance.uniform(0.3, 1.0))
        process.kill()
        process.wait()
    assert shop.ingest().exit_code == 0
    assert shop.tables() == undisturbed.tables()
    assert shop.counts(shop.ingest())["users"] == (2, 0, 0, 0, 2)


def test_two_ingests_at_once_load_each_row_once(shop):
    shop.put_shop()
    processes = [_run(shop, "from aigq import cli; cli.main()") for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert shop.query("SELECT count(*), count(DISTINCT event_id) FROM raw.events") == [(5, 5)]
    assert shop.query("SELECT count(*) FROM meta.runs WHERE status = 'succeeded'") == [(3,)]


def _put_day(shop, encoded, rows, number: int) -> None:
    """A day's files: new rows of every table, a user who moved, and rows that are quarantined."""
    event, request, candidate = (rows[t][0] for t in ("events", "hint_requests", "hint_candidates"))
    events = [event | {"event_id": f"day{number}-{n}"} for n in range(3000)]
    events += [event | {"event_id": f"day{number}-x", "action": "dance"}]
    # The key of an earlier day with other content.
    events += [event | {"event_id": f"day{number - 1}-7", "user_id": "u2"}]
    requests = [request | {"request_id": f"day{number}-{n}"} for n in range(300)]
    day = {
        "events": events,
        "hint_requests": requests,
        "hint_candidates": [candidate | {"request_id": r["request_id"]} for r in requests],
        "items": [rows["items"][0] | {"item_id": f"new{number}"}],
    }
    for table, of_day in day.items():
        shop.put(f"{table}/day-{number:02}.csv", encoded(of_day, table, "csv"))
    users = [rows["users"][0] | {"region": f"region {number}"}, *rows["users"][1:]]
    shop.put_rows("users", users)


@pytest.mark.slow
def test_killed_every_day(shop, rows, encoded, tmp_path_factory):
    """A day's files arrive, the ingest of them is killed, the next one finishes: 50 days in a row,
    the moments spread over the whole run."""
    days = 50
    undisturbed = type(shop)(tmp_path_factory.mktemp("undisturbed"))
    for each in (shop, undisturbed):
        each.put_shop()
        assert each.ingest().exit_code == 0
    command = "from aigq import cli; cli.main()"
    chance = random.Random(0)
    order = chance.sample(range(days), days)
    states = []
    for number in range(days):
        for each in (shop, undisturbed):
            _put_day(each, encoded, rows, number)
        before = shop.tables()
        started = time.monotonic()
        assert _run(undisturbed, command).wait() == 0
        took = time.monotonic() - started
        after = undisturbed.tables()
        assert after != before

        process = _run(shop, command)
        time.sleep(took * (order[number] + chance.random()) / days)
        process.kill()
        ended = process.wait()
        state = "before" if shop.tables() == before else "after"
        assert state == "before" or shop.tables() == after, f"half of day {number}"
        states.append((ended, state))
        assert _run(shop, command).wait(timeout=60 + 20 * took) == 0
        assert shop.tables() == after, f"day {number}"
    runs = shop.query("SELECT status, finished_at IS NULL FROM meta.runs")
    # Killed before its row was written, in between, and after the last of its writes.
    assert set(runs) <= {("succeeded", False), ("running", True)}
    assert len(runs) <= 1 + 2 * days
    killed = [ended for ended, _ in states].count(-signal.SIGKILL)
    assert killed > days / 2
    assert runs.count(("running", True)) > days / 4, states
