import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aigq.settings import UserError
from aigq.simulator.job import simulate
from aigq.simulator.landing import SCHEMAS, publish
from aigq.simulator.settings import ShopSettings

TINY = ShopSettings(users=50, days=3)
CONTRACT = {
    "users": "user_id age_band gender region registered_at",
    "items": "item_id title leaf_category_id leaf_category category_path brand attributes"
    " tags price",
    "events": "event_id user_id occurred_at action query_text item_id quantity price",
    "hint_requests": "request_id user_id requested_at",
    "hint_candidates": "request_id rank query_text rank_score recall_source displayed position"
    " clicked_at",
}


FILES = sorted([*(f"{table}.parquet" for table in CONTRACT), "truth"])


def _bytes(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_columns_and_types_are_the_contract(tmp_path):
    rows = simulate(TINY, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
    for table, columns in CONTRACT.items():
        written = pq.read_table(tmp_path / f"{table}.parquet")
        assert written.schema.names == columns.split()
        assert written.schema == SCHEMAS[table]
        assert len(written) == rows[table] > 0
        for name in columns.split():
            if name.endswith("_at"):
                assert written.schema.field(name).type == pa.timestamp("us", tz="UTC")


def test_same_seed_same_bytes_and_another_seed_another_shop(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        simulate(ShopSettings(users=80, days=3, seed=seed), folder)
    one, again, other = map(_bytes, folders)
    assert one == again
    assert all(one[name] != other[name] for name in one)


def test_the_log_is_the_same_on_a_processor_with_fewer_instructions(tmp_path):
    """numpy sorts and sums by whatever instructions there are. (What is in truth/ may differ in its
    last digits.)"""
    features = np._core._multiarray_umath
    beyond = [name for name in features.__cpu_dispatch__ if features.__cpu_features__[name]]
    if not beyond:
        pytest.skip("this processor has no instructions that numpy can leave out")
    command = "from pathlib import Path; from aigq.simulator.job import simulate\n"
    command += "from aigq.simulator.settings import ShopSettings\n"
    for name, without in (("all", []), ("fewer", beyond)):
        call = f"simulate(ShopSettings(users=800, days=8), Path({str(tmp_path / name)!r}))"
        subprocess.run(
            [sys.executable, "-c", command + call],
            check=True,
            capture_output=True,
            env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(without)},
        )
    one, other = (_bytes(tmp_path / name) for name in ("all", "fewer"))
    assert [name for name in one if one[name] != other[name] and "truth" not in name] == []


def test_a_new_run_replaces_the_old_one(tmp_path):
    simulate(ShopSettings(users=60, days=2), tmp_path / "a")
    simulate(TINY, tmp_path / "a")
    simulate(TINY, tmp_path / "b")
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")


def test_a_failed_run_leaves_the_old_files(tmp_path):
    simulate(TINY, tmp_path)
    before = _bytes(tmp_path)
    with pytest.raises(RuntimeError), publish(tmp_path) as partial:
        (partial / "events.parquet").write_bytes(b"half")
        raise RuntimeError
    assert _bytes(tmp_path) == before


@pytest.mark.parametrize("moved", range(6))
def test_events_are_there_only_with_all_they_refer_to(tmp_path, monkeypatch, moved):
    """Stopped after any number of renames: ingest needs events, so it takes no mixture."""
    simulate(TINY, tmp_path)
    replace, calls = Path.replace, []

    def stop_after_some(path, target):
        if len(calls) == moved:
            raise InterruptedError
        calls.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop_after_some)
    with pytest.raises(InterruptedError):
        simulate(ShopSettings(users=60, days=2), tmp_path)
    assert not (tmp_path / "events.parquet").exists()


@pytest.mark.parametrize("name", ["events.csv", "users.jsonl.gz", "hint_requests"])
def test_other_contract_files_are_not_mixed_with_ours(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=name):
        simulate(TINY, tmp_path)


def test_a_truth_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "truth").mkdir()
    with pytest.raises(UserError, match="truth is not the simulator's"):
        simulate(TINY, tmp_path)
    assert list((tmp_path / "truth").iterdir()) == []


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    with pytest.raises(UserError, match="another"), publish(tmp_path), publish(tmp_path):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        simulate(TINY, tmp_path / "file" / "landing")


def test_a_killed_run_leaves_nothing_that_looks_whole(tmp_path):
    """Killed at several moments: no table is visible; what is left over goes with the next run."""
    code = (
        "from pathlib import Path; from aigq.simulator.job import simulate;"
        "from aigq.simulator.settings import ShopSettings;"
        f"simulate(ShopSettings(users=300, days=400), Path({str(tmp_path)!r}))"
    )
    for wait in (0.1, 0.6):
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".partial-*/events.parquet")):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
        time.sleep(wait)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".partial-")] == []
        assert len(list(tmp_path.glob(".partial-*"))) == 1
    simulate(TINY, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == FILES
