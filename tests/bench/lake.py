"""A lake to measure on, and logs to fill it with."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

import click
import duckdb
import measure
import yaml

from aigq.ingest import files
from aigq.settings import PROJECT_ROOT, Home, UserError


class Lake:
    """The lake of one landing folder, and what commands on it took: ``taken[name]`` has an entry
    for each time the command ran.

    ``folder``: all files; beside the lake, ``first`` and ``last`` hold what :func:`split` wrote.
    """

    def __init__(self, folder: Path, memory_gb: float):
        self.folder = folder
        self.home = Home(folder / "home")
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        self.memory_bytes = int(memory_gb * 1e9)
        # The rest is for what DuckDB does not count: Python, dbt, parquet writers.
        self.duckdb_limit = f"{0.75 * memory_gb:.1f}GB"
        self.taken: dict[str, list[measure.Taken]] = {}

    def run(self, name: str, *command: str | Path) -> measure.Taken:
        """Measure a command and keep what it took under ``name``.

        Raises :class:`UserError` where it fails, :class:`measure.OutOfMemory` where it is ended.
        """
        click.echo(f"  {name:<28}", nl=False)
        try:
            taken = measure.run(
                [sys.executable, *command],
                cwd=PROJECT_ROOT,
                environment={
                    "PYTHONPATH": str(PROJECT_ROOT),
                    "AIGQ_HOME": str(self.home.root),
                    "POLARS_MAX_THREADS": str(len(self.cores)),
                    "DBT_TARGET_PATH": str(self.home.root / "target"),
                    "DBT_LOG_PATH": str(self.home.root / "logs"),
                    "DBT_PROFILES_DIR": str(self._profiles()),
                },
                cores=self.cores,
                memory_bytes=self.memory_bytes,
            )
        except subprocess.CalledProcessError as error:
            raise UserError(f"{name} failed; it said:\n{error.output}") from error
        click.echo(f"{taken.seconds:9.1f} s {taken.peak_bytes / 1e9:7.2f} GB")
        self.taken.setdefault(name, []).append(taken)
        return taken

    def _profiles(self) -> Path:
        """profiles.yml with limits for DuckDB, which otherwise takes the machine for its own."""
        profiles = yaml.safe_load((PROJECT_ROOT / "profiles.yml").read_text())
        settings = profiles["aigq"]["outputs"]["lake"]["settings"]
        settings |= {"memory_limit": self.duckdb_limit, "threads": len(self.cores)}
        path = self.folder / "profiles" / "profiles.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(profiles))
        return path.parent

    def ingest(self, name: str, landing: Path) -> None:
        self.run(name, "-m", "aigq.cli", "ingest", landing)

    def build(self, name: str, *arguments: str) -> measure.Taken:
        return self.run(name, "-m", "dbt.cli.main", "build", *arguments)

    def all_but_the_last_day(self) -> None:
        """A lake with the log of all days but one, built; kept to begin repetitions from."""
        shutil.rmtree(self.home.root, ignore_errors=True)
        self.ingest("ingest, all days but one", self.folder / "first")
        self.build("dbt build, all days but one")
        shutil.rmtree(self.folder / "base", ignore_errors=True)
        shutil.copytree(self.home.root, self.folder / "base")

    def one_more_day(self) -> measure.Taken:
        """That lake again, then the last day; returns what its build took."""
        shutil.rmtree(self.home.root)
        # The same path as before, or dbt would parse its project anew.
        shutil.copytree(self.folder / "base", self.home.root)
        self.ingest("ingest, one more day", self.folder / "last")
        return self.build("dbt build, one more day")


def node_seconds(target: Path) -> dict[str, float]:
    """Seconds of each node of the last dbt run, by unique id, from the artifacts in ``target``."""
    results = json.loads((target / "run_results.json").read_text())["results"]
    return {each["unique_id"]: each["execution_time"] for each in results}


def split(landing: Path, folder: Path, history_days: int | None = None) -> None:
    """The log under ``landing`` as two under ``folder``: ``last``, its last day, and ``first``, the
    ``history_days`` before (all, where none are given). Users and items that the log shows on the
    last day alone come with it, all others before: one that was seen earlier would change the days
    it was seen on."""
    moments = {"events": "occurred_at", "hint_requests": "requested_at"}
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for table, paths in files.discover(landing).items():
            con.execute(
                f"CREATE VIEW {table} AS FROM read_parquet({[str(path) for path in paths]})"
            )
        (last,) = con.execute("SELECT max(occurred_at)::DATE FROM events").fetchone()
        begin = last - timedelta(history_days) if history_days else date.min
        for part, wanted in (
            ("first", f"{{0}} >= DATE '{begin}' AND {{0}} < DATE '{last}'"),
            ("last", f"{{0}} >= DATE '{last}'"),
        ):
            (folder / part).mkdir(parents=True)
            rows = {
                **{t: f"FROM {t} WHERE {wanted.format(at)}" for t, at in moments.items()},
                "hint_candidates": "FROM hint_candidates SEMI JOIN (FROM hint_requests WHERE "
                f"{wanted.format('requested_at')}) AS r USING (request_id)",
            }
            seen = "SELECT user_id, item_id, occurred_at FROM events"
            seen += " UNION ALL SELECT user_id, NULL, requested_at FROM hint_requests"
            for table, key in {"users": "user_id", "items": "item_id"}.items():
                new = (
                    f"SELECT {key} FROM ({seen}) WHERE {key} IS NOT NULL GROUP BY {key}"
                    f" HAVING min(occurred_at) >= DATE '{last}'"
                )
                rows[table] = f"FROM {table} WHERE ({key} IN ({new})) = {part == 'last'}"
            for table, query in rows.items():
                path = files.literal(folder / part / f"{table}.parquet")
                con.execute(f"COPY ({query}) TO {path}")


def simulator_version() -> str:
    """Changes where the simulator does, and its logs with it."""
    sources = sorted((PROJECT_ROOT / "aigq" / "simulator").rglob("*.*"))
    return sha256(b"".join(p.read_bytes() for p in sources if p.suffix != ".pyc")).hexdigest()[:8]
