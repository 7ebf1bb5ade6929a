"""The frame around every job: a row in ``lake.meta.runs``, and a last word on what it did."""

import json
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import click

from aigq import __version__, warehouse
from aigq.as_of import resolve_snapshot
from aigq.settings import PROJECT_ROOT, Home


@dataclass
class Run:
    """One run of one job. Jobs fill ``metrics`` and call :meth:`read` and :meth:`wrote`.

    ``snapshot_read``: the lake snapshot that the job reads its tables at. ``snapshot_begun``: the
    newest one when it began, the same unless ``is_as_of``: an older state was asked for.
    """

    run_id: str
    job: str
    home: Home
    snapshot_read: int
    snapshot_begun: int
    is_as_of: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)
    summary: list[str] = field(default_factory=list)

    def read(self, what: str, count: int | None = None) -> None:
        """Note for the closing lines that the job read ``count`` rows of ``what``."""
        self.summary.append(_line("read", what, count))

    def wrote(self, what: str, count: int | None = None) -> None:
        """Note for the closing lines that the job wrote ``count`` rows of ``what``."""
        self.summary.append(_line("wrote", what, count))


def _line(verb: str, what: str, count: int | None) -> str:
    rows = "" if count is None else f" ({count:,} row{'' if count == 1 else 's'})"
    return f"  {verb:<5} {what}{rows}"


@contextmanager
def job(
    home: Home, name: str, parameters: Mapping[str, Any], *, as_of: str | None = None
) -> Iterator[Run]:
    """Run a job's body: ``meta.runs`` gets its row at the start (status ``running``), and its end
    (``succeeded`` or ``failed``) with the metrics and, as ``snapshot_written``, the newest snapshot
    of the lake when the job ended: at least what the job wrote, and what others wrote meanwhile.

    ``as_of``: the state of the lake to read, see :func:`aigq.as_of.resolve_snapshot`.

    A killed job stays ``running`` there without ``finished_at``: nothing else tells it from one
    that still works. Running it again makes a row of its own.
    """
    warehouse.ensure_lake(home)
    now = datetime.now(UTC)
    # Ids sort by time, also those of one second: "the newest" is looked up by id.
    run_id = f"{now:%Y%m%dT%H%M%S.%f}-{name.replace(' ', '-')}-{secrets.token_hex(3)}"

    if as_of is not None:
        parameters = {**parameters, "as_of": as_of}

    def begin(con) -> tuple[int, int]:
        newest = warehouse.current_snapshot(con)
        snapshot = newest if as_of is None else resolve_snapshot(con, as_of)
        con.execute(
            "INSERT INTO lake.meta.runs (run_id, job, started_at, status, snapshot_read,"
            " code_version, parameters) VALUES (?, ?, ?, 'running', ?, ?, ?)",
            [run_id, name, now, snapshot, code_version(), json.dumps(parameters, default=str)],
        )
        return snapshot, newest

    run = Run(run_id, name, home, *warehouse.write(home, begin), is_as_of=as_of is not None)
    try:
        yield run
    except BaseException as error:
        run.metrics["error"] = f"{type(error).__name__}: {error}"[:2000]
        try:
            _finish(run, "failed")
        except Exception as second:
            # Must not hide why the job failed; the row stays `running`, as of a killed job.
            click.echo(f"{name}: could not record the failure: {second}", err=True)
        raise
    _finish(run, "succeeded")
    click.echo(f"{name}: done, run {run.run_id}", err=True)
    for line in run.summary:
        click.echo(line, err=True)


def _finish(run: Run, status: str) -> None:
    def end(con) -> None:
        con.execute(
            "UPDATE lake.meta.runs SET finished_at = ?, status = ?, snapshot_written = ?,"
            " metrics = ? WHERE run_id = ?",
            [
                datetime.now(UTC),
                status,
                warehouse.current_snapshot(con),
                json.dumps(run.metrics, default=str),
                run.run_id,
            ],
        )

    warehouse.write(run.home, end)


@cache
def code_version() -> str:
    """The package version, with the git commit (and ``.dirty``) where this is a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=.dirty", "--exclude=*"],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return f"{__version__}+g{described}"
