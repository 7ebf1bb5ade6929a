"""What the benchmark reports about a command is what the command did."""

import os
import subprocess
import sys
import time
from pathlib import Path

import measure
import pytest

CORES = sorted(os.sched_getaffinity(0))[:1]


def _run(code: str, memory_bytes: int = 1 << 30):
    return measure.run(
        [sys.executable, "-c", code],
        cwd=Path.cwd(),
        environment={"MARK": "here"},
        cores=CORES,
        memory_bytes=memory_bytes,
    )


def test_time_of_the_processor_is_not_time_of_the_clock():
    taken = _run("import time; time.sleep(0.5); end = time.process_time() + 0.3\n"
                 "while time.process_time() < end: pass")  # fmt: skip
    assert taken.seconds > 0.8
    assert 0.3 < taken.cpu_seconds < taken.seconds - 0.3


def test_memory_of_a_child_is_counted():
    child = "x = bytearray(200 << 20); import time; time.sleep(0.5)"
    taken = _run(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")
    assert taken.peak_bytes > 200 << 20


def test_a_peak_between_two_looks_is_seen():
    taken = _run("x = bytearray(300 << 20); del x")
    assert taken.peak_bytes > 300 << 20


def test_above_the_limit_everything_ends():
    began = time.monotonic()
    child = "x = bytearray(300 << 20); import time; time.sleep(60)"
    with pytest.raises(measure.OutOfMemory, match=r"the limit is 0\.2 GB"):
        _run(
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])",
            memory_bytes=200 * 10**6,
        )
    assert time.monotonic() - began < 20


def test_a_failure_shows_what_was_said():
    with pytest.raises(subprocess.CalledProcessError) as error:
        _run("print('all is lost'); raise SystemExit(3)")
    assert error.value.returncode == 3
    assert "all is lost" in error.value.output


def test_cores_and_environment_are_given_on():
    _run(f"import os; assert os.sched_getaffinity(0) == set({CORES}); os.environ['MARK']")
