"""Where a training run keeps what it must find again after a kill."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date
from pathlib import Path
from typing import IO, Any

import click
import duckdb
import pyarrow as pa

from aigq import models, warehouse
from aigq.jobs import Run
from aigq.settings import Home, UserError
from training.atomic import checkpoints
from training.precision import bf16_is_fast

_PINNED = "pinned.json"


@dataclass(frozen=True)
class Workspace:
    """A training run's directory and what was decided when it first started.

    ``started_by``: run id of the first attempt. ``snapshot``: the lake snapshot all attempts read.
    ``bf16``: the arithmetic, which depends on the machine and must not change half way.
    """

    path: Path
    started_by: str
    snapshot: int
    bf16: bool

    def build_dir(self) -> Path:
        """An empty directory to build the model version in."""
        path = self.path / "build"
        models.discard_work(path)
        path.mkdir()
        return path


@contextmanager
def open_workspace(run: Run, name: str, identity: Mapping[str, Any]) -> Iterator[Workspace]:
    """The workspace of the training that ``identity`` (settings, base model, ...) describes.

    The same identity finds the interrupted run again, with its snapshot, also when the lake has
    moved on since; a run that failed before its first checkpoint is forgotten. Raises
    :class:`UserError` while another process trains in it, and for the name of another job's models.
    """
    _refuse_name_of_another_job(run, name)
    if run.is_as_of:
        identity = {**identity, "as_of": run.snapshot_read}
    text = json.dumps(identity, sort_keys=True, default=str)
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    with _locked_work_dir(run.home, name, key) as path:
        pinned = path / _PINNED
        if pinned.exists():
            workspace = Workspace(path, **json.loads(pinned.read_text()))
            step = next((p.name.split("-")[1] for p in reversed(checkpoints(path))), "0")
            click.echo(
                f"resuming run {workspace.started_by} at step {step}, on its lake snapshot"
                f" {workspace.snapshot} (to start anew instead, delete {path})",
                err=True,
            )
        else:
            workspace = Workspace(path, run.run_id, run.snapshot_read, bf16_is_fast())
            values = {k: v for k, v in vars(workspace).items() if k != "path"}
            partial = path / f".{_PINNED}"
            partial.write_text(json.dumps(values))
            partial.replace(pinned)
        run.metrics["snapshot"] = workspace.snapshot
        try:
            yield workspace
        except Exception:
            # Without a checkpoint there is nothing to resume: once what was wrong is mended, the
            # next attempt reads the lake as it is then, and plans anew.
            if not checkpoints(path):
                models.discard_work(path)
            raise


@contextmanager
def _locked_work_dir(home: Home, name: str, key: str) -> Iterator[Path]:
    while True:
        path = models.work_dir(home, name, key)
        try:
            lock = (path / "lock").open("w")
        except FileNotFoundError:  # discarded by who had it, since it was made
            continue
        with lock:
            try:
                # Held by the process: a kill releases it.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"another process is training this model with the same settings (in {path})"
                ) from None
            if not _is_file_of(path / "lock", lock):  # likewise
                continue
            yield path
            return


def _is_file_of(path: Path, file: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _refuse_name_of_another_job(run: Run, name: str) -> None:
    if name in models.BASELINES:
        raise UserError(
            f"{name!r} is what `aigq evaluate` calls a baseline made by SQL: choose another --name"
        )
    found = models.versions(run.home, name)
    job = found[-1].manifest.get("job", run.job) if found else run.job
    if job != run.job:
        raise UserError(
            f"model {name!r} is one of `aigq {job}`: what `aigq {run.job}` makes would hide it;"
            " choose another --name"
        )


def already_published(home: Home, name: str, workspace: Workspace) -> models.Model | None:
    """The version this training published before it was killed while cleaning up, if any."""
    for model in reversed(models.versions(home, name)):
        if model.manifest.get("started_by") == workspace.started_by:
            return model
    return None


def train_end(snapshot: "Snapshot", base: str | None = None, *, last: date | None = None) -> str:
    """The end (ISO 8601, UTC) of the days that a model trained at ``snapshot`` has seen: of the
    shop's training days there, or of the day ``last`` where it was trained on days that were asked
    for, or ``base``, its base model's, where that is later."""
    if last is not None:
        return max(end_of_day(snapshot, last), base or "")
    (shop,) = snapshot.rows("SELECT train_end_at FROM lake.meta.shop")
    return max(shop["train_end_at"].astimezone(UTC).isoformat(), base or "")


def end_of_day(snapshot: "Snapshot", day: date) -> str:
    """The end of a shop day (ISO 8601, UTC)."""
    (row,) = snapshot.rows(
        "SELECT timezone('UTC', timezone(shop_timezone, cast(? as timestamp) + interval 1 day))"
        " AS ended FROM lake.meta.shop",
        [day],
    )
    return row["ended"].isoformat() + "+00:00"


class Snapshot:
    """The lake's tables as they were at one snapshot."""

    def __init__(self, home: Home, snapshot: int):
        self._home = home
        self._snapshot = snapshot

    def __enter__(self) -> "Snapshot":
        self._con = warehouse.connect(self._home, read_only=True, snapshot=self._snapshot)
        return self

    def __exit__(self, *_: object) -> None:
        self._con.close()

    def rows(self, sql: str, parameters: Any = ()) -> list[dict]:
        """The rows that ``sql`` finds in ``lake``.

        Raises :class:`UserError` where a table did not exist at this snapshot.
        """
        cursor = self._execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def batches(self, sql: str, parameters: Any = ()) -> Iterator[pa.RecordBatch]:
        """The same rows as Arrow batches, of which one is held at a time."""
        yield from self._execute(sql, parameters).to_arrow_reader(10_000)

    def _execute(self, sql: str, parameters: Any) -> duckdb.DuckDBPyConnection:
        try:
            return self._con.execute(sql, parameters)
        except duckdb.CatalogException as error:
            raise UserError(
                f"lake snapshot {self._snapshot} lacks a table: run `dbt build` first"
                f" ({str(error).splitlines()[0]})"
            ) from None
