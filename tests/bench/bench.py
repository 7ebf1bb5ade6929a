"""`make bench`: how long the sample warehouse takes, beside named peers, on the simulator's log.

    python tests/bench/bench.py                              # 0.1 million page views, 3 times
    python tests/bench/bench.py --page-views 0.1,0.3,1,3     # the growth curve

For each size, in turn and as often as asked: the last day's log is ingested into a lake that holds
the days before, `dbt build` (one more day), `dbt build --full-refresh` (all days), the hand-written
script (warehouse.sql) and Polars (direct_samples_polars.py). Every command gets two cores and 12 GB
(`measure.py` ends what takes more: of a peer that is the result, a build of ours fails). Ratios are
taken within a repetition, and the medians reported. What is compared is checked to be the same
rows. Results: reports/bench.md and reports/bench.json in the data home; work files: bench/ beside
them, of which the simulated logs are kept.
"""

import importlib.util
import json
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import duckdb
import measure
import report
from lake import Lake, node_seconds, simulator_version, split
from warehouse import TABLES

from aigq import warehouse
from aigq.ingest import files
from aigq.settings import Home, UserError

# Simulated page views per user over 32 days, in the preset `paper`.
_VIEWS_PER_USER = 5.16
_BENCH = Path(__file__).parent


class Bench(Lake):
    """The contestants of one size. ``landing``: the whole log."""

    def __init__(self, folder: Path, memory_gb: float):
        super().__init__(folder, memory_gb)
        self.landing = folder / "landing"
        self.out_of_memory: set[str] = set()

    def peer(self, name: str, *command: str | Path) -> bool:
        """The same for one of ours' peers; whether its memory was enough. What was not enough in
        one repetition is no result."""
        try:
            self.run(name, *command)
        except measure.OutOfMemory as error:
            click.echo(f"\n    {error}")
            self.out_of_memory.add(name)
        return name not in self.out_of_memory

    def repetition(self) -> dict[str, float]:
        """Each contestant once; returns the parts of the full build in seconds.

        Raises :class:`UserError` where they do not end in the same rows.
        """
        self.one_more_day()
        day = self._rows_in_lake()
        full = self.build("dbt build --full-refresh", "--full-refresh")
        went_to = parts(self.home.root / "target", full.seconds)
        lake = self._rows_in_lake()
        others = {"one more day": day}
        if self.peer(
            report.SCRIPT,
            _BENCH / "warehouse.py",
            self.landing,
            self._out("script"),
            self.duckdb_limit,
            str(len(self.cores)),
        ):
            others["the script"] = _rows_in_files(self._out("script"), lake, list(TABLES))
        if self.peer(
            report.POLARS,
            _BENCH / "direct_samples_polars.py",
            self.landing,
            self._out("polars"),
        ):
            others["Polars"] = _rows_in_files(self._out("polars"), lake, ["samples_direct"])
        for name, rows in others.items():
            for table, content in rows.items():
                if lake[table] != content:
                    raise UserError(f"{table}: other rows by {name} than by a full build")
        return went_to

    def _out(self, name: str) -> Path:
        return self.folder / "out" / name

    def _rows_in_lake(self) -> dict[str, tuple]:
        con = warehouse.connect(self.home, read_only=True)
        try:
            return {t: _content(con, as_built(t, f"{schema}.{t}")) for t, schema in TABLES.items()}
        finally:
            con.close()


def _rows_in_files(folder: Path, like: dict[str, tuple], tables: Sequence[str]) -> dict[str, tuple]:
    """Of the columns that the lake's tables have."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        return {
            t: _content(
                con,
                as_built(t, files.literal(folder / f"{t}.parquet")),
                [name for name, _ in like[t][0]],
            )
            for t in tables
        }


def as_built(table: str, rows: str) -> str:
    """``rows`` of ``table``, a feature table without what tells when it was built."""
    return f"({reference.as_built(rows)})" if TABLES[table] == "features" else rows


def _reference():
    path = _BENCH.parent / "dbt_project" / "dbt_reference.py"
    spec = importlib.util.spec_from_file_location("dbt_reference_of_bench", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference = _reference()


def _content(
    con: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str] | None = None
) -> tuple:
    """What two tables with the same rows have in common, in whatever order: columns (all, where
    none are given) and their types, number of rows, and the sum of the rows' hashes."""
    names = "*" if columns is None else ", ".join(f'"{name}"' for name in columns)
    types = con.execute(
        f"SELECT column_name, column_type FROM (DESCRIBE SELECT {names} FROM {table}) ORDER BY ALL"
    ).fetchall()
    row = ", ".join(f'"{name}"' for name, _ in types)
    totals = con.execute(f"SELECT count(*), sum(hash({row})) FROM {table}").fetchone()
    return (tuple(types), *totals)


