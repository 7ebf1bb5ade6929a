"""``aigq generate x2q``: the interest points that Think finds in rich traces, into the lake.

    aigq generate x2q                                   # the shop's newest day, newest think model
    aigq generate x2q --days 2026-02-01..               # all from then on, to begin with
    aigq generate x2q --days 2026-02-03..2026-02-03 --users u1,u2 --engine transformers

Then ``aigq generate x2q_scores``, ``dbt build`` and ``feast materialize`` take them online.

A user-day is a user's shop day with at least one behaviour. Think reads it at its end, the local
midnight: the ``max_behaviors`` newest behaviours up to then, those of earlier days included. It is
rich, and read, where these are at least ``--min-behaviors``.

A user-day's points are written together, in chunks of user-days, newest days first; started again,
the job goes on with the user-days that are missing. Also missing is one whose context late rows or
new item texts have changed since, and one that another model has read last. Triggers are written as
content keys of the behaviours that the prompt held. A malformed answer is counted by its class and
noted in ``serving.x2q_draws`` (greedy decoding would repeat it); the user-day keeps the points that
it had.
"""

from collections.abc import Iterator
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import jobs, models, warehouse
from aigq.as_of import as_of_option
from aigq.context import Context
from aigq.days import Days, days_option
from aigq.settings import Home
from aigq.think import InterestPoint, ParsedThink
from inference.engines import engine_option
from inference.think import ThinkModel, shown_index
from inference.x2q.contexts import read_contexts

_CHUNK = 256

# The newest run that read a user-day is what it has.
_NEWEST_DRAWS = """
    SELECT session_id, model_version, prompt_key FROM lake.serving.x2q_draws
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY run_id DESC) = 1"""


@click.command("x2q")
@click.option("--model", default="think", show_default=True, help="NAME or NAME@VERSION.")
@days_option("Shop days to read. [default: the day of the shop's newest event]")
@click.option("--users", metavar="ID,ID...", help="Only user-days of these users.")
@click.option(
    "--min-behaviors",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Fewest behaviours of a rich trace.",
)
@engine_option
@as_of_option
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Longest answer in tokens. [default: as in the model's training]",
)
def command(
    model: str,
    days: Days,
    users: str | None,
    min_behaviors: int,
    engine: str,
    as_of: str | None,
    max_tokens: int | None,
) -> None:
    """Find users' interest points with a Think model, for the x2q index."""
    home = Home.from_environment()
    think = ThinkModel(models.resolve(home, model), engine, max_tokens)
    parameters = {
        "model": think.model.name,
        "model_version": think.model.version,
        "days": days.text,
        "users": users or "all",
        "min_behaviors": min_behaviors,
        "engine": engine,
        "max_tokens": think.sampling.max_tokens,
    }
    with jobs.job(home, "generate x2q", parameters, as_of=as_of) as run, think:
        generate_x2q(run, think, days=days, users=users, least=min_behaviors)


