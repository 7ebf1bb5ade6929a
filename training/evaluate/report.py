"""The evaluation as a person reads it, and as a program does."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigq.jobs import Run

if TYPE_CHECKING:
    from training.evaluate.job import Result

# Rows of the screen table: title, metric, K, slice.
_ROWS = [
    *((f"Query HR@{k}", "query_hr", k, "all") for k in (1, 3, 10, 30)),
    *((f"Cate HR@{k}", "cate_hr", k, "all") for k in (1, 3, 10, 30)),
    ("Sem. Sim.@30", "sem_sim", 30, "all"),
    ("Unique Cates@30", "unique_cates", 30, "all"),
    ("novel: Query HR@10", "query_hr", 10, "novel"),
    ("novel: Query HR@30", "query_hr", 30, "novel"),
    ("novel: Cate HR@30", "cate_hr", 30, "novel"),
    ("novel: Sem. Sim.@30", "sem_sim", 30, "novel"),
    ("with context: Query HR@10", "query_hr", 10, "with_context"),
    ("with context: Cate HR@10", "cate_hr", 10, "with_context"),
    ("no context: Query HR@10", "query_hr", 10, "without_context"),
    ("no context: Cate HR@10", "cate_hr", 10, "without_context"),
]


def table(result: "Result") -> str:
    """The screen table: metrics down, models across, ``value [95% interval]`` in the cells."""
    models = list(dict.fromkeys((m, v) for m, v, *_ in result.estimates))
    lines = [["", *_headers(models)]]
    for title, metric, k, part in _ROWS:
        cells = [title]
        for model, version in models:
            e = result.estimates.get((model, version, metric, k, part))
            digits = 1 if metric == "unique_cates" else 3
            cells.append(
                "-"
                if e is None
                else f"{e.value:.{digits}f} [{e.low:.{digits}f} {e.high:.{digits}f}]"
            )
        if any(cell != "-" for cell in cells[1:]):
            lines.append(cells)
    lines.append(
        ["distinct candidates", *(f"{result.candidates.get(key, 0):.1f}" for key in models)]
    )
    lines.append(
        [
            "malformed lists",
            *(f"{result.malformed[k]:.1%}" if k in result.malformed else "-" for k in models),
        ]
    )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rendered = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rendered.insert(1, "-" * max(map(len, rendered)))
    notes = [
        "",
        f"{result.instances:,} test user-days ({result.without_category:,} without a true category,"
        " left out of Cate HR).",
        f"{_counts(result)}",
        f"Generated models: 1 greedy list + {result.lists - 1} sampled, merged to reach K.",
        "Cells: mean and 95% bootstrap interval over users.",
        *(["The requests of this shop are replayed."] if result.is_replayed else []),
    ]
    return "\n".join([*rendered, *notes])


def _headers(models: list[tuple[str, str]]) -> list[str]:
    """Names; where one occurs twice, with the end of the version, or all of it if need be."""
    names = Counter(model for model, _ in models)
    short = [f"{model}@{version.rsplit('-', 1)[-1]}" for model, version in models]
    return [
        model if names[model] == 1 else (name if short.count(name) == 1 else f"{model}@{version}")
        for (model, version), name in zip(models, short, strict=True)
    ]


def _counts(result: "Result") -> str:
    """How many instances each slice has: intervals mean little without it."""
    counts = {}
    for (_, _, metric, _, part), estimate in result.estimates.items():
        if metric == "query_hr":
            counts[part] = estimate.instances
    return (
        "Instances: " + ", ".join(f"{k.replace('_', ' ')} {v:,}" for k, v in counts.items()) + "."
    )


def write_json(run: Run, result: "Result", parameters: dict[str, Any]) -> Path:
    """Write ``reports/evaluate-<run>.json`` by an atomic rename; returns its path."""
    document = {
        "run_id": run.run_id,
        "snapshot_read": run.snapshot_read,
        "parameters": parameters,
        "instances": result.instances,
        "instances_without_category": result.without_category,
        "is_replayed": result.is_replayed,
        "lists": result.lists,
        "malformed": {f"{m}@{v}": share for (m, v), share in result.malformed.items()},
        "candidates": {f"{m}@{v}": mean for (m, v), mean in result.candidates.items()},
        "metrics": [
            {
                "model": model,
                "model_version": version,
                "metric": metric,
                "k": k,
                "slice": part,
                "value": e.value,
                "interval": [e.low, e.high],
                "instances": e.instances,
            }
            for (model, version, metric, k, part), e in result.estimates.items()
        ],
    }
    folder = run.home.reports
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"evaluate-{run.run_id}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.rename(path)
    return path
