"""Run a command under a limit of processor cores and memory, and say what it took."""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

# Between two looks at the memory of the process and its children.
_EVERY_SECONDS = 0.25


class OutOfMemory(Exception):
    """A command held more memory than it was given, and was ended."""


@dataclass(frozen=True)
class Taken:
    """What a command took. ``seconds``: wall time; ``cpu_seconds``: user and system, children
    included; ``peak_bytes``: resident memory, the larger of all its processes' sum as sampled and
    of the largest process as the kernel counts it."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    cores: Sequence[int],
    memory_bytes: int,
) -> Taken:
    """Run ``command`` on ``cores`` only, to its end.

    Raises :class:`OutOfMemory` as soon as its processes' resident memory together is above
    ``memory_bytes``, :class:`subprocess.CalledProcessError` with its output where it fails.
    """
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=os.environ | dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        watch = _Watch(process.pid, memory_bytes)
        watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.join()
        if watch.is_over:
            raise OutOfMemory(
                f"{' '.join(process.args)}: held {watch.peak_bytes / 1e9:.1f} GB of memory, the"
                f" limit is {memory_bytes / 1e9:.1f} GB"
            )
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace")
            raise subprocess.CalledProcessError(process.returncode, process.args, said)
    return Taken(
        seconds,
        usage.ru_utime + usage.ru_stime,
        max(watch.peak_bytes, usage.ru_maxrss * 1024),
    )


class _Watch(threading.Thread):
    """Samples the memory of a process and its children until it ends; ends it above the limit."""

    def __init__(self, pid: int, memory_bytes: int):
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self._limit = memory_bytes
        self.peak_bytes = 0
        self.is_over = False

    def run(self) -> None:
        try:
            while self._root.is_running() and self._root.status() != psutil.STATUS_ZOMBIE:
                tree = [self._root, *self._root.children(recursive=True)]
                self.peak_bytes = max(self.peak_bytes, sum(map(_resident, tree)))
                if self.peak_bytes > self._limit:
                    self.is_over = True
                    for process in tree:
                        process.kill()
                    return
                time.sleep(_EVERY_SECONDS)
        except psutil.NoSuchProcess:
            return


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0
