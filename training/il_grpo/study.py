"""IL-GRPO against sequence-level GRPO, from the same checkpoints with the same rollouts.

    AIGQ_HOME=data/ladder python -m training.il_grpo.study      # `make study`
    ... --variants direct --seeds 1 --ablations

Every policy is trained by `aigq train grpo` and judged by `aigq evaluate` beside the one it started
from; what is trained already is not trained again. Ends with reports/grpo_study.md and .svg in the
data home: means over the seeds with the lowest and highest, and the reward curves. Wants the models
VARIANT_il_sft and ctr (`make ladder` trains them).
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aigq import models, warehouse
from aigq.settings import Home
from aigq.steps import Step, run_steps, unless_published
from training.plot import Panel, Series, svg

ALGORITHMS = ("il_grpo", "grpo")
# Of IL-GRPO's default settings, what each takes away.
ABLATIONS = {
    "no_slots": [
        *("--algorithm", "grpo", "--entropy-weight", "0.01"),
        *("--wide-below", "0.3", "--wide-above", "0.3"),
    ],
    "no_entropy": ["--entropy-weight", "0", "--wide-below", "0.2", "--wide-above", "0.2"],
    "no_ctr": ["--weight-ctr", "0"],
}
# The recipe of Direct filters prompts, that of Think does not.
_OF_VARIANT = {
    "direct": {"no_filter": ["--no-filter"]},
    "think": {"with_filter": ["--filter", "--keep-low", "0.2", "--keep-high", "0.6"]},
}
# Metric, K, slice, title, digits.
COLUMNS = (
    ("query_hr", 30, "all", "Query HR@30", 3),
    ("query_hr", 30, "novel", "novel", 3),
    ("query_hr", 30, "context_1_3", "1-3 behaviours", 3),
    ("query_hr", 30, "unseen_query", "unseen query", 3),
    ("cate_hr", 30, "all", "Cate HR@30", 3),
    ("cate_hr", 30, "novel", "novel", 3),
    ("sem_sim", 30, "all", "Sem. Sim.", 3),
    ("unique_cates", 30, "all", "Unique Cates", 1),
)
# Of rollouts for users never trained on, from the manifest.
HELD_OUT = (
    ("ctr_per_query", "click reward", 3),
    ("rouge", "ROUGE-L, sum", 2),
    ("duplicates", "repeats", 3),
    ("distinct_share", "distinct", 2),
)
_COLORS = {"IL-GRPO": "#4338ca", "GRPO": "#ea580c"}


@dataclass(frozen=True)
class Row:
    """A row of the table: the models (one per seed) whose means it shows."""

    title: str
    names: Sequence[str]


@click.command()
@click.option("--variants", default="direct,think", show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--ablations/--no-ablations", default=True, show_default=True, help="Of seed 1.")
@click.option("--instances", default=1000, show_default=True, help="Test user-days.")
@click.option("--lists", default=6, show_default=True, help="Lists a user-day.")
def main(variants: str, seeds: str, ablations: bool, instances: int, lists: int) -> None:
    """Train, judge and report."""
    home = Home.from_environment()
    rows = {
        variant: table_rows(variant, [int(seed) for seed in seeds.split(",")], ablations)
        for variant in variants.split(",")
    }
    run_steps(home, "ladder", _steps(home, rows, instances, lists), log=None)
    write_report(home, rows)


def table_rows(variant: str, seeds: Sequence[int], ablations: bool) -> list[Row]:
    """What is compared, in the table's order."""
    rows = [Row("IL-SFT", [f"{variant}_il_sft"])]
    rows += [
        Row(title, [f"{variant}_{algorithm}_s{seed}" for seed in seeds])
        for title, algorithm in (("+ GRPO", "grpo"), ("+ IL-GRPO", "il_grpo"))
    ]
    if ablations:
        rows += [
            Row(f"... {name.replace('_', ' ')}", [f"{variant}_{name}_s{seeds[0]}"])
            for name in (*ABLATIONS, *_OF_VARIANT[variant])
        ]
    return rows


