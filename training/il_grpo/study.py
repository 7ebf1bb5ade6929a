"""IL-GRPO against sequence-level GRPO, from the same checkpoints with the same rollouts.

    AIGQ_HOME=data/ladder python -m training.il_grpo.study      # `make study`
    ... --variants direct --seeds 1 --ablations

Every policy is trained by `aigq train grpo` and judged by `aigq evaluate` beside the one it started
from; what is trained already, such as the ladder's rows, which are seed 1, is not trained again.
Ends with reports/grpo_study_VARIANT.md and .svg in the data home: means over the seeds with the
lowest and highest, and the reward curves. Wants the models VARIANT_il_sft and ctr (`make ladder`
trains them).
"""

import contextlib
import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aigq import models, warehouse
from aigq.settings import Home, UserError
from aigq.steps import Job, lanes_option, run_jobs, unless_published
from training.plot import Panel, Series, svg

ALGORITHMS = ("il_grpo", "grpo")
# Of IL-GRPO's default settings, what each takes away.
ABLATIONS = {
    "no_slots": [
        *("--algorithm", "grpo", "--entropy-weight", "0.01"),
        *("--wide-below", "0.3", "--wide-above", "0.3"),
    ],
    "no_entropy": ["--entropy-weight", "0", "--wide-below", "0.2", "--wide-above", "0.2"],
    # Without clicks a query is worth less: the bounds of the filter move along.
    "no_ctr": ["--weight-ctr", "0", "--keep-low", "0.1", "--keep-high", "0.5"],
}
# The recipe of Direct filters prompts, that of Think does not.
_OF_VARIANT = {
    "direct": {"no_filter": ["--no-filter"]},
    "think": {"with_filter": ["--filter", "--keep-low", "0.2", "--keep-high", "0.6"]},
}
# Metric, K, slice, title, digits.
COLUMNS = (
    ("query_hr", 30, "all", "Query HR@30", 3),
    ("query_hr", 30, "novel", "... novel", 3),
    ("query_hr", 30, "head", "... head", 3),
    ("query_hr", 30, "tail", "... tail", 3),
    ("query_hr", 30, "unseen_query", "... unseen", 3),
    ("query_hr", 30, "without_context", "... no behaviours", 3),
    ("query_hr", 30, "context_1_3", "... 1-3 behaviours", 3),
    ("query_hr", 30, "unseen_item", "... with unseen items", 3),
    ("cate_hr", 30, "all", "Cate HR@30", 3),
    ("cate_hr", 30, "novel", "... novel", 3),
    ("cate_hr", 30, "unseen_query", "... unseen", 3),
    ("cate_hr", 30, "without_context", "... no behaviours", 3),
    ("cate_hr", 30, "context_1_3", "... 1-3 behaviours", 3),
    ("cate_hr", 30, "unseen_item", "... with unseen items", 3),
    ("sem_sim", 30, "all", "Sem. Sim.", 3),
    ("unique_cates", 30, "all", "Unique Cates", 1),
    ("list_length", 0, "all", "queries a list", 1),
    ("malformed", 0, "all", "malformed", 3),
    ("repeats", 0, "all", "repeats", 3),
    ("click_reward", 0, "all", "click reward", 3),
)
# Of which the differences between models are shown, by the same user-days.
COMPARED = [c for c in COLUMNS if c[2] in ("all", "novel")]
# Of rollouts for users never trained on, from the manifest.
HELD_OUT = (
    ("query_reward", "reward of a query", 3),
    ("slot_reward", "... of a slot of the reference", 3),
    ("list_reward", "... of a list's queries together", 2),
    ("ctr_per_query", "click reward, unweighted", 3),
    ("rouge_per_query", "ROUGE-L of a query", 3),
    ("duplicates", "repeats", 3),
    ("distinct_share", "distinct queries", 2),
    ("queries", "queries a rollout", 1),
)
# From the training log: what a reader can hold against one another step by step.
CURVES = (
    ("reward", "reward of a list, all terms and slots"),
    ("query_reward", "reward of a query"),
    ("slots/0/reward", "reward of the first query"),
    ("distinct_share", "share of distinct queries"),
    ("queries", "queries a rollout"),
    ("malformed", "share of malformed rollouts"),
)
# Settings that seeds of one row may differ in. References are resolved, so models are compared.
_OWN = ("seed", "name", "base_model", "ctr_model")
_COLORS = {"IL-GRPO": "#4338ca", "GRPO": "#ea580c"}


