"""Plain commands in long sequences: `make demo`, `make ladder`, `make study`, `aigq train day`."""

import fcntl
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import click

from aigq import models, warehouse
from aigq.settings import PROJECT_ROOT, Home, UserError
from aigq.tables import RAW_TABLES

Commands = Sequence[list[str]]
Step = tuple[str, Commands | Callable[[], Commands]]


def run_command(home: Home, command: Sequence[str], folder: Path | None = None) -> None:
    """Print the command as one would type it, and run it on ``home``, in ``folder`` or the current
    one. Raises :class:`UserError` where it fails."""
    click.secho("$ " + shlex.join(command), fg="cyan")
    with _start(command, _environment(home), folder) as process:
        code = process.wait()
    _require_success(command, code)


@dataclass(frozen=True)
class Job:
    """Commands that may run beside other jobs, once those named in ``after`` are done."""

    name: str
    commands: Commands | Callable[[], Commands]
    after: Sequence[str] = ()


def run_steps(home: Home, mark: str, steps: Iterable[Step]) -> None:
    """Run the commands of each step (title, commands or what makes them when it is their turn),
    each printed as one would type it.

    ``mark``: a file that tells the homes where these steps may run. Raises :class:`UserError` for a
    home that holds another shop, and where a command fails.
    """
    _refuse_another_shop(home, mark, "default")
    started = time.monotonic()
    for number, (title, commands) in enumerate(steps, start=1):
        click.secho(f"\n== {number}. {title}", bold=True)
        for command in commands() if callable(commands) else commands:
            run_command(home, command, PROJECT_ROOT)
    click.secho(f"\nDone in {_minutes(started)}.", bold=True)


def _lanes() -> int:
    # Two trainings would share one GPU's memory.
    return 1 if Path("/dev/nvidia0").exists() else min(2, len(os.sched_getaffinity(0)))


lanes_option = click.option(
    "--lanes",
    type=click.IntRange(1),
    default=_lanes,
    show_default="2; 1 on one core or with a GPU",
    help="Jobs at a time, each with its share of the cores.",
)


def run_jobs(
    home: Home,
    mark: str,
    jobs: Sequence[Job],
    *,
    lanes: int,
    log: str | None = "default",
    logs: str | None = None,
) -> None:
    """Run ``jobs``, at most ``lanes`` at a time, each with its share of the cores (as threads of
    OpenMP): small models train faster on one core each than one after the other on two.

    Whichever is free to start and comes first in ``jobs`` starts next. What a job prints goes to
    reports/``logs``/NAME.log in the data home (by default reports/``mark``). Once a job fails no
    other starts, and those that run come to their end; an interrupt ends them.

    ``mark``: as of :func:`run_steps`, and on which ``log`` they run there; None goes on with
    whichever is there. Raises :class:`UserError` for a home that holds another shop, or none to go
    on with, where others are at work in it, and where commands fail, the first one's words first.
    """
    _refuse_another_shop(home, mark, log)
    folder = home.reports / (logs or mark)
    folder.mkdir(parents=True, exist_ok=True)
    share = max(1, len(os.sched_getaffinity(0)) // lanes)
    environment = _environment(home) | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share))
    }
    started = time.monotonic()
    waiting, done = list(jobs), set[str]()
    running: dict[Future[None], tuple[Job, float]] = {}
    failures: list[tuple[Job, Exception]] = []
    processes = _Processes()
    with _alone(home, mark), ThreadPoolExecutor(lanes) as pool, _ended_by_signals(processes):
        while True:
            free = [] if failures else [job for job in waiting if done.issuperset(job.after)]
            for job in free[: lanes - len(running)]:
                waiting.remove(job)
                path = folder / f"{job.name}.log"
                click.echo(f"{_minutes(started):>14}  {job.name} starts, its output is in {path}")
                future = pool.submit(_run_job, processes, job, path, environment)
                running[future] = job, time.monotonic()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, since = running.pop(future)
                try:
                    future.result()
                except Exception as error:
                    click.echo(f"{_minutes(started):>14}  {job.name} failed")
                    failures.append((job, error))
                else:
                    done.add(job.name)
                    click.echo(f"{_minutes(started):>14}  {job.name}: {_minutes(since)}")
    _raise(failures)
    assert not waiting, f"after a job that is not there: {waiting}"
    click.secho(f"Done in {_minutes(started)}.", bold=True)


