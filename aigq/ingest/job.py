"""``aigq ingest``: landing files into ``lake.raw``, all of a call or nothing.

Rows are read and judged in a scratch database first; the lake sees one short transaction. One
ingest runs at a time per home, which is what makes the judgement against the lake hold.
"""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import duckdb
from tqdm import tqdm

from aigq import jobs, warehouse
from aigq.contract import TABLES
from aigq.ingest import adapters, files, judge, stage
from aigq.settings import Home, UserError

# Of each table; a reason that holds a value of the row may have many forms.
_REASONS_SHOWN = 10

# Yields the staged sources of a table; files are opened one by one as they are read.
Loader = Callable[[duckdb.DuckDBPyConnection, Path], Iterator[tuple[str, files.Source]]]


@click.command()
@click.argument("source", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--adapter",
    metavar="NAME_OR_DIR",
    help="Read SOURCE files of another shape through a folder of SQL (shipped: bestbuy, template).",
)
def command(source: tuple[Path, ...], adapter: str | None) -> None:
    """Load log files into the lake: a folder of the raw contract, or files with an --adapter.

    A folder holds, per table, a file or a folder of files: users, items, events, hint_requests,
    hint_candidates (.parquet, .csv, .jsonl, each also as .gz). Loading the same rows again changes
    nothing; rows that break the contract go to raw.quarantine with the reason.
    """
    if adapter is None:
        loader, tables = _folder_loader(source)
    else:
        loader, tables = _adapter_loader(source, adapter)
    home = Home.from_environment()
    parameters = {"source": [str(s) for s in source], "adapter": adapter}
    with jobs.job(home, "ingest", parameters) as run, _one_at_a_time(home):
        lines = ingest(run, tables, loader)
    # Once the load is recorded: whoever reads them may have gone.
    click.echo("\n".join(lines))


def _folder_loader(source: tuple[Path, ...]) -> tuple[Loader, list[str]]:
    if len(source) != 1 or not source[0].is_dir():
        raise UserError(
            f"{source[-1]}: expected one folder of the raw contract (log files of another shape"
            " need --adapter)"
        )
    found = files.discover(source[0])

    def load(con, scratch):
        paths = [(table, path) for table, paths in found.items() for path in paths]
        for table, path in tqdm(paths, desc="read", unit="file"):
            opened = files.open_source(con, path, scratch)
            if opened is None:
                click.echo(f"{path}: empty, no rows of {table}", err=True)
            else:
                yield table, opened

    return load, list(found)


def _adapter_loader(source: tuple[Path, ...], adapter: str) -> tuple[Loader, list[str]]:
    for path in source:
        if not path.is_file():
            raise UserError(f"{path}: expected a file: an adapter reads files, not folders")
    queries = adapters.find_adapter(adapter)

    def load(con, scratch):
        rows = adapters.load_input(con, list(source), scratch)
        click.echo(f"input: {rows:,} rows", err=True)
        for table, path in tqdm(queries.items(), desc="adapt", unit="table"):
            yield table, adapters.query_source(con, path)

    return load, list(queries)


@contextmanager
def _one_at_a_time(home: Home) -> Iterator[None]:
    """Wait for another ingest of this home. The system frees the lock of a killed process."""
    with (home.catalog.parent / "ingest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo("waiting for another ingest of this home to finish", err=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ingest(run: jobs.Run, tables: list[str], loader: Loader) -> list[str]:
    """Stage, judge, write; returns a report, line by line. Raises :class:`UserError` before
    anything is written."""
    # In the data home, which has room for a log; what a killed ingest left there goes.
    scratch = run.home.cache / "ingest"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        database = scratch / "stage.duckdb"
        counts = _stage_and_judge(run.home, tables, loader, database)

        def write(con: duckdb.DuckDBPyConnection) -> int:
            con.execute(f"SET temp_directory = {files.literal(scratch)}")
            con.execute(f"ATTACH {files.literal(database)} AS stage (READ_ONLY)")
            return sum(
                judge.write(con, TABLES[table], counts[table], run.run_id) for table in tables
            )

        stored = warehouse.write(run.home, write)
        return [*_report(run, counts, stored), *_report_reasons(counts, database)]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _stage_and_judge(
    home: Home, tables: list[str], loader: Loader, database: Path
) -> dict[str, judge.Counts]:
    con = warehouse.connect(home, read_only=True)
    try:
        con.execute(f"SET temp_directory = {files.literal(database.parent)}")
        con.execute("SET memory_limit = '4GB'")
        con.execute(f"ATTACH {files.literal(database)} AS stage")
        con.execute("USE stage")
        for table in tables:
            stage.create_table(con, TABLES[table])
        rows = dict.fromkeys(tables, 0)
        ignored: dict[tuple[str, str], str] = {}
        for table, source in loader(con, database.parent):
            rows[table] += stage.add_rows(con, TABLES[table], source)
            for column in stage.ignored_columns(TABLES[table], source):
                ignored.setdefault((table, column), source.label)
        for (table, column), label in ignored.items():
            click.echo(f"{label}: column {column!r} is not in table {table}, ignored", err=True)
        return {
            table: judge.judge(con, TABLES[table], rows[table])
            for table in tqdm(tables, desc="judge", unit="table")
        }
    finally:
        con.close()


def _report(run: jobs.Run, counts: dict[str, judge.Counts], stored: int) -> Iterator[str]:
    yield (
        f"{'table':<16}{'rows in':>12}{'new':>12}{'replaced':>12}{'quarantined':>14}"
        f"{'exact repeats':>16}"
    )
    for table, c in counts.items():
        yield (
            f"{table:<16}{c.rows_in:>12,}{c.new:>12,}{c.replaced:>12,}{c.quarantined:>14,}"
            f"{c.repeat:>16,}"
        )
        run.read(f"landing {table}", c.rows_in)
        run.wrote(f"lake.raw.{table}", c.new + c.replaced)
        run.metrics[table] = vars(c)
    run.wrote("lake.raw.quarantine", stored)


def _report_reasons(counts: dict[str, judge.Counts], database: Path) -> Iterator[str]:
    broken = [table for table, c in counts.items() if c.quarantined]
    if not broken:
        return
    with duckdb.connect() as con:
        con.execute(f"ATTACH {files.literal(database)} AS stage (READ_ONLY)")
        for table in broken:
            reasons = con.execute(f"""
                SELECT reason, count(*), min_by(source_file, row_id), min_by(source_row, row_id)
                FROM ({judge.quarantined(TABLES[table])}) GROUP BY reason ORDER BY 2 DESC, 1
                """).fetchall()
            for reason, count, file, row in reasons[:_REASONS_SHOWN]:
                place = file if row is None else f"{file}, row {row}"
                yield f"quarantined {table}: {count:,} x {reason} (first: {place})"
            if len(reasons) > _REASONS_SHOWN:
                yield f"quarantined {table}: {len(reasons) - _REASONS_SHOWN:,} more reasons"
    yield "what is quarantined: aigq sql 'FROM raw.quarantine'"