@dataclass(frozen=True)
class Row:
    """A row of the table: the models (one per seed) whose means it shows."""

    title: str
    names: Sequence[str]


# Rows with their models.
Found = Sequence[tuple[str, Sequence[models.Model]]]


@click.command()
@click.option("--variants", default="direct,think", show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True)
@click.option("--ablations/--no-ablations", default=True, show_default=True, help="Of seed 1.")
@click.option("--instances", default=1000, show_default=True, help="Test user-days.")
@click.option("--lists", default=6, show_default=True, help="Lists a user-day.")
@lanes_option
def main(
    variants: str, seeds: str, ablations: bool, instances: int, lists: int, lanes: int
) -> None:
    """Train, judge and report."""
    home = Home.from_environment()
    if unknown := set(variants.split(",")) - set(_OF_VARIANT):
        raise UserError(f"--variants: {', '.join(sorted(unknown))}: expected direct, think or both")
    if not re.fullmatch(r"\d+(,\d+)*", seeds):
        raise UserError(f"--seeds: expected numbers with commas between, got {seeds!r}")
    rows = {
        variant: table_rows(variant, [int(seed) for seed in seeds.split(",")], ablations)
        for variant in variants.split(",")
    }
    run_jobs(
        home, "ladder", _jobs(home, rows, instances, lists), lanes=lanes, log=None, logs="study"
    )
    write_report(home, rows)


def table_rows(variant: str, seeds: Sequence[int], ablations: bool) -> list[Row]:
    """What is compared, in the table's order."""
    rows = [Row("IL-SFT", [f"{variant}_il_sft"])]
    rows += [
        Row(title, [_name(variant, algorithm, seed) for seed in seeds])
        for title, algorithm in (("+ GRPO", "grpo"), ("+ IL-GRPO", "il_grpo"))
    ]
    if ablations:
        rows += [
            Row(f"... {name.replace('_', ' ')}", [_name(variant, name, seeds[0])])
            for name in (*ABLATIONS, *_OF_VARIANT[variant])
        ]
    return rows


def _name(variant: str, kind: str, seed: int) -> str:
    """Of seed 1, as `make ladder` has it."""
    return f"{variant}_{kind}" if seed == 1 else f"{variant}_{kind}_s{seed}"


def _seed_in(name: str) -> int:
    return int(found[1]) if (found := re.search(r"_s(\d+)$", name)) else 1


def _jobs(home: Home, rows: dict[str, list[Row]], instances: int, lists: int) -> list[Job]:
    chosen = ["--instances", str(instances), "--lists", str(lists)]
    judged = [name for of in rows.values() for row in of for name in row.names]
    starts = [name for of in rows.values() for name in of[0].names]
    jobs: list[Job] = []
    # Seed by seed: an interrupted study has whole ones.
    for name in sorted(judged, key=_seed_in):
        if name not in starts:
            command = _training(name)
            jobs.append(Job(name, lambda n=name, c=command: unless_published(home, n, c)))

        def written(name: str = name) -> list[list[str]]:
            model = trained(home, name).reference
            return [["aigq", "generate", "lists", "--model", model, *chosen]]

        jobs.append(Job(f"lists_{name}", written, () if name in starts else (name,)))

    def evaluate() -> list[list[str]]:
        of = [part for name in judged for part in ("--model", trained(home, name).reference)]
        # By what rewarded them: the newest may have been gone on with on days that are judged.
        rewarded = {
            trained(home, name).manifest["ctr_model"]: name for name in judged if name not in starts
        }
        if len(rewarded) > 1:
            by = ", ".join(f"{name} by {ctr}" for ctr, name in rewarded.items())
            raise UserError(f"policies were rewarded by different CTR models: {by}")
        return [["aigq", "evaluate", *chosen, "--ctr", *rewarded, *of]]

    return [*jobs, Job("study_evaluation", evaluate, [f"lists_{name}" for name in judged])]