def _steps(home: Home, rows: dict[str, list[Row]], instances: int, lists: int) -> list[Step]:
    steps: list[Step] = []
    judged = [name for of in rows.values() for row in of for name in row.names]
    for variant, of in rows.items():
        names = [name for row in of[1:] for name in row.names]
        # Seed by seed: an interrupted study has whole ones.
        for name in sorted(names, key=lambda name: int(name.rpartition("_s")[2])):
            kind, _, seed = name.removeprefix(f"{variant}_").rpartition("_s")
            of_kind = {name: ["--algorithm", name] for name in ALGORITHMS}
            options = (of_kind | ABLATIONS | _OF_VARIANT[variant])[kind]
            command = ["aigq", "train", "grpo", "--variant", variant, "--name", name]
            command += ["--base-model", f"{variant}_il_sft", "--seed", seed, *options]
            steps.append(
                (f"Training: {name}", lambda n=name, c=command: unless_published(home, n, c))
            )
    evaluate = ["aigq", "evaluate", "--instances", str(instances), "--lists", str(lists)]
    for name in judged:
        evaluate += ["--model", name]
    return [*steps, ("Evaluation on days that no model has seen", [evaluate])]


def write_report(home: Home, rows: dict[str, list[Row]]) -> None:
    """reports/grpo_study.md and .svg from eval.metrics and the manifests."""
    text = []
    for variant, of in rows.items():
        head = ["", *(title for *_, title, _ in COLUMNS), *(title for _, title, _ in HELD_OUT)]
        text += [f"## {variant.title()}", "", _line(head), _line(["---"] * len(head))]
        text += [_line([row.title, *_cells(home, row)]) for row in of] + [""]
    home.reports.mkdir(exist_ok=True)
    (home.reports / "grpo_study.md").write_text("\n".join(text))
    (home.reports / "grpo_study.svg").write_text(curves(home, rows))
    click.echo("\n".join(text))
    click.echo(f"wrote {home.reports / 'grpo_study.md'} and .svg")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cells(home: Home, row: Row) -> list[str]:
    found = [models.resolve(home, name) for name in row.names]
    con = warehouse.connect(home, read_only=True)
    try:
        cells = [
            _spread([_metric(con, model, *column[:3]) for model in found], column[4])
            for column in COLUMNS
        ]
    finally:
        con.close()
    after = [model.manifest["metrics"].get("after", {}) for model in found]
    return cells + [_spread([of.get(key) for of in after], digits) for key, _, digits in HELD_OUT]


def _metric(con, model: models.Model, metric: str, k: int, part: str) -> float | None:
    row = con.execute(
        "SELECT value FROM lake.eval.metrics WHERE model = ? AND model_version = ?"
        " AND metric = ? AND k = ? AND slice = ?",
        [model.name, model.version, metric, k, part],
    ).fetchone()
    return row and row[0]


def _spread(values: Sequence[float | None], digits: int) -> str:
    """Mean, and of several seeds the lowest and highest."""
    if any(value is None for value in values):
        return ""
    shown = [f"{v:.{digits}f}" for v in (statistics.mean(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} {shown[2]})"


def curves(home: Home, rows: dict[str, list[Row]]) -> str:
    """Reward of the rollouts and how different they are, step by step: mean and range of seeds."""
    panels = []
    for variant, of in rows.items():
        of_title = {"IL-GRPO": of[2].names, "GRPO": of[1].names}
        found = {
            title: [_curve(models.resolve(home, name).path) for name in names]
            for title, names in of_title.items()
        }
        for key, label in (("reward", "summed reward"), ("distinct_share", "distinct queries")):
            values = {t: [[e[key] for e in log] for log in logs] for t, logs in found.items()}
            series = [_series(title, logs) for title, logs in values.items()]
            steps = list(range(1, len(series[0].mean) + 1))
            top = max(max(s.high) for s in series) * 1.1
            panels.append(Panel(f"{variant.title()}: {label}", "rollout batch", steps, series, top))
    return svg(panels, _COLORS, "Rewards of rollouts while training, IL-GRPO and GRPO")


def _curve(path: Path) -> list[dict]:
    log = json.loads((path / "training_log.json").read_text())
    return [entry for entry in log if "reward" in entry]


def _series(title: str, logs: Sequence[Sequence[float]], window: int = 5) -> Series:
    """Running means: a batch holds few prompts, whose rewards differ more than policies do."""
    smooth = [
        [statistics.mean(log[max(0, i + 1 - window) : i + 1]) for i in range(len(log))]
        for log in logs
    ]
    at_step = list(zip(*smooth, strict=True))
    return Series(
        title,
        [statistics.mean(values) for values in at_step],
        [min(values) for values in at_step],
        [max(values) for values in at_step],
    )


if __name__ == "__main__":
    main()
