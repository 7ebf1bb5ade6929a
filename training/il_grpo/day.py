"""``aigq train day``: a policy goes on with one more day of the log (AIGQ eq. 15), behind a gate.

    aigq train day --variant direct               # each night, after `aigq ingest`, `dbt build`
    aigq train day --day 2026-02-04 --variant direct
    aigq train day --until 2026-02-12             # all days up to it that were not seen
    aigq train day --variant direct -- --steps 40     # options of `aigq train grpo`

For day d: (a) the CTR model goes on with the log up to d; (b) the newest version of the policy goes
on with d's samples, rewarded by that CTR model, as a candidate under a name of its own; (c) both
are measured on the user-days of the next day of the log, and the candidate becomes the policy's
next version unless it fell (the rule: ``gate``). Where that day is not in the lake yet, the
candidate waits, and the same command goes on with it. Every step is a command of its own, printed
as one would type it; what is done is found again, so all can be killed and started at any moment.

Deviation from the paper, which tells of no gate: ours; ``--force`` opens it.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from aigq import jobs, models, warehouse
from aigq.days import Days, parse_day
from aigq.settings import Home, UserError, settings_options
from aigq.steps import run_command
from training.il_grpo import gate
from training.il_grpo.gate import GateSettings

_CTR = "ctr"


@dataclass(frozen=True)
class Asked:
    """What continues, and how: the policy's ``name``; ``recipe`` and ``options`` of `aigq train
    grpo`; ``engine`` of `aigq evaluate`; whether a candidate is promoted ``force`` or not."""

    variant: str
    name: str
    recipe: str
    options: tuple[str, ...]
    engine: str | None
    force: bool
    rule: GateSettings

    @property
    def candidate_name(self) -> str:
        """The name that candidates are published under."""
        return f"{self.name}-candidate"


@dataclass(frozen=True)
class Log:
    """The shop days from the last training day on. ``ends``: when each that has samples is over;
    ``user_days``: those with test user-days, in order."""

    ends: dict[date, datetime]
    user_days: list[date]

    def following(self, day: date) -> date | None:
        """The next day of the log that can be measured on."""
        return next((later for later in self.user_days if later > day), None)

    def unseen(self, policy: models.Model) -> list[date]:
        """The days with samples that are not over where the policy's training ends."""
        seen_until = policy.manifest.get("train_end_at")
        moment = datetime.fromisoformat(seen_until) if seen_until else None
        return [day for day, end in self.ends.items() if moment is None or end > moment]


@click.command("day")
@click.option("--variant", type=click.Choice(["direct", "think"]), default="direct")
@click.option("--name", help="The policy. [default: VARIANT_il_grpo]")
@click.option(
    "--day",
    metavar="DATE",
    help="Shop day to go on with. [default: the newest unseen one with a following day in the log]",
)
@click.option("--until", metavar="DATE", help="All unseen days up to this one, one after another.")
@click.option("--recipe", help="Recipe of `aigq train grpo`. [default: VARIANT-daily]")
@click.option("--engine", help="Passed on to `aigq evaluate`.")
@click.option("--force", is_flag=True, help="Promote whatever the gate says, and record that.")
@settings_options(GateSettings, recipes=False)
@click.argument("grpo_options", nargs=-1, type=click.UNPROCESSED)
def command(
    variant: str,
    name: str | None,
    day: str | None,
    until: str | None,
    recipe: str | None,
    engine: str | None,
    force: bool,
    grpo_options: tuple[str, ...],
    **options: Any,
) -> None:
    """Continue a policy on one more day, and promote it unless it fell.

    GRPO_OPTIONS, after --, are those of `aigq train grpo`.
    """
    asked = Asked(
        variant,
        name or f"{variant}_il_grpo",
        recipe or f"{variant}-daily",
        grpo_options,
        engine,
        force,
        GateSettings.load(None, options),
    )
    if day and until:
        raise UserError("give --day or --until, not both")
    home = Home.from_environment()
    policy = find_policy(home, asked)
    log = read_log(home, variant)
    chosen = choose_days(
        log,
        policy,
        day=parse_day(day) if day else None,
        until=parse_day(until, "--until") if until else None,
    )
    if not chosen:
        click.echo(
            f"nothing to do: {policy.reference} has seen every day that could be gone on with"
        )
    with only_one(home, asked.name) as work:
        for one in chosen:
            parameters = {"day": str(one), **vars(asked), "rule": asked.rule.model_dump()}
            with jobs.job(home, "train day", parameters) as run:
                run.metrics |= continue_day(run, asked, log, one, work)
                click.echo(f"{one}: {run.metrics['outcome']}{_why(run.metrics)}")


def find_policy(home: Home, asked: Asked) -> models.Model:
    """The newest version. Raises :class:`UserError` for a model that IL-GRPO did not make: what
    follows it under its name would hide it."""
    policy = models.resolve(home, asked.name)
    job = policy.manifest.get("job")
    if job != "train grpo":
        raise UserError(
            f"{policy.reference} is one of `aigq {job}`: days are gone on with from models of"
            f" `aigq train grpo`; begin with `aigq train grpo --base-model {asked.name}`"
        )
    return policy


def read_log(home: Home, variant: str) -> Log:
    """The days of the lake as it is. Raises :class:`UserError` before the first build."""
    con = warehouse.connect(home, read_only=True)
    try:
        for table in (f"samples.samples_{variant}", "samples.test_user_days", "meta.shop"):
            if not warehouse.table_exists(con, table):
                raise UserError(f"the lake has no {table}: run `dbt build` first")
        ends = con.execute(
            f"""
            SELECT DISTINCT
                session_date,
                timezone(shop_timezone, cast(session_date AS TIMESTAMP) + INTERVAL 1 DAY)
            FROM lake.samples.samples_{variant}
            -- The following day of an earlier one is a training day: nothing measures on it.
            INNER JOIN lake.meta.shop ON session_date >= train_end_date
            ORDER BY session_date
            """
        ).fetchall()
        user_days = con.execute(
            "SELECT DISTINCT session_date FROM lake.samples.test_user_days ORDER BY session_date"
        ).fetchall()
    finally:
        con.close()
    return Log(dict(ends), [day for (day,) in user_days])


def choose_days(
    log: Log, policy: models.Model, *, day: date | None, until: date | None
) -> list[date]:
    """The days to go on with, in order. Raises :class:`UserError` for a ``day`` without samples."""
    if day is not None:
        if day not in log.ends:
            known = f"{min(log.ends)} to {max(log.ends)}" if log.ends else "none"
            raise UserError(
                f"--day: no sample of {day} that could be measured a day later; days from the last"
                f" training day on that have samples: {known}"
            )
        return [day]
    unseen = log.unseen(policy)
    if until is not None:
        return [one for one in unseen if one <= until]
    return [one for one in unseen if log.following(one)][-1:]


@contextmanager
def only_one(home: Home, name: str) -> Iterator[Path]:
    """A folder to work in, for one process at a time. Raises :class:`UserError` for a second."""
    path = models.work_dir(home, name, "day")
    with (path / "lock").open("w") as lock:
        try:
            # Held by the process: a kill releases it.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `aigq train day` of {name} is at work") from None
        yield path
        models.discard_work(path)


def continue_day(run: jobs.Run, asked: Asked, log: Log, day: date, work: Path) -> dict[str, Any]:
    """Whatever of day ``day`` is not done yet; ``outcome`` and what there is to say about it.

    Outcomes: ``seen``, ``waiting`` (for the day that it is measured on), ``rejected``,
    ``promoted``, ``forced``.
    """
    home = run.home
    policy = find_policy(home, asked)
    if day not in log.unseen(policy):
        return {"outcome": "seen", "policy": policy.reference}
    candidate = find_candidate(home, asked, policy, day)
    if candidate is None:
        train_candidate(home, asked, policy, day)
        candidate = find_candidate(home, asked, policy, day)
        assert candidate is not None, "`aigq train grpo` has just published it"
    verdict = gate.verdict_of(candidate)
    if verdict is None:
        following = log.following(day)
        if following is None:
            return {"outcome": "waiting", "candidate": candidate.reference}
        verdict = measure(home, asked, candidate, policy, Days.of(following))
    said = {"policy": policy.reference, "candidate": candidate.reference, "gate": verdict}
    if not verdict["is_passed"] and not asked.force:
        return {"outcome": "rejected", **said}
    is_forced = not verdict["is_passed"]
    promoted = gate.promote(
        home,
        asked.name,
        candidate,
        work,
        run_id=run.run_id,
        verdict=verdict | {"is_forced": is_forced},
    )
    run.wrote(f"models/{promoted.name}/{promoted.version}")
    return {"outcome": "forced" if is_forced else "promoted", "model": promoted.reference, **said}


def find_candidate(
    home: Home, asked: Asked, policy: models.Model, day: date
) -> models.Model | None:
    """The newest candidate that went on from ``policy`` with ``day`` and nothing else."""
    for model in reversed(models.versions(home, asked.candidate_name)):
        manifest = model.manifest
        days = manifest["settings"].get("days")
        if (manifest["base_model"], days) == (policy.reference, Days.of(day).text):
            return model
    return None


def train_candidate(home: Home, asked: Asked, policy: models.Model, day: date) -> None:
    """Steps (a) and (b); an interrupted training is gone on with."""
    reward, last = ctr_of(home, day)
    newest = models.resolve(home, _CTR)
    if last < day < (seen := date.fromisoformat(newest.manifest["days_seen"][-1])):
        raise UserError(
            f"{newest.reference} has seen days up to {seen}, and no version of {_CTR!r} those up to"
            f" {day} exactly: one made now would be taken for the newest"
        )
    if last < day:
        go_on = ["--continue-from", reward.reference, "--recipe", "daily", "--until", str(day)]
        run_aigq(home, ["train", "ctr", *go_on])
        reward, _ = ctr_of(home, day)
    models_of = ["--name", asked.candidate_name, "--base-model", policy.reference]
    models_of += ["--ctr-model", reward.reference]
    how = ["--variant", asked.variant, "--recipe", asked.recipe, *models_of]
    run_aigq(home, ["train", "grpo", *how, "--days", Days.of(day).text, *asked.options])


def ctr_of(home: Home, day: date) -> tuple[models.Model, date]:
    """The CTR model that has seen most of the days up to ``day`` and none after it, and the last
    that it has seen. Raises :class:`UserError` where there is none."""
    models.resolve(home, _CTR)
    found = []
    for model in models.versions(home, _CTR):
        last = date.fromisoformat(model.manifest["days_seen"][-1])
        if last <= day:
            found.append((last, model.version, model))
    if not found:
        raise UserError(
            f"every version of {_CTR!r} has seen days after {day}, which would reward what nobody"
            f" could know then: `aigq train ctr --until {day}` makes one that has not"
        )
    last, _, model = max(found)
    return model, last


def measure(
    home: Home, asked: Asked, candidate: models.Model, policy: models.Model, days: Days
) -> dict[str, Any]:
    """Step (c): the gate's verdict on ``candidate``, kept beside it."""
    rule = asked.rule
    of = ["--model", candidate.reference, "--model", policy.reference, "--days", days.text]
    of += ["--instances", str(rule.instances), "--lists", str(rule.lists)]
    of += ["--seed", str(rule.seed)]
    run_aigq(home, ["evaluate", *of, *(["--engine", asked.engine] if asked.engine else [])])
    figures, run_id = gate.read_figures(home, candidate, policy, days)
    return gate.record_verdict(candidate, policy, days, figures, run_id, rule)


def run_aigq(home: Home, arguments: Sequence[str]) -> None:
    """Rooms meet at the command line: training never imports inference."""
    run_command(home, ["aigq", *arguments])


def _why(metrics: dict[str, Any]) -> str:
    against = metrics.get("gate", {}).get("objections")
    return f" ({'; '.join(against)})" if against else ""