def _training(name: str) -> list[str]:
    variant, _, kind = re.sub(r"_s\d+$", "", name).partition("_")
    of_kind = {name: ["--algorithm", name] for name in ALGORITHMS}
    options = (of_kind | ABLATIONS | _OF_VARIANT[variant])[kind]
    command = ["aigq", "train", "grpo", "--variant", variant, "--name", name]
    return [*command, "--base-model", f"{variant}_il_sft", "--seed", str(_seed_in(name)), *options]


def trained(home: Home, name: str) -> models.Model:
    """The newest version of ``name`` that no day promoted: `aigq train day` goes on under the same
    name, with days that are judged here."""
    models.resolve(home, name)
    found = [m for m in models.versions(home, name) if "promoted_from" not in m.manifest]
    if not found:
        raise UserError(f"every version of {name!r} was made by `aigq train day`: train it anew")
    return found[-1]


def _of_one_recipe(row: Row, of: Sequence[models.Model]) -> Sequence[models.Model]:
    """``of``, the models of ``row``. Raises :class:`UserError` where they differ in more than the
    seed."""
    made = [
        {
            **{k: v for k, v in model.manifest.get("settings", {}).items() if k not in _OWN},
            **{key: model.manifest.get(key) for key in ("base_model", "ctr_model")},
        }
        for model in of
    ]
    for model, other in zip(of[1:], made[1:], strict=True):
        for key, value in made[0].items():
            if other.get(key) != value:
                raise UserError(
                    f"{row.title.strip('+. ')}: {model.reference} has {key} {other.get(key)!r},"
                    f" {of[0].reference} {value!r}; move one of the folders away and train it anew"
                )
    return of


def write_report(home: Home, rows: dict[str, list[Row]]) -> None:
    """reports/grpo_study_VARIANT.md and .svg from lake.eval and the manifests. Raises
    :class:`UserError` where a model is missing."""
    home.reports.mkdir(exist_ok=True)
    for variant, of in rows.items():
        found = [
            (row.title, _of_one_recipe(row, [trained(home, name) for name in row.names]))
            for row in of
        ]
        text = [f"# {variant.title()}", "", *_table(_judged(home, found)), ""]
        text += ["Rollouts for users whose sessions no list model was trained on:", ""]
        text += [*_table(_held_out(found)), ""]
        text += ["Differences, the same user-days, 95% intervals:", ""]
        text += [*_table(_differences(home, found)), ""]
        path = home.reports / f"grpo_study_{variant}.md"
        path.write_text("\n".join(text))
        path.with_suffix(".svg").write_text(curves(home, variant, of))
        click.echo("\n".join(text))
        click.echo(f"wrote {path} and .svg")


def _table(lines: Sequence[Sequence[str]]) -> list[str]:
    """In markdown; the first line is the head."""
    return ["| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]))] + [
        "| " + " | ".join(cells) + " |" for cells in lines[1:]
    ]


def _judged(home: Home, found: Found) -> list[list[str]]:
    """Test user-days: what `aigq evaluate` measured."""
    sql = (
        "SELECT value FROM lake.eval.metrics"
        " WHERE model = ? AND model_version = ? AND metric = ? AND k = ? AND slice = ?"
    )
    lines = [["", *(title for *_, title, _ in COLUMNS)]]
    with _reading(home) as con:
        for title, of in found:
            cells = [
                _spread([_first(con, sql, m.name, m.version, *column[:3]) for m in of], column[4])
                for column in COLUMNS
            ]
            lines.append([title, *cells])
    return lines


def _held_out(found: Found) -> list[list[str]]:
    """Of the first row, whose models were only started from, what IL-GRPO's policies were at first.
    Without clicks the query reward is another one: nothing to compare."""
    (title, _), baseline, (our_title, ours), *ablations = found
    rows = [(title, "before", ours)]
    rows += [(title, "after", of) for title, of in (baseline, (our_title, ours))]
    if len(ours) > 1 and ablations:
        # Of one seed, whose held-out prompts are its own.
        rows.append((f"{our_title}, {_seed(ours[0])}", "after", ours[:1]))
    rows += [(title, "after", of) for title, of in ablations]
    lines = [["", *(title for _, title, _ in HELD_OUT)]]
    for title, when, of in rows:
        cells = []
        for key, _, digits in HELD_OUT:
            is_other = key.endswith("_reward") and title.endswith("no ctr")
            values = [model.manifest["metrics"].get(when, {}).get(key) for model in of]
            cells.append("" if is_other else _spread(values, digits))
        lines.append([title, *cells])
    return lines


