"""The benchmark's results as Markdown tables and JSON."""

import json
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from aigq.jobs import code_version

SIMULATE, FULL, SCRIPT = "simulate", "dbt build --full-refresh", "hand-written script"
POLARS = "Polars, Direct samples"
_INGEST = ("ingest, all days but one", "ingest, one more day")
_NO_RESULT = "out of memory"
_NAMED = (
    SIMULATE,
    *_INGEST,
    "dbt build, one more day",
    FULL,
    SCRIPT,
    POLARS,
)


def write(folder: Path, sizes: list[dict]) -> None:
    """Write ``bench.json`` (every measurement) and ``bench.md`` (medians) into ``folder``.

    ``sizes``: one result of ``bench.measure_size`` each; a contestant that is not there was out of
    memory.
    """
    lines = [*_times(sizes), "", *_ratios(sizes), "", *_memory(sizes)]
    save(folder, "bench", {"sizes": sizes}, lines)


def save(folder: Path, name: str, measured: dict, lines: list[str]) -> None:
    """``name``.json with all that was ``measured``, ``name``.md with ``lines`` of Markdown; in both
    first, what it was measured by and on."""
    folder.mkdir(parents=True, exist_ok=True)
    about = _about()
    (folder / f"{name}.json").write_text(json.dumps(about | measured, indent=1))
    head = [f"- {key}: {value}" for key, value in about.items()]
    (folder / f"{name}.md").write_text("\n".join([*head, "", *lines]) + "\n")


def _about() -> dict[str, str]:
    names = ("duckdb", "dbt-core", "dbt-duckdb", "duckdb-extension-ducklake", "polars", "pyarrow")
    memory = psutil.virtual_memory().total / 2**30
    return {
        "command": " ".join(["python", f"tests/bench/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "versions": f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names),
        "code": code_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of Markdown; all columns but the first are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _head(what: str, sizes: list[dict], last: str | None = None) -> list[str]:
    return [what, *(f"{s['page_views']:,} page views" for s in sizes), *([last] if last else [])]


def _median(size: dict, name: str, field: str) -> float | None:
    """None: it ran out of memory."""
    taken = size["taken"].get(name)
    return statistics.median(each[field] for each in taken) if taken else None


def _times(sizes: list[dict]) -> list[str]:
    """Seconds by contestant and part of the full build, with the exponent of their growth."""
    many = len(sizes) > 1
    named = {name: [_median(s, name, "seconds") for s in sizes] for name in _NAMED}
    rows = {name: list(map(_seconds, values)) for name, values in named.items()}
    for part in sizes[0]["parts"]:
        named[part] = [s["parts"][part] for s in sizes]
        rows[f"... of the full build: {part}"] = [
            f"{_seconds(s['parts'][part])} ({s['parts'][part] / whole:.0%})"
            for s, whole in zip(sizes, named[FULL], strict=True)
        ]
    views = [s["page_views"] for s in sizes]
    growth = [_growth(views, values) for values in named.values()] if many else None
    head = _head("seconds, median", sizes, "exponent" if many else None)
    lines = [[name, *cells] for name, cells in rows.items()]
    if growth:
        lines = [[*line, power] for line, power in zip(lines, growth, strict=True)]
    repeated = ", ".join(str(s["repetitions"]) for s in sizes)
    cores, memory = sizes[0]["cores"], sizes[0]["memory_gb"]
    return [
        f"{cores} cores, {memory:g} GB; repetitions: {repeated}; exponent: of time over page views,"
        " least squares on logarithms.",
        "",
        *table(head, lines),
    ]


def _ratios(sizes: list[dict]) -> list[str]:
    """Medians of the ratios within a repetition; what is not one command of it, such as a part of a
    build, is held against the median."""

    def ratio(ours: str, peers: str) -> list[str]:
        ratios = []
        for taken in (size["taken"] for size in sizes):
            pairs = zip(taken[ours], taken.get(peers, ()), strict=peers in taken)
            each = [a["seconds"] / b["seconds"] for a, b in pairs]
            ratios.append(f"{statistics.median(each):.2f}" if each else _NO_RESULT)
        return ratios

    def median_ratio(ours: Callable[[dict], float], peers: str) -> list[str]:
        medians = [_median(s, peers, "seconds") for s in sizes]
        return [
            f"{ours(s) / median:.2f}" if median else _NO_RESULT
            for s, median in zip(sizes, medians, strict=True)
        ]

    def part_ratio(part: str, peers: str) -> list[str]:
        return median_ratio(lambda size: size["parts"][part], peers)

    def from_the_log(size: dict) -> float:
        return sum(_median(size, name, "seconds") for name in (*_INGEST, FULL))

    rows = [
        ["full build / script", *ratio(FULL, SCRIPT)],
        ["ingest and full build / script", *median_ratio(from_the_log, SCRIPT)],
        ["models the final tables need / script", *part_ratio("needed models", SCRIPT)],
        ["models the Direct samples need / Polars", *part_ratio("Direct samples", POLARS)],
        ["one more day / full build", *ratio("dbt build, one more day", FULL)],
    ]
    return table(_head("ratio of wall times", sizes), rows)


def _memory(sizes: list[dict]) -> list[str]:
    """Peak memory and processor seconds."""
    rows = []
    for name in _NAMED:
        cells = []
        for size in sizes:
            taken = size["taken"].get(name)
            peak = max(t["peak_bytes"] for t in taken) / 1e9 if taken else None
            cpu = _median(size, name, "cpu_seconds")
            cells.append(f"{peak:.2f} GB, {cpu:.0f} s" if taken else _NO_RESULT)
        rows.append([name, *cells])
    return table(_head("peak memory, processor time", sizes), rows)


def _seconds(value: float | None) -> str:
    return _NO_RESULT if value is None else f"{value:.1f}"


def _growth(views: list[float], seconds: list[float | None]) -> str:
    known = [(v, s) for v, s in zip(views, seconds, strict=True) if s is not None]
    return f"{exponent(*map(list, zip(*known, strict=True))):.2f}" if len(known) > 1 else "–"


def exponent(sizes: list[float], seconds: list[float]) -> float:
    """The slope of log(seconds) over log(sizes) by least squares; two sizes at least."""
    x, y = [math.log(s) for s in sizes], [math.log(s) for s in seconds]
    return statistics.linear_regression(x, y).slope
