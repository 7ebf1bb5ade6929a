"""The evaluation as a person reads it (screen and markdown), and as a program does (JSON)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigq.jobs import Run
from training.evaluate import paper
from training.evaluate.bootstrap import Estimate
from training.evaluate.data import Judged
from training.evaluate.result import Result, compared, document, short_names
from training.evaluate.tables import Table, as_markdown, as_text, with_interval

# Title of a table, and its columns: title, metric, K, slice, digits.
_Column = tuple[str, str, int, str, int]
_TABLES: list[tuple[str, list[_Column]]] = [
    (
        "All true queries",
        [
            *((f"Query HR@{k}", "query_hr", k, "all", 3) for k in (1, 10, 30)),
            *((f"Cate HR@{k}", "cate_hr", k, "all", 3) for k in (10, 30)),
        ],
    ),
    (
        "What the lists are like",
        [
            ("Sem. Sim.@30", "sem_sim", 30, "all", 3),
            ("Unique Cates@30", "unique_cates", 30, "all", 1),
            ("candidates of 30", "candidates", 30, "all", 1),
            ("list length", "list_length", 0, "all", 1),
            ("malformed", "malformed", 0, "all", 3),
            ("repeats", "repeats", 0, "all", 3),
            ("click reward", "click_reward", 0, "all", 3),
        ],
    ),
    (
        "Novel true queries (not searched in the context), and those nobody searched in training",
        [
            ("novel QHR@10", "query_hr", 10, "novel", 3),
            ("novel QHR@30", "query_hr", 30, "novel", 3),
            ("novel CHR@30", "cate_hr", 30, "novel", 3),
            ("unseen QHR@30", "query_hr", 30, "unseen_query", 3),
            ("unseen CHR@30", "cate_hr", 30, "unseen_query", 3),
        ],
    ),
    (
        "Query HR@30 by kind of true query",
        [
            ("searched", "query_hr", 30, "searched", 3),
            ("hint clicks", "query_hr", 30, "hint_clicks", 3),
            *((name, "query_hr", 30, name, 3) for name in ("head", "torso", "tail")),
        ],
    ),
    (
        "Query HR@30 and Cate HR@30 by behaviours in the context",
        [
            ("QHR none", "query_hr", 30, "without_context", 3),
            ("QHR 1-3", "query_hr", 30, "context_1_3", 3),
            ("QHR 4+", "query_hr", 30, "context_4_plus", 3),
            ("QHR new item", "query_hr", 30, "unseen_item", 3),
            ("CHR 1-3", "cate_hr", 30, "context_1_3", 3),
        ],
    ),
]
# Rows of a comparison of two models.
_COMPARED: list[_Column] = [
    ("Query HR@10", "query_hr", 10, "all", 3),
    ("Query HR@30", "query_hr", 30, "all", 3),
    ("Cate HR@30", "cate_hr", 30, "all", 3),
    ("Sem. Sim.@30", "sem_sim", 30, "all", 3),
    ("Unique Cates@30", "unique_cates", 30, "all", 1),
    ("repeats", "repeats", 0, "all", 3),
    ("click reward", "click_reward", 0, "all", 3),
    ("novel: Query HR@30", "query_hr", 30, "novel", 3),
    ("novel: Cate HR@30", "cate_hr", 30, "novel", 3),
    ("searched: Query HR@30", "query_hr", 30, "searched", 3),
    ("hint clicks: Query HR@30", "query_hr", 30, "hint_clicks", 3),
    ("unseen query: Cate HR@30", "cate_hr", 30, "unseen_query", 3),
    ("no context: Query HR@30", "query_hr", 30, "without_context", 3),
    ("1-3 behaviours: Query HR@30", "query_hr", 30, "context_1_3", 3),
    ("4+ behaviours: Query HR@30", "query_hr", 30, "context_4_plus", 3),
]
# Metrics whose differences between all models are shown in a matrix.
_MATRICES: list[_Column] = [
    ("Query HR@30", "query_hr", 30, "all", 3),
    ("novel Query HR@30", "query_hr", 30, "novel", 3),
    ("Cate HR@30", "cate_hr", 30, "all", 3),
]
MERGING = (
    "the greedy list first, then the other distinct queries by number of sampled lists that hold"
    " them, best position, text"
)


def tables(result: Result, *, matrices: bool) -> list[Table]:
    """The tables of a report, ``matrices`` of all differences included or not."""
    names = short_names(list(result.estimates))
    found = [_models_down(result, names, title, columns) for title, columns in _TABLES]
    of_row = {key: result.estimates[judged] for key, judged in result.rows.items()}
    row_names = {key: names[judged] for key, judged in result.rows.items()}
    if result.rows:
        found.append(paper.table_1(of_row, row_names))
        for table, ladder in (
            (paper.table_2, paper.LADDER),
            (paper.think_steps, paper.THINK_LADDER),
        ):
            steps = {
                below: compared(result, result.rows[below], result.rows[above])
                for below, above in paper.ladder_pairs(list(result.rows), ladder)
            }
            found.append(table(of_row, steps, row_names))
    found += [_comparison(result, names, one, other) for one, other in result.asked]
    if matrices:
        found += [_matrix(result, names, column) for column in _MATRICES]
    return [table for table in found if table.rows]


def _models_down(
    result: Result, names: Mapping[Judged, str], title: str, columns: list[_Column]
) -> Table:
    header, keys = [""], []
    for name, metric, k, part, digits in columns:
        counts = {
            of[metric, k, part].instances
            for of in result.estimates.values()
            if (metric, k, part) in of
        }
        # A column that says nothing about any model is left out.
        if counts:
            is_alike = len(counts) == 1
            is_whole = counts == {result.instances}
            header.append(f"{name} ({max(counts):,})" if is_alike and not is_whole else name)
            keys.append((metric, k, part, digits, not is_alike))
    rows = []
    for judged, of in result.estimates.items():
        cells = [names[judged]]
        for metric, k, part, digits, is_counted in keys:
            hidden = metric == "malformed" and judged.is_baseline
            estimate = None if hidden else of.get((metric, k, part))
            cells.append("-" if estimate is None else _cell(estimate, digits, is_counted))
        rows.append(cells)
    return Table(title, header, rows if keys else [])


def _cell(e: Estimate, digits: int, is_counted: bool) -> str:
    text = with_interval(e.value, e.low, e.high, digits)
    return f"{text} ({e.instances:,})" if is_counted else text


def _comparison(result: Result, names: Mapping[Judged, str], one: Judged, other: Judged) -> Table:
    found = compared(result, one, other)
    rows = [
        [
            title,
            paper.difference(c, digits),
            f"{c.p:.4f}",
            f"{c.instances:,}",
        ]
        for title, metric, k, part, digits in _COMPARED
        if (c := found.get((metric, k, part))) is not None
    ]
    header = ["", "difference", "p", "instances"]
    return Table(f"{names[one]} minus {names[other]}", header, rows)


def _matrix(result: Result, names: Mapping[Judged, str], column: _Column) -> Table:
    title, metric, k, part, digits = column
    judged = list(result.estimates)
    rows = []
    for one in judged[1:]:
        cells = [names[one]]
        for other in judged[:-1]:
            step = None
            if judged.index(other) < judged.index(one):
                step = compared(result, one, other).get((metric, k, part))
            cells.append("" if step is None else paper.difference(step, digits))
        rows.append(cells)
    return Table(
        f"{title}: row minus column",
        ["", *(names[other] for other in judged[:-1])],
        rows,
        ["* the 95% interval lies off 0 (no correction for the number of comparisons)."],
    )


def foot(run: Run, result: Result, parameters: Mapping[str, Any]) -> list[str]:
    """Where every number comes from."""
    lines = [
        f"{result.instances:,} test user-days ({result.without_category:,} without a true category,"
        " left out of Cate HR). Cells: mean and 95% bootstrap interval over users; (n): instances"
        " that count.",
        *(["The requests of this shop are replayed."] if result.is_replayed else []),
        f"Run {run.run_id}, lake snapshot {run.snapshot_read}, seed {parameters['seed']}.",
        f"Lists are merged to reach K: {MERGING}.",
        *([f"Click rewards are of {parameters['ctr']}."] if parameters["ctr"] else []),
    ]
    for judged, lists in result.lists.items():
        if judged.is_baseline:
            continue
        classes: dict[str, int] = {}
        drawn = [one for of in lists.drawn.values() for one in of]
        for one in drawn:
            if one.error is not None:
                classes[one.error] = classes.get(one.error, 0) + 1
        faults = ", ".join(f"{n:,} {name}" for name, n in sorted(classes.items()))
        lines.append(
            f"{judged}: {_lists(lists.per_instance)} an instance; {sum(classes.values()):,} of"
            f" {len(drawn):,} malformed{f' ({faults})' if faults else ''}."
        )
        lines += [f"  by run {_generation(r)}" for r in lists.runs]
    baselines = [j.name for j in result.lists if j.is_baseline]
    lines.append(f"{', '.join(baselines)}: SQL, 1 list of up to 30 an instance.")
    return lines


def _lists(count: int) -> str:
    return "1 list" if count == 1 else f"1 greedy and {count - 1} sampled lists"


def _generation(run: Mapping[str, Any]) -> str:
    how = [f"{name.replace('_', '-')} {value}" for name, value in run.items() if name != "run_id"]
    return f"{run['run_id']}: {', '.join(how)}"


def write(run: Run, result: Result, parameters: dict[str, Any]) -> list[Path]:
    """Write ``reports/evaluate-<run>.json`` and ``.md``, each by a rename; returns their paths."""
    page = [f"# Evaluation {run.run_id}", ""]
    for table in tables(result, matrices=True):
        page += [as_markdown(table), ""]
    page += ["## Where the numbers come from", ""]
    page += [
        f"- {line}" if line[0] != " " else f"  - {line.strip()}"
        for line in foot(run, result, parameters)
    ]
    texts = {
        ".json": json.dumps(document(run, result, parameters), indent=1) + "\n",
        ".md": "\n".join(page) + "\n",
    }
    run.home.reports.mkdir(parents=True, exist_ok=True)
    paths = []
    for suffix, text in texts.items():
        path = run.home.reports / f"evaluate-{run.run_id}{suffix}"
        partial = path.with_suffix(f"{suffix}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.rename(path)
        paths.append(path)
    return paths


def on_screen(run: Run, result: Result, parameters: Mapping[str, Any]) -> str:
    """All that is printed."""
    blocks = [as_text(table) for table in tables(result, matrices=False)]
    return "\n\n".join([*blocks, "\n".join(foot(run, result, parameters))])
