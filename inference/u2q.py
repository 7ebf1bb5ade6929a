"""``aigq generate u2q``: query lists for users, into the lake and into Feast's online store.

    aigq generate u2q --all                       # every user with a behaviour, newest direct model
    aigq generate u2q --users u1,u2 --engine transformers
    aigq generate u2q --all --engine http://gpu-box:8000 --now 2026-02-01T09:00:00+01:00

A list belongs to a user, a model version and the moment it is for (``generated_at``, ``--now``).
Lists are committed in chunks, then pushed; started again with the same model and moment, the job
writes the lists that are missing and pushes what the lake has, so a run killed anywhere is healed.
A list whose context late rows have changed since is missing, too, and so is one that another
model's has replaced; the newest run's list counts.
The online store gets each user's newest list by ``generated_at``. A malformed list is counted and
written nowhere: the user keeps the list that was there.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import features, jobs, models, warehouse
from aigq.as_of import as_of_option
from aigq.context import Context
from aigq.settings import Home, UserError
from inference.direct import DirectModel
from inference.engines import engine_option
from inference.u2q_contexts import earlier_lists, known_runs, read_contexts, same_context
from inference.users import known_users

_CHUNK_USERS = 1024
_BUILT = ("meta.shop", "behavior.behaviors", "features.user_profile", "features.u2q")


@click.command("u2q")
@click.option("--users", metavar="ID,ID...", help="Lists for these users.")
@click.option("--all", "everyone", is_flag=True, help="Lists for every user with a behaviour.")
@click.option("--model", default="direct", show_default=True, help="NAME or NAME@VERSION.")
@engine_option
@click.option(
    "--now",
    metavar="TIME",
    help="The moment the lists are for, ISO 8601 (UTC where it names no zone); only behaviours"
    " before it are seen. [default: just after the shop's newest event]",
)
@as_of_option
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Longest list in tokens. [default: as in the model's training]",
)
def command(
    users: str | None,
    everyone: bool,
    model: str,
    engine: str,
    now: str | None,
    as_of: str | None,
    max_tokens: int | None,
) -> None:
    """Generate users' lists and serve them."""
    if everyone == (users is not None):
        raise click.UsageError("expected either --users ID,ID... or --all")
    home = Home.from_environment()
    direct = DirectModel(models.resolve(home, model), engine, max_tokens)
    store = features.open_store(home)
    moment = parse_moment(now) if now else None
    parameters = {
        "model": direct.model.name,
        "model_version": direct.model.version,
        "now": moment,
        "users": users or "all",
        "engine": engine,
        "max_tokens": direct.sampling.max_tokens,
    }
    with jobs.job(home, "generate u2q", parameters, as_of=as_of) as run, direct:
        generate_u2q(run, direct, store, users, moment)


def generate_u2q(
    run: jobs.Run, direct: DirectModel, store: Any, users: str | None, moment: datetime | None
) -> None:
    """Write and push the lists for ``moment`` that are missing. ``users``: ids separated by commas,
    None for everyone; ``moment`` None: just after the newest event."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        _require_built(con)
        moment = moment or _after_newest_event(con)
        chosen = _everyone(con, moment) if users is None else known_users(con, users)
        click.echo(f"lists as of {moment:%Y-%m-%d %H:%M:%S %Z} for {len(chosen):,} users", err=True)
        read_contexts(con, chosen, moment)
        known = known_runs(run.home, direct, moment)
        earlier = earlier_lists(run.home, direct, moment)
        there = same_context(run.home, con, direct, moment, earlier)
        pushed = _push(run.home, store, there)
        written = 0
        if len(there) < len(chosen):
            direct.start()
        with tqdm(total=len(chosen), initial=len(there), unit=" users", desc="u2q") as bar:
            for chunk in _chunks(con, there):
                contexts = [Context.from_row(row) for row in chunk]
                lists = direct.generate(contexts, [[None]] * len(chunk))
                rows = _rows(run, direct, moment, chunk, [of_user[0].queries for of_user in lists])
                written += warehouse.write(
                    run.home, lambda lake, rows=rows: _insert(lake, rows, known)
                )
                pushed += _push(run.home, store, [row["user_id"] for row in chunk])
                bar.update(len(chunk))
    finally:
        con.close()
    exported = _export_history(run.home)
    run.metrics |= direct.tally.metrics() | {
        "engine": direct.engine_used,
        "now": moment,
        "users": len(chosen),
        "users_done_before": len(there),
        "users_pushed": pushed,
    }
    run.read("lake.behavior.behaviors, lake.features.user_profile: contexts", len(chosen))
    run.wrote("lake.serving.u2q_runs", written)
    run.wrote("feature view u2q, online", pushed)
    run.wrote(str(run.home.features / "u2q.parquet"), exported)
    run.summary.append(f"  {direct.tally.summary()}; {len(there):,} were there before")


def parse_moment(text: str) -> datetime:
    """An ISO 8601 time as an aware UTC ``datetime``; a time without zone is UTC.

    Raises :class:`UserError` for anything else.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"--now: expected an ISO 8601 time such as 2026-02-01T09:00:00Z, got {text!r}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _require_built(con) -> None:
    for table in _BUILT:
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")


