"""The lake: how it is created, attached, and written to by more than one process.

The warehouse is a DuckLake whose catalog is a SQLite file, so that analysts read while jobs write.
SQLite lets one process commit at a time, and a transaction that another process overtakes fails.
So writers take turns by a lock (:class:`WriteLock`): dbt for the length of a run, jobs for one
short transaction each (:func:`write`), which they also try again should some other program have
been in the way. Copy or move a home as a whole: ``catalog.sqlite-wal`` belongs to it.
"""

import fcntl
import random
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TextIO, TypeVar

import click
import duckdb
import duckdb_extensions

from aigq.settings import Home, UserError
from aigq.tables import DBT_SCHEMAS, JOB_TABLES, RAW_TABLES, columns
from aigq.text import normalize_query_arrow

T = TypeVar("T")

EXTENSIONS = ("ducklake", "sqlite_scanner")
_RETRY_FOR_SECONDS = 120.0
# What DuckDB says when another process holds the catalog or committed in between.
_BUSY = ("database is locked", "database table is locked", "transaction conflict", "busy")

# What DuckLake is told, by option and scope (DuckLake's word for it, and the schema or table). One
# that has been set otherwise at the same scope stays so.
_OPTIONS = {
    # A quarter of the default's bytes, written and read in the same time.
    ("parquet_compression", "GLOBAL", None): "zstd",
    # Lists of behaviours are written and read a fifth faster in groups that caches hold.
    ("parquet_row_group_size", "SCHEMA", "samples"): "10240",
    ("parquet_row_group_size", "SCHEMA", "features"): "10240",
    # Where a few rows may lie in the catalog, each table that a build makes anew has a table of its
    # own there, as long as one of its snapshots is kept; and SQLite reads the definitions of all of
    # them whenever it is opened. After ten builds each of dbt's steps took twice as long. Only runs
    # are written row by row.
    ("data_inlining_row_limit", "GLOBAL", None): "0",
    ("data_inlining_row_limit", "TABLE", "meta.runs"): "10",
}


@cache
def install_extensions() -> None:
    """Put the packaged DuckLake and SQLite extensions where DuckDB looks for them (no download),
    and check their signatures, once per process."""
    with duckdb.connect() as con:
        installed = {
            name
            for (name,) in con.execute(
                "select extension_name from duckdb_extensions() where installed"
            ).fetchall()
        }
        for name in EXTENSIONS:
            if name not in installed:
                duckdb_extensions.import_extension(name)
            con.execute(f"LOAD {name}")


def register_functions(con: duckdb.DuckDBPyConnection) -> None:
    """Add the project's SQL functions: ``normalize_query(VARCHAR) -> VARCHAR``."""
    con.create_function(
        "normalize_query",
        normalize_query_arrow,
        ["VARCHAR"],
        "VARCHAR",
        type="arrow",
        null_handling="special",
    )


def attach_sql(home: Home, *, read_only: bool = False, snapshot: int | None = None) -> str:
    """The ATTACH statement for ``home``'s lake, as it was at ``snapshot`` where one is given.

    The data path is given each time because the catalog stores it: a home that was moved or copied
    opens all the same.
    """
    options = f"DATA_PATH {literal(home.lake_data)}, OVERRIDE_DATA_PATH true"
    # Write-ahead logging, which stays with the file: readers and writers then do not wait for each
    # other. Without it a commit that meets a reader for 5 s fails, and DuckDB leaks a lock that
    # shuts everyone out until the process ends.
    options += ", READ_ONLY" if read_only else ", META_JOURNAL_MODE 'WAL'"
    if snapshot is not None:
        options += f", SNAPSHOT_VERSION {snapshot:d}"
    return f"ATTACH {literal(f'ducklake:sqlite:{home.catalog}')} AS lake ({options})"