def parts(target: Path, seconds: float) -> dict[str, float]:
    """Seconds of a build that took ``seconds``, by what they went to; from dbt's own artifacts in
    ``target``. The first four add up to the build: models that the final tables need, other
    models, tests, and what no node took. ``Direct samples`` are the first ones' part that
    samples_direct needs (its label tables are made for both variants at once)."""
    manifest = json.loads((target / "manifest.json").read_text())
    needed = _upstream(manifest, TABLES)
    direct = _upstream(manifest, ["samples_direct"])
    found = dict.fromkeys(
        ("needed models", "other models", "tests", "dbt itself", "Direct samples"), 0.0
    )
    for node, took in node_seconds(target).items():
        if node.startswith(("test.", "unit_test.")):
            found["tests"] += took
        elif node.startswith("model."):
            found["needed models" if node in needed else "other models"] += took
            found["Direct samples"] += took if node in direct else 0.0
    nodes = found["needed models"] + found["other models"] + found["tests"]
    return found | {"dbt itself": seconds - nodes}


def _upstream(manifest: dict, models: Sequence[str]) -> set[str]:
    """The ids of these models and of everything they are made from."""
    found: set[str] = set()
    waiting = [f"model.aigq.{model}" for model in models]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += manifest["parent_map"].get(node, [])
    return found


def _simulated(folder: Path, page_views: float, bench: Bench) -> None:
    """The log of about ``page_views`` page views under ``folder``: whole, and split by day. What it
    took is kept with it."""
    done = folder / "simulated.json"
    if done.exists():
        bench.taken[report.SIMULATE] = [measure.Taken(**json.loads(done.read_text()))]
        return
    shutil.rmtree(folder, ignore_errors=True)
    users = round(page_views / _VIEWS_PER_USER)
    size = ["--preset", "paper", "--users", str(users)]
    command = ["-m", "aigq.cli", "simulate", *size, "--out", folder / "landing"]
    taken = bench.run(report.SIMULATE, *command)
    split(bench.landing, folder)
    done.write_text(json.dumps(asdict(taken)))


def measure_size(folder: Path, millions: float, repetitions: int, memory_gb: float) -> dict:
    """All contestants at one size: what `report.py` makes tables of."""
    folder /= f"{millions:g}m-{simulator_version()}"
    bench = Bench(folder, memory_gb)
    click.echo(f"{millions:g} million page views")
    _simulated(folder, millions * 1e6, bench)
    bench.all_but_the_last_day()
    went_to = []
    for number in range(1, repetitions + 1):
        click.echo(f" repetition {number} of {repetitions}")
        went_to.append(bench.repetition())
    with duckdb.connect() as con:
        rows = {
            table: con.execute(f"SELECT count(*) FROM read_parquet({list(map(str, p))})").fetchone()
            for table, p in files.discover(bench.landing).items()
        }
    return {
        "page_views": rows["hint_requests"][0],
        "events": rows["events"][0],
        "candidates": rows["hint_candidates"][0],
        "repetitions": repetitions,
        "memory_gb": memory_gb,
        "cores": len(bench.cores),
        "taken": {
            name: [asdict(t) for t in all_]
            for name, all_ in bench.taken.items()
            if name not in bench.out_of_memory
        },
        "parts": {part: statistics.median(each[part] for each in went_to) for part in went_to[0]},
    }


@click.command()
@click.option("--page-views", default="0.1", show_default=True, help="Millions, with commas.")
@click.option("--repetitions", type=click.IntRange(min=1), help="[default: 3, 1 from 1 million]")
@click.option("--memory-gb", type=float, default=12.0, show_default=True)
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Data home.")
def main(page_views: str, repetitions: int | None, memory_gb: float, home: Path | None) -> None:
    """Measure the sample warehouse beside its peers."""
    try:
        sizes = [float(size) for size in page_views.split(",")]
    except ValueError:
        raise UserError(f"--page-views: expected numbers with commas, got {page_views!r}") from None
    root = Home(home.absolute()) if home else Home.from_environment()
    results = []
    for size in sizes:
        times = repetitions or (1 if size >= 1 else 3)
        results.append(measure_size(root.root / "bench", size, times, memory_gb))
        # After each size: hours of measuring must not hang on the last one.
        report.write(root.reports, results)
    click.echo((root.reports / "bench.md").read_text())


if __name__ == "__main__":
    main()
