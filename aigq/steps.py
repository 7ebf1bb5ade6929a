"""Plain commands in long sequences: `make demo`, `make ladder`, `make study`, `aigq train day`."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

import click

from aigq import models, warehouse
from aigq.settings import PROJECT_ROOT, Home, UserError
from aigq.tables import RAW_TABLES

Commands = Sequence[list[str]]
Step = tuple[str, Commands | Callable[[], Commands]]


def run_command(
    command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Print the command as one would type it, and run it in this environment. Raises
    :class:`UserError` where it fails."""
    click.secho("$ " + shlex.join(command), fg="cyan")
    _call(command, environment)


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
            run_command(command)
    click.secho(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes.", bold=True)


lanes_option = click.option(
    "--lanes",
    type=click.IntRange(1),
    default=min(2, len(os.sched_getaffinity(0))),
    show_default="2, on one core 1",
    help="Jobs at a time, each with its share of the cores; 1 where they would share one GPU.",
)


def run_jobs(
    home: Home, mark: str, jobs: Sequence[Job], *, lanes: int, log: str | None = "default"
) -> None:
    """Run ``jobs``, at most ``lanes`` at a time, each with its share of the cores: small models
    train nearly twice as fast on one core each as one after the other on two.

    Whichever is free to start and comes first in ``jobs`` starts next. What a job prints goes to
    reports/``mark``/NAME.log in the data home. Once a job fails no other starts, and those that run
    come to their end.

    ``mark``: as of :func:`run_steps`, and on which ``log`` they run there; None goes on with
    whichever is there. Raises :class:`UserError` for a home that holds another shop, or none to go
    on with, and where a command fails.
    """
    _refuse_another_shop(home, mark, log)
    logs = home.reports / mark
    logs.mkdir(parents=True, exist_ok=True)
    share = max(1, len(os.sched_getaffinity(0)) // lanes)
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share))}
    started = time.monotonic()
    waiting, done = list(jobs), set[str]()
    running: dict[Future[None], tuple[Job, float]] = {}
    failed: UserError | None = None
    with ThreadPoolExecutor(lanes) as pool:
        while True:
            free = [job for job in waiting if done.issuperset(job.after)] if failed is None else []
            for job in free[: lanes - len(running)]:
                waiting.remove(job)
                path = logs / f"{job.name}.log"
                click.echo(f"{_minutes(started)}  {job.name} starts, its output is in {path}")
                running[pool.submit(_run_job, job, path, environment)] = job, time.monotonic()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, since = running.pop(future)
                try:
                    future.result()
                except UserError as error:
                    click.echo(f"{_minutes(started)}  {job.name} failed")
                    failed = error
                else:
                    done.add(job.name)
                    click.echo(f"{_minutes(started)}  {job.name}: {_minutes(since).strip()}")
    if failed is not None:
        raise failed
    assert not waiting, f"after a job that is not there: {waiting}"
    click.secho(f"Done in {_minutes(started).strip()}.", bold=True)


def _minutes(since: float) -> str:
    return f"{(time.monotonic() - since) / 60:6.1f} minutes"


def _run_job(job: Job, path: Path, environment: Mapping[str, str]) -> None:
    with path.open("w") as log:
        for command in job.commands() if callable(job.commands) else job.commands:
            log.write("$ " + shlex.join(command) + "\n")
            log.flush()
            try:
                _call(command, environment, log)
            except UserError as error:
                log.flush()
                end = "\n".join(path.read_text(errors="replace").splitlines()[-15:])
                raise UserError(f"{end}\n{error.message}; its output is in {path}") from None


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


def _call(
    command: Sequence[str], environment: Mapping[str, str], output: IO[str] | None = None
) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        cwd=PROJECT_ROOT,
        # Feast's libraries warn about one another.
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | environment,
        stdout=output,
        stderr=output,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"stopped: `{shlex.join(command)}` ended with code {done.returncode}")
