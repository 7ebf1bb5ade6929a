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
    assert shop.ingest().exit_code == 0
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
