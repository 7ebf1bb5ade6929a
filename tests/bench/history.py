"""`make bench-history`: what a day costs beside the history that is there before it.

    python tests/bench/history.py                        # 32, 64 and 128 days
    python tests/bench/history.py --days 32,128 --users 40000 --repetitions 3

One log is simulated. For each length of history that many days before its last one are ingested and
built; then, as often as asked, the last day is added to this lake and `dbt build` picks it up. The
day is the same each time, down to the row, new users and items among them; what grows is what lies
before it: all tables, the test days (all after the first 30), and the contexts, up to their newest
50 behaviours. The days before come in one load and one build, so the lake holds few files. Results:
reports/bench_history.md and .json in the data home; work files: bench/ beside them (the log stays).
"""

import shutil
import statistics
from dataclasses import asdict
from pathlib import Path

import click
import measure
import report
from lake import Lake, node_seconds, simulator_version, split

from aigq.settings import Home, UserError

_DAY = ("ingest, one more day", "dbt build, one more day")


def measure_history(folder: Path, landing: Path, days: int, repetitions: int) -> dict:
    """The last day of ``landing``, added to ``days`` days before it."""
    click.echo(f"{days} days of history")
    shutil.rmtree(folder, ignore_errors=True)
    nodes: dict[str, list[float]] = {}
    try:
        split(landing, folder, days)
        lake = Lake(folder, memory_gb=12.0)
        lake.all_but_the_last_day()
        for _ in range(repetitions):
            lake.one_more_day()
            for node, seconds in node_seconds(lake.home.root / "target").items():
                nodes.setdefault(node, []).append(seconds)
    except measure.OutOfMemory as error:
        raise UserError(f"{days} days of history: {error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "days": days,
        "taken": {name: [asdict(t) for t in lake.taken[name]] for name in _DAY},
        "nodes": {node: statistics.median(each) for node, each in nodes.items()},
    }


def rows(results: list[dict]) -> list[list[str]]:
    """Of both commands the medians of wall and processor seconds, and of the models, tests and
    hooks the ten that grow most, each with the exponent of its growth."""
    series = {
        f"{name}: {what}": [
            statistics.median(t[field] for t in each["taken"][name]) for each in results
        ]
        for name in _DAY
        for what, field in (("seconds", "seconds"), ("processor seconds", "cpu_seconds"))
    }
    series["models, tests and hooks"] = [sum(each["nodes"].values()) for each in results]
    nodes = {n: [each["nodes"].get(n, 0.0) for each in results] for n in results[0]["nodes"]}
    by_growth = sorted(nodes, key=lambda node: nodes[node][0] - nodes[node][-1])
    known = [node for node in by_growth if min(nodes[node]) > 0]
    series |= {f"of which {node.split('.')[2]}": nodes[node] for node in known[:10]}
    days = [each["days"] for each in results]
    return [
        [name, *(f"{value:.2f}" for value in values), f"{report.exponent(days, values):.2f}"]
        for name, values in series.items()
    ]


@click.command()
@click.option(
    "--days", default="32,64,128", show_default=True, help="Days of history, with commas."
)
@click.option("--users", default=20000, show_default=True)
@click.option("--repetitions", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Data home.")
def main(days: str, users: int, repetitions: int, home: Path | None) -> None:
    """Measure what one more day costs after histories of several lengths."""
    try:
        lengths = sorted({int(length) for length in days.split(",")})
    except ValueError:
        raise UserError(f"--days: expected whole numbers with commas, got {days!r}") from None
    if len(lengths) < 2 or lengths[0] < 1:
        raise UserError(
            f"--days: expected two or more lengths, each of a day at least, got {days!r}"
        )
    root = Home(home.absolute()) if home else Home.from_environment()
    log = root.root / "bench" / f"history-{users}-{lengths[-1]}-{simulator_version()}"
    if not (log / "done").exists():
        shutil.rmtree(log, ignore_errors=True)
        size = ["--users", str(users), "--days", str(lengths[-1] + 1)]
        Lake(log, memory_gb=12.0).run(
            "simulate", "-m", "aigq.cli", "simulate", "--preset", "paper", *size,
            "--out", log / "landing",
        )  # fmt: skip
        (log / "done").touch()
    results: list[dict] = []
    for length in lengths:
        results.append(
            measure_history(log / f"{length}-days", log / "landing", length, repetitions)
        )
        # After each length: hours of measuring must not hang on the last one.
        if len(results) > 1:
            head = ["seconds, median", *(f"{r['days']} days before" for r in results), "exponent"]
            lines = report.table(head, rows(results))
            report.save(root.reports, "bench_history", {"histories": results}, lines)
    click.echo((root.reports / "bench_history.md").read_text())


if __name__ == "__main__":
    main()