def _after_newest_event(con) -> datetime:
    (newest,) = con.execute("SELECT last_event_at FROM lake.meta.shop").fetchone()
    if newest is None:
        raise UserError("the shop has no event: ingest its log, run `dbt build`")
    return newest.astimezone(UTC) + timedelta(microseconds=1)


def _everyone(con, moment: datetime) -> list[str]:
    rows = con.execute(
        "SELECT DISTINCT user_id FROM lake.behavior.behaviors WHERE occurred_at < ? ORDER BY 1",
        [moment],
    ).fetchall()
    if not rows:
        raise UserError(f"no user has a behaviour before {moment}")
    return [user for (user,) in rows]


def _chunks(con, there: list[str]) -> Iterator[list[dict[str, Any]]]:
    con.register("there", pa.table({"user_id": pa.array(there, "str")}))
    cursor = con.execute("SELECT * FROM contexts ANTI JOIN there USING (user_id) ORDER BY user_id")
    names = [column[0] for column in cursor.description]
    for chunk in iter(lambda: cursor.fetchmany(_CHUNK_USERS), []):
        yield [dict(zip(names, row, strict=True)) for row in chunk]


def _rows(run: jobs.Run, direct: DirectModel, moment: datetime, chunk, lists) -> pa.Table:
    columns: dict[str, list] = {"user_id": [], "position": [], "query_text": []}
    for row, queries in zip(chunk, lists, strict=True):
        columns["user_id"] += [row["user_id"]] * len(queries)
        columns["position"] += range(1, len(queries) + 1)
        columns["query_text"] += queries
    rows = pa.table(columns, pa.schema({"user_id": "str", "position": "i4", "query_text": "str"}))
    count = rows.num_rows
    return (
        rows.append_column("run_id", pa.array([run.run_id] * count, "str"))
        .append_column("generated_at", pa.array([moment] * count, pa.timestamp("us", "UTC")))
        .append_column("model_version", pa.array([direct.model.version] * count, "str"))
    )


def _insert(con, rows: pa.Table, known: list[str]) -> int:
    """Add ``rows``. ``known``: the runs whose lists this run found and may overrule."""
    con.register("new_rows", rows)
    con.register("known_runs", pa.table({"run_id": pa.array(known, "str")}))
    # Not again what another run of the same model and moment wrote meanwhile.
    return con.execute(
        """
        INSERT INTO lake.serving.u2q_runs BY NAME
        SELECT * FROM new_rows
        ANTI JOIN (
            SELECT user_id, generated_at, model_version
            FROM lake.serving.u2q_runs
            ANTI JOIN known_runs USING (run_id)
        ) USING (user_id, generated_at, model_version)
        """
    ).fetchone()[0]


def _push(home: Home, store: Any, users: list[str]) -> int:
    """Push the newest list that the lake has of each of ``users``; returns how many have one."""
    if not users:
        return 0
    con = warehouse.connect(home, read_only=True)
    try:
        con.register("pushed", pa.table({"user_id": users}))
        rows = con.execute(
            """
            SELECT user_id, queries, model_version, run_id, event_timestamp, created_at
            FROM lake.features.u2q
            SEMI JOIN pushed USING (user_id)
            QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY event_timestamp DESC) = 1
            """
        ).to_arrow_table()
    finally:
        con.close()
    features.push_online(store, "u2q_push", rows)
    return rows.num_rows


def _export_history(home: Home) -> int:
    """All lists as Feast's offline side, as `dbt build` exports them too."""
    # In turn: of two exports at once, the older could be renamed last.
    with warehouse.WriteLock(home):
        con = warehouse.connect(home, read_only=True)
        try:
            return warehouse.export_parquet(
                con, "SELECT * FROM lake.features.u2q ORDER BY ALL", home.features / "u2q.parquet"
            )
        finally:
            con.close()
