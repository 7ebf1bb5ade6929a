"""``aigq train ctr``: the production CTR model, from displayed hints; day after day (AIGQ eq. 15).

    aigq train ctr                                    # all training days, 2 CPU cores
    aigq train ctr --until 2026-02-01                 # from the first day to this one
    aigq train ctr --continue-from ctr@VERSION --recipe daily    # the next day's log, nothing else

A model is measured on days after all that it has seen: AUC, GAUC, log loss and calibration, with
bootstrap intervals over users, beside the production ranker's score, a query's smoothed CTR and the
position's. Deviation from the paper, which does not describe its CTR model: queries and behaviours
are read as text, position is a bias of the logit that scoring sets to 1, and the logit also tells
what users searched next from other queries and from garbled ones (training/ctr/contrast.py).
"""

from datetime import date
from typing import Any

import click
from pydantic import Field

from aigq import jobs, models
from aigq.as_of import as_of_option
from aigq.context import PROFILE_FIELDS
from aigq.days import EVERY_DAY, Days, parse_day, parse_days
from aigq.settings import Home, Settings, UserError, recipe_path, settings_options

MODEL = "ctr"
# Settings that a network keeps for life.
_SHAPE = ("width", "heads", "hidden", "buckets", "max_behaviors", "max_position")


class CtrSettings(Settings):
    """Settings of ``aigq train ctr``; a continued model keeps the shape it has."""

    width: int = Field(32, ge=4, description="Width of texts and behaviours.")
    heads: int = Field(4, ge=1, description="Attention heads; they divide the width.")
    hidden: int = Field(64, ge=1, description="Width of the hidden layer.")
    buckets: int = Field(65_536, ge=64, description="Rows of the table of hashed text features.")
    max_behaviors: int = Field(50, ge=1, description="Newest behaviours of a context that count.")
    max_position: int = Field(10, ge=1, description="Later positions share this one's bias.")
    epochs: int = Field(3, ge=1, description="Passes over the displayed hints.")
    batch_requests: int = Field(128, ge=1, description="Requests of a step.")
    learning_rate: float = Field(3e-3, gt=0, description="Peak learning rate of the layers.")
    features_learning_rate: float = Field(
        3e-3, gt=0, description="Peak learning rate of the hashed features."
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay of the layers.")
    following_weight: float = Field(
        0.1, ge=0, description="Weight of telling what a user did next from what others did."
    )
    contrast_weight: float = Field(
        0.1,
        ge=0,
        description="Weight of telling what was searched next from other queries and from garbled"
        " text; 0: learn from displayed hints alone.",
    )
    contrast_sharpness: float = Field(
        2.0,
        gt=0,
        description="How many times a click's log-odds the odds of a next search are: higher"
        " brings queries that were never displayed closer to those that were.",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout of the hidden layer.")
    warmup_share: float = Field(0.05, ge=0, le=1, description="Share of steps that warm up.")
    checkpoint_steps: int = Field(200, ge=1, description="Steps between checkpoints.")
    evaluation_days: int | None = Field(
        None, ge=1, description="Days after the trained ones to measure on; none: all there are."
    )
    seed: int = Field(1, ge=0, description="Seed of weights, order and dropout.")


@click.command("ctr")
@click.option("--recipe", default="default", show_default=True, help="Recipe name or YAML file.")
@click.option(
    "--continue-from",
    metavar="NAME[@VERSION]",
    help="Go on from this model, on days after those it has seen. [default: a new model]",
)
@click.option(
    "--days",
    metavar="A..B",
    help="Shop days to train on, YYYY-MM-DD, both included. [default: all training days; with"
    " --continue-from the next day of the log]",
)
@click.option("--until", metavar="DATE", help="The same, from the first possible day to this one.")
@as_of_option
@settings_options(CtrSettings)
def command(
    recipe: str,
    continue_from: str | None,
    days: str | None,
    until: str | None,
    as_of: str | None,
    **options: Any,
) -> None:
    """Train a CTR model on the hints that were displayed, and measure it on later days."""
    path = recipe_path("training/ctr", recipe)
    settings = CtrSettings.load(path, options)
    asked = asked_days(days, until)
    home = Home.from_environment()
    start = models.resolve(home, continue_from) if continue_from else None
    parameters = {
        "recipe": path.stem,
        "continue_from": start and f"{start.name}@{start.version}",
        "days": days or (until and f"..{until}"),
        **settings.model_dump(),
    }
    with jobs.job(home, "train ctr", parameters, as_of=as_of) as run:
        train_ctr(run, settings, recipe=path.stem, asked=asked, start=start)


def asked_days(days: str | None, until: str | None) -> Days:
    """The days that the options name. Raises :class:`UserError` for what is no day or no range."""
    if days and until:
        raise UserError("give --days or --until, not both")
    if days:
        return parse_days(days)
    return Days(None, parse_day(until, "--until") if until else None)


def train_ctr(
    run: jobs.Run,
    settings: CtrSettings,
    *,
    recipe: str,
    asked: Days = EVERY_DAY,
    start: models.Model | None = None,
) -> None:
    """Read the days at the pinned snapshot, train, measure on later days, publish."""
    from aigq.ctr import load_network, save
    from training.ctr import evaluation
    from training.ctr.data import Batches, logged_days, plan_epochs, read_exposures
    from training.ctr.trainer import train
    from training.export import finish_published, publish
    from training.workspace import Snapshot, already_published, end_of_day, open_workspace

    identity = {
        "settings": settings.model_dump(),
        "asked": [asked.first, asked.last],
        "start": start and f"{start.name}@{start.version}",
    }
    with open_workspace(run, MODEL, identity) as work:
        if published := already_published(run.home, MODEL, work):
            return finish_published(run, work, published)
        with Snapshot(run.home, work.snapshot) as snapshot:
            logged = logged_days(snapshot)
            seen = days_seen(start) if start else []
            chosen = choose_days(logged, asked, seen)
            later = [day for day in logged if day > chosen[-1]][: settings.evaluation_days]
            data = read_exposures(snapshot, chosen[0], chosen[-1])
            test = read_exposures(snapshot, later[0], later[-1]) if later else None
            everything = sorted([*seen, *chosen])
            counts = evaluation.read_counts(snapshot, everything)
            train_end_at = end_of_day(snapshot, chosen[-1])
        run.read(f"samples.samples_ctr of {chosen[0]} to {chosen[-1]}", len(data))
        refuse_hopeless(data, chosen)
        network = (
            load_network(start.path, settings.dropout) if start else new_network(settings, data)
        )
        plan = plan_epochs(
            len(data), batch=settings.batch_requests, epochs=settings.epochs, seed=settings.seed
        )
        metrics: dict[str, Any] = train(
            network, Batches(data, network.config), plan, settings, work.path
        )
        metrics |= {
            "requests": len(data),
            "exposures": len(data.clicked),
            "clicks": int(data.clicked.sum()),
            "requests_replayed": int(data.is_replayed.sum()),
        }
        if test is None:
            click.echo(f"not measured: the log ends with {chosen[-1]}", err=True)
        else:
            run.read(f"samples.samples_ctr of {later[0]} to {later[-1]}", len(test))
            result = evaluation.evaluate(network, test, counts, seed=settings.seed)
            metrics["evaluation"] = evaluation.as_json(result, later)
            click.echo(evaluation.table(result, later))
        build = work.build_dir()
        save(network, build)
        publish(
            run,
            MODEL,
            work,
            build,
            {
                "recipe": recipe,
                # A continued network keeps its shape.
                "settings": settings.model_dump()
                | {name: getattr(network.config, name) for name in _SHAPE},
                "seed": settings.seed,
                "precision": "fp32",
                "continued_from": identity["start"],
                "days_seen": [day.isoformat() for day in everything],
                "days_of_this_run": [day.isoformat() for day in chosen],
                "train_end_at": train_end_at,
                "metrics": metrics,
            },
        )


def days_seen(model: models.Model) -> list[date]:
    """The shop days that a CTR model was trained on. Raises :class:`UserError` for another."""
    days = model.manifest.get("days_seen")
    if model.manifest.get("job") != "train ctr" or not days:
        raise UserError(f"{model.name}@{model.version} is no model of `aigq train ctr`")
    return [date.fromisoformat(day) for day in days]


def choose_days(logged: dict[date, bool], asked: Days, seen: list[date]) -> list[date]:
    """The days to train on, of those ``logged`` (with whether each is a training day).

    By default all training days; where ``seen`` days are gone on from, the next one. Raises
    :class:`UserError` for days already seen or past, for a range without displayed hints, and for
    one that leaves out a day in between, which could never be learned from later (eq. 15).
    """
    candidates = [day for day in logged if not seen or day > seen[-1]]
    if asked.first and seen and asked.first <= seen[-1]:
        raise UserError(
            f"the model has seen days up to {seen[-1]}: it goes on from the day after, not from"
            f" {asked.first}"
        )
    if asked.last and seen and asked.last <= seen[-1]:
        raise UserError(f"the model has seen days up to {seen[-1]}, so {asked.last} already")
    if asked == EVERY_DAY:
        chosen = candidates[:1] if seen else [day for day in candidates if logged[day]]
    else:
        first, last = asked.first or date.min, asked.last or date.max
        chosen = [day for day in candidates if first <= day <= last]
    if seen and chosen and chosen[0] != candidates[0]:
        raise UserError(
            f"the model has seen days up to {seen[-1]}, and going on from {chosen[0]} would leave"
            f" out {candidates[0]} for good: begin there"
        )
    if not chosen:
        known = f"{min(logged)} to {max(logged)}"
        raise UserError(
            f"no displayed hint on the days asked for{' after ' + str(seen[-1]) if seen else ''};"
            f" the log has days {known}"
        )
    return chosen


def refuse_hopeless(data: Any, days: list[date]) -> None:
    """Raise :class:`UserError` where there is nothing to learn from."""
    clicks, shown = int(data.clicked.sum()), len(data.clicked)
    if not 0 < clicks < shown:
        raise UserError(
            f"samples.samples_ctr, {days[0]} to {days[-1]}: {clicks} of {shown} displayed hints"
            " were clicked; a CTR model needs some that were and some that were not"
        )


def new_network(settings: CtrSettings, data: Any) -> Any:
    """A network with random weights that knows the profile values of ``data``."""
    import torch

    from aigq.ctr_network import CtrConfig, CtrNetwork

    if settings.width % settings.heads:
        raise UserError(f"width {settings.width} is no multiple of heads {settings.heads}")
    values = [
        tuple(sorted({value for value in data.profile[:, field] if value is not None}))
        for field in range(len(PROFILE_FIELDS))
    ]
    shape = CtrConfig.__dataclass_fields__.keys() & CtrSettings.model_fields.keys()
    torch.manual_seed(settings.seed)
    network = CtrNetwork(
        CtrConfig(tuple(values), **{name: getattr(settings, name) for name in shape}),
        settings.dropout,
    )
    start_from_rates(network, data)
    return network


def start_from_rates(network: Any, data: Any) -> None:
    """Let the biases begin at the positions' own log-odds: far from zero, they would take as many
    steps as all the rest."""
    import numpy as np
    import torch

    place = np.minimum(data.position, network.config.max_position)
    size = network.config.max_position + 1
    clicks = np.bincount(place, data.clicked, size)
    shown = np.bincount(place, minlength=size)
    # A click and its contrary beside those that were seen, at the shop's rate.
    rate = (clicks + data.clicked.mean()) / (shown + 1)
    odds = torch.from_numpy(np.log(rate / (1 - rate)).astype(np.float32))
    with torch.no_grad():
        network.position.weight[:, 0] = odds - odds[1]
        network.judge[-1].bias.fill_(odds[1])
