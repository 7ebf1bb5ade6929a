"""``aigq evaluate``: measure models and SQL baselines on the test user-days, side by side.

Has the lists that are missing generated (``aigq generate lists``), then measures everything from
``lake.eval.lists`` alone. Writes ``lake.eval.metrics``, ``lake.eval.comparisons`` (paired bootstrap
of any two), and a report as JSON and markdown. Metrics are defined in ``metrics``, slices in
``slices``.

    aigq evaluate --model direct                    # the newest direct model, 1,000 user-days
    aigq evaluate --model direct_sft --model direct_il_sft --model ebr --zero-shot base
    aigq evaluate --compare direct_il_sft direct_sft --compare direct_il_sft co_click
    aigq evaluate --model direct --days 2026-02-04..2026-02-04    # one shop day's user-days
    aigq evaluate --as-of RUN                       # an old state: the report only, no eval tables
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from aigq import jobs, models, warehouse
from aigq.as_of import as_of_option, find_snapshot
from aigq.days import EVERY_DAY, Days, days_option
from aigq.settings import Home, UserError
from training.evaluate import paper, report
from training.evaluate.data import Judged
from training.evaluate.measuring import evaluate
from training.evaluate.result import store

if TYPE_CHECKING:
    from aigq.ctr import CtrScorer


@click.command()
@click.option(
    "--model",
    "references",
    multiple=True,
    help="NAME or NAME@VERSION; may be given several times. The baselines are always there."
    " [default: direct, where nothing else is named]",
)
@click.option(
    "--zero-shot",
    "zero_shot",
    multiple=True,
    metavar="NAME",
    help="A model that was not trained to write lists (base, or a checkpoint's folder), asked with"
    " the verbose prompt; may be given several times.",
)
@click.option(
    "--compare",
    "pairs",
    nargs=2,
    multiple=True,
    metavar="A B",
    help="Show A minus B by paired bootstrap; models or baselines, which are evaluated too. May be"
    " given several times. All pairs go to eval.comparisons in any case.",
)
@click.option(
    "--row",
    "rows",
    multiple=True,
    metavar="ROW=NAME",
    help=f"Which model stands in a row of the paper's tables ({', '.join(paper.ROWS)}); by default"
    " the one of that name, or whose manifest says so.",
)
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Test user-days: the first N by md5 of the instance id.",
)
@days_option("Only the test user-days of these shop days, YYYY-MM-DD. [default: all]")
@click.option(
    "--lists",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Lists per instance and model: one greedy, the others sampled, merged to reach K.",
)
@click.option(
    "--ctr",
    metavar="NAME",
    help="A CTR model: adds the click reward (AIGQ eq. 14) that lists have by it.",
)
@click.option("--engine", help="Passed on to `aigq generate lists`.")
@as_of_option
@click.option("--seed", type=int, default=0, show_default=True, help="Of sampling and bootstrap.")
def command(
    references: tuple[str, ...],
    zero_shot: tuple[str, ...],
    pairs: tuple[tuple[str, str], ...],
    rows: tuple[str, ...],
    instances: int,
    days: Days,
    lists: int,
    ctr: str | None,
    engine: str | None,
    as_of: str | None,
    seed: int,
) -> None:
    """Measure models on the test user-days beside the baselines."""
    home = Home.from_environment()
    # Once, for all that follows: a run's beginning may fit another run a moment later.
    as_of = None if as_of is None else str(find_snapshot(home, as_of))
    asked = {name: models.resolve_checkpoint(home, name) for name in zero_shot}
    named = (*references, *(name for pair in pairs for name in pair))
    wanted = [n for n in dict.fromkeys(named) if n not in (*models.BASELINES, *asked)]
    default = () if named or asked else ("direct",)
    found = {name: models.resolve(home, name) for name in wanted or default}
    chosen = _judged(found | asked)
    of_row = _rows(rows, found, asked, chosen)
    shown = [tuple(_find(name, chosen) for name in pair) for pair in pairs]
    passed_on = [("--instances", instances), ("--days", days.text), ("--lists", lists)]
    passed_on += [("--seed", seed)]
    passed_on += [("--engine", engine), ("--as-of", as_of)]
    options = [
        text for name, value in passed_on if value is not None for text in (name, str(value))
    ]
    clicks = [] if ctr is None else [models.resolve(home, ctr)]
    _require_unseen_days(home, [*found.values(), *asked.values(), *clicks], days, as_of)
    scorer = _scorer(home, clicks[0]) if clicks else None
    for model in dict.fromkeys(found.values()):
        _have_lists_generated(home, model.reference, options)
    for model in asked.values():
        _have_lists_generated(home, model.reference, [*options, "--zero-shot"])
    parameters = {
        "models": [str(judged) for judged in dict.fromkeys(chosen.values())],
        "zero_shot": [str(chosen[name]) for name in asked],
        "instances": instances,
        "days": days.text,
        "lists": lists,
        "ctr": clicks[0].reference if clicks else None,
        "seed": seed,
    }
    with jobs.job(home, "evaluate", parameters, as_of=as_of) as run:
        judged = [Judged(name, "sql") for name in models.BASELINES]
        judged += dict.fromkeys(chosen.values())
        result = evaluate(
            run,
            judged,
            instances=instances,
            days=days,
            lists=lists,
            seed=seed,
            ctr=scorer,
            rows=of_row,
            asked=shown,
        )
        if not run.is_as_of:  # The eval tables are about the present.
            store(run, result)
        paths = report.write(run, result, parameters)
        for path in paths:
            run.wrote(str(path))
        run.metrics |= {
            "report": paths[0].name,
            "instances": result.instances,
            "is_replayed": result.is_replayed,
        }
        click.echo(report.on_screen(run, result, parameters))


def _scorer(home: Home, model: models.Model) -> "CtrScorer":
    from aigq import ctr  # torch takes seconds, and most evaluations do without

    return ctr.load(home, model.reference)


def _judged(found: Mapping[str, models.Model]) -> dict[str, Judged]:
    return {name: Judged(model.name, model.version) for name, model in found.items()}


def _find(name: str, chosen: Mapping[str, Judged]) -> Judged:
    return Judged(name, "sql") if name in models.BASELINES else chosen[name]


def _rows(
    given: Sequence[str],
    found: Mapping[str, models.Model],
    asked: Mapping[str, models.Model],
    chosen: Mapping[str, Judged],
) -> dict[str, Judged]:
    """The model of each row of the paper's tables: as ``given``, else by name, else by manifest."""
    by_manifest: dict[str, Judged] = {}
    by_name: dict[str, Judged] = {}
    for name, model in (found | asked).items():
        row = paper.row_of(model.name, model.manifest, is_zero_shot=name in asked)
        if row is not None:
            by_manifest.setdefault(row, chosen[name])
            if row == model.name.replace("-", "_"):
                by_name[row] = chosen[name]
    by_option = {}
    for text in given:
        row, _, name = text.partition("=")
        if row not in paper.ROWS or not name:
            raise UserError(f"--row {text}: expected ROW=NAME, ROW one of {', '.join(paper.ROWS)}")
        of = {key: judged for key, judged in chosen.items() if name in (key, judged.name)}
        if not of:
            raise UserError(
                f"--row {text}: {name!r} is not evaluated; there are: {', '.join(chosen)}"
            )
        by_option[row] = next(iter(of.values()))
    return by_manifest | by_name | by_option