def _raise(failures: Sequence[tuple[Job, Exception]]) -> None:
    for job, error in failures:
        if not isinstance(error, UserError):
            error.add_note(f"in the job {job.name}")
            raise error
    if failures:
        raise UserError("\n\n".join(f"{job.name}: {error.message}" for job, error in failures))


class _Processes:
    """Those that run now. Once they are ended, none starts any more."""

    def __init__(self):
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen] = set()
        self._is_ended = False

    def call(self, command: Sequence[str], environment: Mapping[str, str], output: IO[str]) -> None:
        with self._lock:
            if self._is_ended:
                raise UserError("interrupted")
            process = _start(command, environment, PROJECT_ROOT, output)
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.remove(process)
        _require_success(command, code)

    def end(self) -> None:
        with self._lock:
            self._is_ended = True
            for process in self._running:
                process.terminate()


@contextmanager
def _ended_by_signals(processes: _Processes) -> Iterator[None]:
    """Whatever interrupts this process ends those that it has started; SIGTERM as well."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    except BaseException:
        processes.end()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _alone(home: Home, mark: str) -> Iterator[None]:
    """Held by the process: a kill releases it."""
    with (home.root / f".{mark}").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"others are at work on the {mark} in {home.root}") from None
        yield


def _minutes(since: float) -> str:
    return f"{(time.monotonic() - since) / 60:.1f} minutes"


def _run_job(processes: _Processes, job: Job, path: Path, environment: Mapping[str, str]) -> None:
    commands = job.commands() if callable(job.commands) else job.commands
    if not commands:  # what is written of an earlier run stays
        return
    with path.open("w") as log:
        for command in commands:
            log.write("$ " + shlex.join(command) + "\n")
            log.flush()
            try:
                processes.call(command, environment, log)
            except UserError as error:
                # Of a progress bar its last state.
                lines = [line.rpartition("\r")[2] for line in _text(path).rstrip().split("\n")]
                end = "\n".join(lines[-15:])
                raise UserError(f"{end}\n{error.message}; its output is in {path}") from None


def _text(path: Path) -> str:
    with path.open(errors="replace", newline="") as file:
        return file.read()


def unless_published(home: Home, name: str, command: list[str]) -> Commands:
    """``command``, or nothing where the model ``name`` that it trains is there already."""
    found = models.versions(home, name)
    if found:
        click.echo(f"model {name!r} is there already: {found[-1].path} (remove it to train again)")
        return []
    return [command]


def _refuse_another_shop(home: Home, mark: str, log: str | None) -> None:
    """A made-up shop must not be poured into a real one's lake, nor into another made-up one's."""
    path = home.root / f".{mark}"
    if log is None:
        if not path.exists():
            raise UserError(f"{home.root} holds no {mark} to go on with: run make {mark} first")
        return
    known = (path.read_text() or "default") if path.exists() else log
    if known != log:
        raise UserError(
            f"{home.root} holds the {mark} of another log ({known}, not {log}); run"
            f" AIGQ_HOME=elsewhere make {mark}"
        )
    if home.catalog.exists() and not path.exists() and _has_rows(home):
        raise UserError(
            f"{home.root} holds a shop that is not the {mark}'s; run AIGQ_HOME=elsewhere"
            f" make {mark}"
        )
    home.root.mkdir(parents=True, exist_ok=True)
    path.write_text(log)


def _has_rows(home: Home) -> bool:
    """Whether anything was ingested: any dbt or aigq command creates an empty lake."""
    con = warehouse.connect(home, read_only=True)
    try:
        return any(
            con.execute(f"SELECT 1 FROM lake.{table} LIMIT 1").fetchone()
            for table in RAW_TABLES
            if warehouse.table_exists(con, table)
        )
    finally:
        con.close()


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None,
    output: IO[str] | None = None,
) -> subprocess.Popen:
    return subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=folder,
        # Feast's libraries warn about one another; and what is printed stands before the error that
        # follows, which else overtakes it in a log.
        env=os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"} | environment,
        stdout=output,
        stderr=output,
    )


def _require_success(command: Sequence[str], code: int) -> None:
    if code != 0:
        raise UserError(f"stopped: `{shlex.join(command)}` ended with code {code}")


def _environment(home: Home) -> dict[str, str]:
    """A relative home counts from this process' folder."""
    return {"AIGQ_HOME": str(home.root.resolve())}
