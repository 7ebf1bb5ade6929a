"""A policy that goes on day after day beside one that does not: the paper's Figure 3, offline.

    python -m training.il_grpo.adapted --name direct_il_grpo --days 2026-02-04..2026-02-13 \\
        --out daily.svg

On each shop day both are measured by `aigq evaluate`: the newest version that had not seen that
day, and the frozen one, by default the newest that had not seen the first of the days. What the
gate kept back is not in it. The paper's figure is of an A/B test's clicks, this one of hit rates.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import click

from aigq import models, warehouse
from aigq.days import Days, parse_days
from aigq.settings import Home, UserError
from training.il_grpo.day import run_aigq
from training.plot import Panel, Series, svg

METRICS = {"query_hr": "Query HR@10", "cate_hr": "Cate HR@10"}
COLORS = {"adapted daily": "#0f766e", "frozen": "#94a3b8"}

# Value and 95% interval, by metric.
Measured = Mapping[str, tuple[float, float, float]]


def serving(versions: Sequence[models.Model], start: datetime) -> models.Model | None:
    """The newest of ``versions`` (oldest first) to which the day beginning at ``start`` is new."""
    return next(
        (
            model
            for model in reversed(versions)
            if datetime.fromisoformat(model.manifest["train_end_at"]) <= start
        ),
        None,
    )


def starts_of(home: Home, days: Days) -> dict[date, datetime]:
    """When each of the days that have test user-days begins."""
    con = warehouse.connect(home, read_only=True)
    try:
        rows = con.execute(
            "SELECT session_date, min(session_start_at) FROM lake.samples.test_user_days"
            f" WHERE {days.condition} GROUP BY session_date ORDER BY session_date"
        ).fetchall()
    finally:
        con.close()
    if not rows:
        raise UserError(f"--days: no test user-day in {days.text}")
    return dict(rows)


def measured(home: Home, model: models.Model) -> Measured:
    """What the evaluation that has just ended left in lake.eval.metrics."""
    con = warehouse.connect(home, read_only=True)
    try:
        rows = con.execute(
            "SELECT metric, value, interval_low, interval_high FROM lake.eval.metrics"
            " WHERE model = ? AND model_version = ? AND k = 10 AND slice = 'all'",
            [model.name, model.version],
        ).fetchall()
    finally:
        con.close()
    return {metric: of for metric, *of in rows if metric in METRICS}


def draw(days: Sequence[date], found: Mapping[str, Sequence[Measured]]) -> str:
    """Bars by day, a panel for each metric. ``found``: of each of COLORS one entry a day."""
    panels = []
    for metric, title in METRICS.items():
        if any(metric not in of for each in found.values() for of in each):
            continue  # no true category on some day
        series = [
            Series(name, *map(list, zip(*(of[metric] for of in found[name]), strict=True)))
            for name in COLORS
        ]
        top = max(max(one.high) for one in series) or 1.0
        labels = [f"{day:%m-%d}" for day in days]
        panels.append(Panel(title, "shop day", labels, series, top))
    return svg(panels, COLORS, "Hit rates by day, of the adapted and the frozen policy")


@click.command()
@click.option("--name", required=True, help="The policy.")
@click.option("--frozen", metavar="NAME@VERSION", help="What it is held against.")
@click.option("--days", required=True, metavar="A..B", help="Shop days to measure on.")
@click.option("--instances", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--lists", type=click.IntRange(min=1), default=6, show_default=True)
@click.option("--engine", help="Passed on to `aigq evaluate`.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="SVG.")
def main(
    name: str,
    frozen: str | None,
    days: str,
    instances: int,
    lists: int,
    engine: str | None,
    out: Path,
) -> None:
    """Measure on each day, print, draw."""
    home = Home.from_environment()
    starts = starts_of(home, parse_days(days))
    versions = models.versions(home, name)
    still = models.resolve(home, frozen) if frozen else serving(versions, min(starts.values()))
    if still is None:
        raise UserError(f"every version of {name!r} has seen {min(starts)}")
    how = ["--instances", str(instances), "--lists", str(lists)]
    how += ["--engine", engine] if engine else []
    found: dict[str, list[Measured]] = {label: [] for label in COLORS}
    for day, start in starts.items():
        adapted = serving(versions, start) or still
        of = ["--model", adapted.reference, "--model", still.reference]
        run_aigq(home, ["evaluate", *of, "--days", Days.of(day).text, *how])
        for label, model in zip(COLORS, (adapted, still), strict=True):
            figures = measured(home, model)
            found[label].append(figures)
            said = ", ".join(f"{METRICS[m]} {of[0]:.3f}" for m, of in figures.items())
            click.echo(f"{day}: {label} {model.reference}: {said}")
    out.write_text(draw(list(starts), found), encoding="utf-8")
    click.echo(f"drew {out}")


if __name__ == "__main__":
    main()