def _differences(home: Home, found: Found) -> list[list[str]]:
    """IL-GRPO less GRPO and either less what it started from, by seed; ablations less IL-GRPO."""
    (_, (start,)), (_, baseline), (_, ours), *ablations = found
    pairs = []
    for seed, (one, other) in enumerate(zip(ours, baseline, strict=True)):
        pairs += [
            (f"IL-GRPO - IL-SFT ({_seed(one)})", one, start),
            (f"GRPO - IL-SFT ({_seed(other)})", other, start),
            (f"IL-GRPO - GRPO ({_seed(one)})", one, other),
        ]
        if not seed:
            pairs += [(f"{title.strip('. ')} - IL-GRPO", of[0], one) for title, of in ablations]
    sql = (
        "SELECT difference, interval_low, interval_high FROM lake.eval.comparisons WHERE"
        " (model, model_version, other_model, other_version) = (?, ?, ?, ?)"
        " AND metric = ? AND k = ? AND slice = ?"
    )
    lines = [["", *(title for *_, title, _ in COMPARED)]]
    with _reading(home) as con:
        for title, one, other in pairs:
            cells = []
            for *column, _, digits in COMPARED:
                sides = (one.name, one.version), (other.name, other.version)
                sign, row = 1, con.execute(sql, [*sides[0], *sides[1], *column]).fetchone()
                if row is None:
                    sign, row = -1, con.execute(sql, [*sides[1], *sides[0], *column]).fetchone()
                cells.append(_interval(sign, row, digits))
            lines.append([title, *cells])
    return lines


def _reading(home: Home):
    return contextlib.closing(warehouse.connect(home, read_only=True))


def _first(con, sql: str, *parameters) -> float | None:
    row = con.execute(sql, list(parameters)).fetchone()
    return row and row[0]


def _seed(model: models.Model) -> str:
    return f"seed {model.manifest['seed']}"


def _interval(sign: int, row: Sequence[float] | None, digits: int) -> str:
    """With a star where the interval lies off 0."""
    if row is None:
        return ""
    value, *ends = (sign * number + 0.0 for number in row)  # + 0.0: no -0
    low, high = sorted(ends)
    star = "*" if low > 0 or high < 0 else ""
    return f"{value:+.{digits}f} [{low:.{digits}f} {high:.{digits}f}]{star}"


def _spread(values: Sequence[float | None], digits: int) -> str:
    """Mean, and of several seeds the lowest and highest."""
    if any(value is None for value in values):
        return ""
    shown = [f"{v:.{digits}f}" for v in (statistics.mean(values), min(values), max(values))]
    return shown[0] if len(values) == 1 else f"{shown[0]} ({shown[1]} {shown[2]})"


def curves(home: Home, variant: str, rows: list[Row]) -> str:
    """What rollouts were like batch by batch: mean and range of the seeds, as SVG."""
    found = {
        title: [_curve(trained(home, name).path) for name in row.names]
        for title, row in (("IL-GRPO", rows[2]), ("GRPO", rows[1]))
    }
    panels = []
    for key, label in CURVES:
        series = [_series(title, [log[key] for log in logs]) for title, logs in found.items()]
        batches = list(range(1, len(series[0].mean) + 1))
        top = max(max(s.high) for s in series) * 1.1 or 1.0
        panels.append(Panel(f"{variant.title()}: {label}", "rollout batch", batches, series, top))
    return svg(panels, _COLORS, "Rollouts while training, IL-GRPO and GRPO")


def _curve(path: Path) -> dict[str, list[float]]:
    """By rollout batch, the values of CURVES."""
    log = json.loads((path / "training_log.json").read_text())
    found: dict[str, list[float]] = {key: [] for key, _ in CURVES}
    for entry in log:
        if "reward" in entry:
            of_queries = sum(entry[f"rewards/{term}/mean"] for term in ("ctr", "rouge", "length"))
            values = {**entry, "query_reward": of_queries / max(entry["queries"], 1e-9)}
            for key, of in found.items():
                # A batch without any list that parses has no slots.
                of.append(values.get(key, 0.0))
    return found


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