def connect(
    home: Home, *, read_only: bool = False, snapshot: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection in UTC with ``lake`` attached and in use.

    ``snapshot``: all tables and views as they were at this one; only together with ``read_only``.
    Raises :class:`UserError` where ``home`` holds no lake yet (see :func:`ensure_lake`).
    """
    if not home.catalog.exists():
        raise UserError(
            f"no lake at {home.root}: run `aigq ingest` first, or point AIGQ_HOME at a shop's data"
        )
    return _retrying(lambda: _open(home, read_only=read_only, snapshot=snapshot))


def _open(home: Home, *, read_only: bool, snapshot: int | None = None) -> duckdb.DuckDBPyConnection:
    install_extensions()
    # Hashing both extensions again for every connection would cost more than most transactions;
    # their signatures were checked when this process first loaded them.
    con = duckdb.connect(config={"allow_unsigned_extensions": True})
    try:
        for name in EXTENSIONS:
            con.execute(f"LOAD {name}")
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        register_functions(con)
        con.execute(attach_sql(home, read_only=read_only, snapshot=snapshot))
        con.execute("USE lake")
    except BaseException:
        con.close()
        raise
    return con


class WriteLock:
    """The turn to write to ``home``'s lake: an exclusive lock on ``lake/write.lock``.

    The operating system takes it back from a process that dies. Readers need none. Another lock of
    the same process waits, too.
    """

    def __init__(self, home: Home):
        self._path = home.catalog.with_name("write.lock")
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Wait for the turn, and say so where that takes more than a moment. Harmless where it is
        held."""
        if self._file is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("w")
        said_at = time.monotonic() + 2.0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._file = file
                return
            except BlockingIOError:
                if time.monotonic() > said_at:
                    click.echo("waiting for another writer of the lake to finish ...", err=True)
                    said_at = float("inf")
                time.sleep(0.02)

    def release(self) -> None:
        """Let the next writer in. Harmless where the lock is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def ensure_lake(home: Home) -> None:
    """Create the lake, and the schemas, ingest and job tables it lacks, empty. Safe at any time.

    A table that an earlier version made gets the columns it lacks, null in the rows it has. An
    earlier version's lake gets the options it lacks; what builds left in its catalog goes with the
    snapshots that ``aigq expire`` removes.
    """
    home.lake_data.mkdir(parents=True, exist_ok=True)

    def create() -> None:
        con = _open(home, read_only=False)
        try:
            present: dict[str, set[str]] = {}
            for table, column in con.execute(
                "select table_schema || '.' || table_name, column_name"
                " from information_schema.columns where table_catalog = 'lake'"
            ).fetchall():
                present.setdefault(table, set()).add(column)
            missing = {n: c for n, c in (RAW_TABLES | JOB_TABLES).items() if n not in present}
            new_columns = [
                f"{table} ADD COLUMN IF NOT EXISTS {name} {type_}"
                for table, declared in (RAW_TABLES | JOB_TABLES).items()
                for name, type_ in columns(declared).items()
                if table in present and name not in present[table]
            ]
            schemas = {
                schema
                for (schema,) in con.execute(
                    "select schema_name from information_schema.schemata"
                    " where catalog_name = 'lake'"
                ).fetchall()
            }
            told = set(
                con.execute("SELECT option_name, scope, scope_entry FROM lake.options()").fetchall()
            )
            if (
                missing
                or new_columns
                or not schemas.issuperset(DBT_SCHEMAS)
                or not told.issuperset(_OPTIONS)
            ):
                create_missing(con, missing, new_columns, told)
        finally:
            con.close()

    def create_missing(
        con: duckdb.DuckDBPyConnection,
        missing: dict[str, str],
        new_columns: list[str],
        told: set[tuple[str, str, str | None]],
    ) -> None:
        def tell(*scopes: str) -> None:
            for (name, scope, entry), value in _OPTIONS.items():
                if scope in scopes and (name, scope, entry) not in told:
                    names = zip(("schema", "table_name"), (entry or "").split("."), strict=False)
                    where = "".join(f", {key} => {literal(of)}" for key, of in names if of)
                    con.execute(f"CALL lake.set_option({literal(name)}, {literal(value)}{where})")

        with WriteLock(home):
            # Before there are tables; an option of one of them asks that it is there.
            tell("GLOBAL")
            con.execute("BEGIN")
            for schema in {*DBT_SCHEMAS, *(name.split(".")[0] for name in missing)}:
                con.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
            for name, declared in missing.items():
                con.execute(f"CREATE TABLE IF NOT EXISTS lake.{name} ({declared})")
            for column in new_columns:
                con.execute(f"ALTER TABLE lake.{column}")
            con.execute("COMMIT")
            tell("SCHEMA", "TABLE")

    _retrying(create)


def write(home: Home, work: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
    """Run ``work`` in one transaction on a fresh connection and commit; all of it or nothing.

    ``work`` runs again from the start when another writer was in the way, so it must only touch the
    lake. Keep it short: prepare the rows before, insert and commit inside.
    """

    def attempt() -> T:
        con = _open(home, read_only=False)
        try:
            con.execute("BEGIN")
            result = work(con)
            con.execute("COMMIT")
            return result
        finally:
            con.close()

    if not home.catalog.exists():
        ensure_lake(home)
    with WriteLock(home):
        return _retrying(attempt)


def current_snapshot(con: duckdb.DuckDBPyConnection) -> int:
    """Id of the newest committed snapshot of the lake."""
    return con.execute("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')").fetchone()[0]


def table_exists(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether ``schema.table`` (or view) exists in the lake."""
    try:
        # A tenth of what asking information_schema takes, which looks at every table.
        con.execute(f"SELECT 1 FROM lake.{name} LIMIT 0")
    except duckdb.CatalogException:
        return False
    return True


def export_parquet(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write ``query``'s rows to ``path`` by a temporary file and a rename; returns their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{random.getrandbits(32):08x}.partial")
    try:
        rows = con.execute(f"COPY ({query}) TO {literal(partial)} (FORMAT parquet)").fetchone()[0]
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _retrying(attempt: Callable[[], T]) -> T:
    deadline = time.monotonic() + _RETRY_FOR_SECONDS
    delay = 0.05
    while True:
        try:
            return attempt()
        except duckdb.Error as error:
            busy = any(phrase in str(error).lower() for phrase in _BUSY)
            if not busy or time.monotonic() + delay > deadline:
                raise
        time.sleep(delay * (0.5 + random.random()))
        delay = min(2 * delay, 2.0)


def literal(value: object) -> str:
    """``value`` as an SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"