def generate_x2q(
    run: jobs.Run,
    think: ThinkModel,
    *,
    days: Days,
    users: str | None,
    least: int,
) -> None:
    """Write the interest points that are missing. ``days``: every day stands for the newest;
    ``least``: behaviours of a rich trace; ``users``: ids separated by commas, None: all."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        first, last = read_contexts(
            con,
            days=days,
            users=users,
            least=least,
            max_tokens=think.sampling.max_tokens,
        )
        (wanted,) = con.execute("SELECT count(*) FROM contexts").fetchone()
        click.echo(f"{wanted:,} rich user-days from {first} to {last}", err=True)
        done = _drop_done(run.home, con, think)
        if done < wanted:
            think.start()
        points = written = 0
        with tqdm(total=wanted, initial=done, unit=" user-days", desc="x2q") as bar:
            for rows in _chunks(con):
                contexts = [Context.from_row(row) for row in rows]
                answers = [of_row[0] for of_row in think.generate(contexts, [[None]] * len(rows))]
                draws, triples = _tables(run, think, rows, answers)
                added = warehouse.write(
                    run.home, lambda lake, draws=draws, triples=triples: _add(lake, draws, triples)
                )
                written += added[0]
                points += added[1]
                bar.update(len(rows))
    finally:
        con.close()
    run.metrics |= think.tally.metrics() | {
        "engine": think.engine_used,
        "first_day": first,
        "last_day": last,
        "user_days": wanted,
        "user_days_done_before": done,
        "points": points,
    }
    run.read("lake.behavior.behaviors, lake.features.user_profile: rich user-days", wanted)
    run.wrote("lake.serving.x2q_draws", written)
    run.wrote("lake.serving.x2q_triples", points)
    run.summary.append(f"  {think.tally.summary()}; {done:,} user-days were read before")


def _drop_done(home: Home, con, think: ThinkModel) -> int:
    """Drop from ``contexts`` what this model has read last, and as it is now; returns how many."""
    lake = warehouse.connect(home, read_only=True)
    try:
        draws = lake.execute(
            f"SELECT session_id, prompt_key FROM ({_NEWEST_DRAWS}) WHERE model_version = ?",
            [think.model.version],
        ).to_arrow_table()
    finally:
        lake.close()
    con.register("done", draws)
    (count,) = con.execute(
        "DELETE FROM contexts WHERE (session_id, prompt_key)"
        " IN (SELECT (session_id, prompt_key) FROM done)"
    ).fetchone()
    con.unregister("done")
    return count


def _chunks(con) -> Iterator[list[dict[str, Any]]]:
    cursor = con.execute("SELECT * FROM contexts ORDER BY session_date DESC, session_id")
    names = [column[0] for column in cursor.description]
    for rows in iter(lambda: cursor.fetchmany(_CHUNK), []):
        yield [dict(zip(names, row, strict=True)) for row in rows]


def _tables(
    run: jobs.Run, think: ThinkModel, rows: list[dict[str, Any]], answers: list[ParsedThink]
) -> tuple[pa.Table, pa.Table]:
    """Rows of ``serving.x2q_draws`` and of ``serving.x2q_triples``."""
    common = {"model_version": think.model.version, "run_id": run.run_id}
    draws = [
        {"session_id": row["session_id"], "prompt_key": row["prompt_key"], "error": answer.error}
        | common
        for row, answer in zip(rows, answers, strict=True)
    ]
    triples = [
        {
            "session_id": row["session_id"],
            "point_index": index,
            "triggers": trigger_keys(point, row["behaviors"], kept),
            "rationale": point.rationale,
            "queries": list(point.queries),
        }
        | common
        for row, answer, kept in zip(rows, answers, think.kept, strict=True)
        for index, point in enumerate(answer.points)
    ]
    return pa.Table.from_pylist(draws, _DRAWS), pa.Table.from_pylist(triples, _TRIPLES)


_DRAWS = pa.schema(
    dict.fromkeys(("session_id", "model_version", "prompt_key", "error", "run_id"), pa.string())
)
_TRIPLES = pa.schema(
    {
        "run_id": pa.string(),
        "session_id": pa.string(),
        "point_index": pa.int32(),
        "triggers": pa.list_(pa.string()),
        "rationale": pa.string(),
        "queries": pa.list_(pa.string()),
        "model_version": pa.string(),
    }
)


def trigger_keys(point: InterestPoint, behaviors: list[dict[str, Any]], kept: int) -> list[str]:
    """The distinct content keys behind a point's triggers, in the point's order.

    ``behaviors``: the whole context, oldest first; the prompt held the ``kept`` newest.
    """
    places = (shown_index(t, behaviors=len(behaviors), kept=kept) for t in point.triggers)
    return list(dict.fromkeys(behaviors[place]["content_key"] for place in places))


def _add(con, draws: pa.Table, triples: pa.Table) -> tuple[int, int]:
    """Add what no other run of the same model has read meanwhile; user-days and points added."""
    con.register("new_draws", draws)
    con.register("new_triples", triples)
    con.execute(
        f"""
        CREATE TEMP TABLE fresh AS SELECT * FROM new_draws
        ANTI JOIN ({_NEWEST_DRAWS}) USING (session_id, model_version, prompt_key)
        """
    )
    con.execute("INSERT INTO lake.serving.x2q_draws BY NAME SELECT * FROM fresh")
    (points,) = con.execute(
        "INSERT INTO lake.serving.x2q_triples BY NAME"
        " SELECT * FROM new_triples SEMI JOIN fresh USING (session_id)"
    ).fetchone()
    return con.execute("SELECT count(*) FROM fresh").fetchone()[0], points