def _require_unseen_days(
    home: Home, found: list[models.Model], days: Days, as_of: str | None
) -> None:
    """Refuse to measure a model on days that it was trained on, and days without a user-day."""
    con = warehouse.connect(home, read_only=True, snapshot=int(as_of) if as_of else None)
    try:
        if not warehouse.table_exists(con, "samples.test_user_days"):
            raise UserError("the lake has no samples.test_user_days: run `dbt build` first")
        (first,) = con.execute(
            f"SELECT min(session_start_at) FROM lake.samples.test_user_days WHERE {days.condition}"
        ).fetchone()
        if first is None and days != EVERY_DAY:
            raise UserError(f"--days: no test user-day in {days.text}; {_known_days(con)}")
    finally:
        con.close()
    for model in found:
        seen_until = model.manifest.get("train_end_at")
        if first and seen_until and first < datetime.fromisoformat(seen_until):
            raise UserError(
                f"{model.name}@{model.version} was trained on days until {seen_until}, the test"
                f" user-days begin at {first.astimezone(UTC).isoformat()}: judge it by --days after"
                " those, build with the --vars it was trained with, or train it anew"
            )


def _known_days(con) -> str:
    first, last = con.execute(
        "SELECT min(session_date), max(session_date) FROM lake.samples.test_user_days"
    ).fetchone()
    return f"there are days {first} to {last}" if first else "there are none at all"


def _have_lists_generated(home: Home, reference: str, options: list[str]) -> None:
    """The door between the rooms is the command line: training never imports inference."""
    call = [sys.executable, "-m", "aigq.cli", "generate", "lists"]
    call += ["--home", str(home.root), "--model", reference, *options]
    done = subprocess.run(call, check=False)
    if done.returncode != 0:
        raise UserError(f"`aigq generate lists` failed for {reference}")
