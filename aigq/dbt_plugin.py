"""dbt-duckdb plugin: makes every connection of dbt's ready for the lake.

Runs before dbt attaches the databases of ``profiles.yml``: puts the packaged extensions in place,
creates the lake, its job tables and the folder of exported features where they are missing, waits
for the turn to write, registers the SQL functions, and lets DuckDB spill into the data home.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import yaml
from dbt.adapters.duckdb.plugins import BasePlugin
from dbt.flags import get_flags
from duckdb import DuckDBPyConnection, InvalidInputException

from aigq import features, jobs, warehouse
from aigq.settings import Home


def _folder_of_ones_own(parent: Path) -> tuple[IO[str], Path]:
    """An open file, and a folder that is this process' own while it is open; folders of those that
    have been killed go, gigabytes though they may hold."""
    parent.mkdir(parents=True, exist_ok=True)
    with (parent / "lock").open("w") as one_at_a_time:
        fcntl.flock(one_at_a_time, fcntl.LOCK_EX)
        for path in parent.glob("*.lock"):
            with path.open("r+") as lock, suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)
                path.unlink()
        number, name = tempfile.mkstemp(suffix=".lock", dir=parent)
        own = os.fdopen(number, "w")
        fcntl.flock(own, fcntl.LOCK_EX)
    return own, Path(name).with_suffix("")


# The commands that write; documentation is made while another builds.
_WRITE = {"build", "clone", "retry", "run", "seed", "snapshot", "test"}


def _project_vars() -> list[str]:
    """The names of the variables in dbt_project.yml, which dbt itself passes over where nothing
    reads them."""
    project = yaml.safe_load((Path(get_flags().PROJECT_DIR) / "dbt_project.yml").read_text())
    given = project.get("vars") or {}
    # dbt takes them of a package, too, under its name.
    return [
        n
        for name, value in given.items()
        for n in (value or [] if name == project["name"] else [name])
    ]


def _true_after(act: Callable[[], None]) -> Callable[[], bool]:
    def function() -> bool:
        act()
        return True

    return function


def _link_file(source: str, target: str) -> bool:
    """Have ``target`` be another name of the file ``source``, replaced by a rename; a copy where
    the file system has no such links."""
    partial = Path(f"{target}.partial")
    partial.unlink(missing_ok=True)
    try:
        partial.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)
    # A rename from one name of a file to another does nothing.
    partial.unlink(missing_ok=True)
    return True


class Plugin(BasePlugin):
    # dbt connects again where something failed on the way; another lock would wait for this one.
    _lock: warehouse.WriteLock | None = None

    def configure_connection(self, conn: DuckDBPyConnection) -> None:
        home = Home.from_environment()
        # Other catalogs than SQLite sort their writers out themselves.
        local = any(lake.path.startswith("ducklake:sqlite:") for lake in self.creds.attach or ())
        if local:
            warehouse.ensure_lake(home)
            self._lock = self._lock or warehouse.WriteLock(home)
        home.features.mkdir(parents=True, exist_ok=True)
        # What is built here is served by `feast -f`: its configuration of this home.
        features.config_path(home)
        warehouse.register_functions(conn)
        # Memory that a model gives back is kept for the next, up to a third of the limit: to get it
        # anew from the system, page by page, took an eighth of a build of a million page views.
        # Not more, for what DuckDB holds besides comes on top: with two thirds, 3 million page
        # views took 12.1 GB of 9. DuckDB refuses what the machine has not; then the build is
        # slower, no more.
        limit = (self.creds.settings or {}).get("memory_limit")
        with suppress(InvalidInputException):
            if limit:
                conn.execute("SET memory_limit = ?", [limit])
            conn.execute("SET block_allocator_memory = '33%'")
        # What does not fit into memory; by itself DuckDB would take the current folder. Settings of
        # profiles.yml are made again for every model, which DuckDB refuses for this one once
        # something lies there.
        self._spilled, folder = _folder_of_ones_own(home.root / "spilled")
        conn.execute("SET temp_directory = ?", [str(folder)])
        for name in ("acquire", "release"):
            conn.create_function(
                f"aigq_{name}_write_lock",
                _true_after(getattr(self._lock, name) if self._lock else lambda: None),
                [],
                "BOOLEAN",
                side_effects=True,
            )
        conn.create_function(
            "aigq_link_file", _link_file, ["VARCHAR", "VARCHAR"], "BOOLEAN", side_effects=True
        )
        version = warehouse.literal(jobs.code_version())
        names = ", ".join(map(warehouse.literal, _project_vars()))
        conn.execute(f"CREATE OR REPLACE MACRO aigq_code_version() AS {version}")
        conn.execute(f"CREATE OR REPLACE MACRO aigq_project_vars() AS [{names}]")
        # Before dbt looks what relations there are: what another build makes meanwhile it would
        # make again. The run's hooks take it, too (a connection may be of an earlier command of
        # the process), and give it back; the end of the process does at the latest.
        if self._lock and get_flags().WHICH in _WRITE:
            self._lock.acquire()
