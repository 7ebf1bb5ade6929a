"""`dbt build` killed at any moment and run again ends in the tables of an undisturbed build."""

import os
import random
import shutil
import signal
import subprocess
import time
from itertools import pairwise

import pytest
from dbt_reference import as_built

from aigq import warehouse
from aigq.settings import Home

KILLS = 25

# The next build's models; that its tests pass again is not in question here.
MODELS = ("build", "--exclude-resource-type", "test")


def _contents(home: Home) -> dict[str, tuple]:
    """Number of rows and the sum of their hashes, of every table, view and exported feature.

    Without two tables that tell about runs, not about the shop: meta.runs, where each run has a row
    of its own, and staging.changed_user_days, what the newest run built (nothing, where the killed
    one had finished). Of others, the columns that tell when a feature was built are left out.
    """
    con = warehouse.connect(home, read_only=True)
    tables = con.execute(
        "select table_schema || '.' || table_name from information_schema.tables"
        " where table_catalog = 'lake' and table_schema || '.' || table_name"
        " not in ('meta.runs', 'staging.changed_user_days')"
    ).fetchall()
    names = [name for (name,) in tables] + [f"'{path}'" for path in home.features.glob("*.parquet")]
    found = {
        name: con.execute(f"select count(*), sum(hash(t)) from ({as_built(name)}) as t").fetchone()
        for name in names
    }
    con.close()
    return found


def _runs(rows_of, home: Home) -> list[tuple]:
    rows = rows_of(home, "from meta.runs order by started_at")
    return [(row["run_id"], row["status"], row["finished_at"] is None) for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("asked", [(), ("--full-refresh",)], ids=["one more day", "all days anew"])
def test_killed_at_any_moment(
    growing_shop, tmp_path, insert_raw, run_dbt, start_dbt, rows_of, asked
):
    """The moments are spread over a whole build: starting up, models, tests, exports, the end. The
    next one is not told what the killed one was asked for."""
    built, (day, _), variables = growing_shop
    home = Home(tmp_path / "home")

    def day_before() -> None:
        shutil.rmtree(home.root, ignore_errors=True)
        shutil.copytree(built.root, home.root)
        insert_raw(home, **day)

    day_before()
    run_dbt(home, "parse", variables=variables)
    before = _contents(home)
    shutil.copytree(home.root / "target", tmp_path / "target")
    process = start_dbt(
        home, "build", *asked, variables=variables, stdout=subprocess.PIPE, text=True
    )
    said_at = [time.monotonic(), *(time.monotonic() for _ in process.stdout)]
    assert process.wait() == 0
    # From each line, and from the start, to the next: a model's work and its commit are silent.
    stretches = [later - at for at, later in pairwise(said_at)]
    undisturbed = _contents(home)
    changed = [name for name in undisturbed if undisturbed[name] != before.get(name)]
    assert len(changed) > 15, "a day that changes nothing proves nothing"

    chance = random.Random(0)
    outcomes = []
    # Each stretch of the build once, in any order.
    for number in chance.sample(range(KILLS), KILLS):
        day_before()
        shutil.rmtree(home.root / "target")
        shutil.copytree(tmp_path / "target", home.root / "target")
        runs = _runs(rows_of, home)
        # By what the build has said, not by the clock alone: builds differ by a factor of two.
        line = int(len(stretches) * (number + chance.random()) / KILLS)
        log = tmp_path / f"killed-{number}.log"
        with log.open("w") as output:
            process = start_dbt(
                home, "build", *asked, variables=variables, stdout=output, start_new_session=True
            )
            while process.poll() is None and len(log.read_text().splitlines()) < line:
                time.sleep(0.002)
            time.sleep(chance.random() * stretches[line])
            os.killpg(process.pid, signal.SIGKILL)
            ended = process.wait()
        said = f"killed at line {line} of {len(stretches)}: {log.read_text().splitlines()[-1:]}"
        killed = _runs(rows_of, home)[len(runs) :]
        if ended == -signal.SIGKILL:
            assert [run[1:] for run in killed] in ([], [("running", True)], [("succeeded", False)])
        outcomes.append([ended, *(status for _, status, _ in killed)])

        again = run_dbt(home, *MODELS, variables=variables)
        assert "waiting for another writer" not in again.stdout + again.stderr, said
        assert _contents(home) == undisturbed, said
        after = _runs(rows_of, home)
        print(said, outcomes[-1], flush=True)
        # Those of kills before, in the shop that is put back, do not come again.
        told = [(run, "killed" if s == "running" else s, end) for run, s, end in killed]
        assert after[: len(runs) + len(killed)] == runs + told, said
        assert [run[1:] for run in after[len(runs) + len(killed) :]] == [("succeeded", False)], said
    # Some come before its row in meta.runs, some after its end.
    assert sum(outcome == [-signal.SIGKILL, "running"] for outcome in outcomes) > KILLS / 2
