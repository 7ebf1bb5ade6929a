"""``aigq generate lists``: a model's lists for the test user-days, for evaluation.

    aigq generate lists --model direct --instances 1000 --lists 6
    aigq generate lists --model ebr                  # one list of 30 each
    aigq generate lists --model base --zero-shot     # not trained to write lists; verbose prompt

A Think model's list is the queries of its interest points, in output order.
List 0 of an instance is greedy, the others are sampled (temperature 1.0, top-k 100) with a seed of
their own, made from --seed, instance and list number. Only lists that are not there are generated.
``lake.eval.list_draws`` has a row for each that is, a malformed one too, with a key of all that it
was drawn from (seed, bounds, prompt). Where an instance's key is another one now, its lists are
replaced together: a model is never judged by the better of two draws.
"""

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from itertools import islice
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import jobs, models, warehouse
from aigq.as_of import as_of_option
from aigq.context import CONTEXT_KEY, PROMPT_STYLES, Context
from aigq.days import EVERY_DAY, Days, days_option
from aigq.settings import Home, UserError
from inference.ebr import EbrLists
from inference.engines import engine_option
from inference.list_model import ListModel, Parsed, open_list_model
from inference.zero_shot import ZeroShot, ZeroShotModel

_CHUNK_LISTS = 1024
_COUNTS = ("list_index", "position", "duplicates")


@click.command("lists")
@click.option(
    "--model",
    default="direct",
    show_default=True,
    help="NAME or NAME@VERSION; with --zero-shot also a folder with a checkpoint.",
)
@click.option(
    "--zero-shot",
    is_flag=True,
    help="Ask a model that was not trained to write lists, with the verbose prompt.",
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
    help="Lists per instance: one greedy, the others sampled.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampled lists.")
@engine_option
@as_of_option
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Longest list in tokens. [default: as in the model's training]",
)
def command(
    model: str,
    zero_shot: bool,
    instances: int,
    days: Days,
    lists: int,
    seed: int,
    engine: str,
    as_of: str | None,
    max_tokens: int | None,
) -> None:
    """Generate the lists that evaluation needs and the lake lacks."""
    home = Home.from_environment()
    writer = open_lists(home, model, engine, max_tokens, zero_shot=zero_shot)
    if isinstance(writer, EbrLists):
        engine, lists = "faiss", min(lists, writer.lists)
    parameters = {
        "model": writer.model.name,
        "model_version": writer.model.version,
        "instances": instances,
        "days": days.text,
        "lists": lists,
        "seed": seed,
        "engine": engine,
        "zero_shot": zero_shot,
        **asdict(writer.sampling),
    }
    with jobs.job(home, "generate lists", parameters, as_of=as_of) as run, writer:
        generate_lists(run, writer, instances=instances, days=days, lists=lists, seed=seed)


def open_lists(
    home: Home, reference: str, engine: str, max_tokens: int | None, *, zero_shot: bool
) -> ListModel | EbrLists:
    """What writes the lists of the model ``reference``, by what its manifest says it is.

    Raises :class:`UserError` where it writes none.
    """
    if zero_shot:
        model = models.resolve_checkpoint(home, reference)
        return ZeroShotModel(ZeroShot.of(model), engine, max_tokens)
    model = models.resolve(home, reference)
    if model.manifest.get("kind") == models.EBR:
        return EbrLists(model)
    return open_list_model(model, engine, max_tokens)


def generate_lists(
    run: jobs.Run,
    writer: ListModel | EbrLists,
    *,
    instances: int,
    days: Days,
    lists: int,
    seed: int,
) -> None:
    """Generate and write what is missing of ``lists`` lists for each of ``instances`` of ``days``:
    how many of their test user-days."""
    chosen = _instances(run, instances, days)
    keys = {row["instance_id"]: sampling_key(writer, seed, row) for row in chosen}
    contexts_of = {row["instance_id"]: row["context_key"] for row in chosen}
    there = _drawn(run, writer, keys, contexts_of)
    missing = [
        (row, indices)
        for row in chosen
        if (indices := [i for i in range(lists) if (row["instance_id"], i) not in there])
    ]
    wanted = len(chosen) * lists
    left = sum(len(indices) for _, indices in missing)
    written = 0
    if missing:
        writer.start()
    chunks = iter(missing)
    with tqdm(total=wanted, initial=wanted - left, unit=" lists", desc="lists") as bar:
        while chunk := list(islice(chunks, max(1, _CHUNK_LISTS // lists))):
            contexts = [Context.from_row(row) for row, _ in chunk]
            seeds = [
                [list_seed(seed, row["instance_id"], i) for i in indices] for row, indices in chunk
            ]
            drawn = [
                (row["instance_id"], index, found)
                for (row, indices), of_row in zip(
                    chunk, writer.generate(contexts, seeds), strict=True
                )
                for index, found in zip(indices, of_row, strict=True)
            ]
            draws, rows = _tables(run, writer, drawn, keys, contexts_of)
            written += warehouse.write(
                run.home, lambda lake, draws=draws, rows=rows: _insert(lake, draws, rows)
            )
            bar.update(len(drawn))
    # Of all lists wanted, whichever run drew them.
    errors = Counter(
        error
        for (_, index), error in _drawn(run, writer, keys, contexts_of).items()
        if error is not None and index < lists
    )
    run.metrics |= writer.tally.metrics() | {
        "engine": writer.engine_used,
        "instances": len(chosen),
        "is_replayed": any(row["is_replayed"] for row in chosen),
        "lists_wanted": wanted,
        "malformed": dict(sorted(errors.items())),
        "malformed_lists": errors.total(),
        "malformed_share": errors.total() / wanted,
    }
    run.read("lake.samples.test_user_days", len(chosen))
    run.wrote("lake.eval.generated_lists", written)
    if missing:
        run.summary.append(f"  {writer.tally.summary()}; {wanted - left:,} were there before")
    else:
        run.summary.append("  nothing is missing: an earlier run generated these lists")


def sampling_key(writer: ListModel | EbrLists, seed: int, row: dict[str, Any]) -> str:
    """What the lists of an instance were drawn from, besides the model version: same key, same
    lists."""
    prompt = PROMPT_STYLES[writer.prompt_style](Context.from_row(row), variant=writer.variant)
    # The instance names its lists' seeds.
    drawn_from = [row["instance_id"], seed, asdict(writer.sampling), prompt]
    return hashlib.md5(json.dumps(drawn_from).encode()).hexdigest()


def list_seed(seed: int, instance_id: str, list_index: int) -> int | None:
    """Seed of one list: None for list 0, the greedy one."""
    if list_index == 0:
        return None
    digest = hashlib.sha256(f"{seed}\n{instance_id}\n{list_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _instances(run: jobs.Run, count: int, days: Days) -> list[dict[str, Any]]:
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        if not warehouse.table_exists(con, "samples.test_user_days"):
            raise UserError("the lake has no samples.test_user_days: run `dbt build` first")
        rows = (
            con.execute(
                "SELECT instance_id, age_band, gender, region, behaviors, is_replayed,"
                f" {CONTEXT_KEY} AS context_key"
                f" FROM lake.samples.test_user_days WHERE {days.condition}"
                " ORDER BY md5(instance_id), instance_id LIMIT ?",
                [count],
            )
            .to_arrow_table()
            .to_pylist()
        )
    finally:
        con.close()
    if not rows and days != EVERY_DAY:
        raise UserError(f"lake.samples.test_user_days has no row of the days {days.text}")
    if not rows:
        raise UserError(
            "lake.samples.test_user_days is empty: no day after the training days holds a search;"
            " set the dbt variable train_days lower and run `dbt build`"
        )
    return rows


def _drawn(
    run: jobs.Run,
    writer: ListModel | EbrLists,
    keys: dict[str, str],
    contexts_of: dict[str, str],
) -> dict[tuple[str, int], str | None]:
    """How each list with its instance's keys is malformed (None: it is not)."""
    con = warehouse.connect(run.home, read_only=True)
    try:
        draws = con.execute(
            "SELECT instance_id, list_index, sampling_key, context_key, error"
            " FROM lake.eval.list_draws"
            " WHERE model = ? AND model_version = ?",
            [writer.model.name, writer.model.version],
        ).fetchall()
    finally:
        con.close()
    return {
        (instance, index): error
        for instance, index, key, context, error in draws
        # Draws of older versions of this software have no context key.
        if keys.get(instance) == key and context in (None, contexts_of[instance])
    }


def _tables(
    run: jobs.Run,
    writer: ListModel | EbrLists,
    drawn: list[tuple[str, int, Parsed]],
    keys: dict[str, str],
    contexts_of: dict[str, str],
) -> tuple[pa.Table, pa.Table]:
    """Rows of ``eval.list_draws`` and of ``eval.generated_lists``."""
    draws = [
        (i, index, keys[i], contexts_of[i], found.error, found.duplicates)
        for i, index, found in drawn
    ]
    rows = [
        (i, index, position, query)
        for i, index, found in drawn
        for position, query in enumerate(found.queries, start=1)
    ]
    common = {
        "model": writer.model.name,
        "model_version": writer.model.version,
        "run_id": run.run_id,
    }
    return (
        _table(draws, "instance_id list_index sampling_key context_key error duplicates", common),
        _table(rows, "instance_id list_index position query_text", common),
    )


def _table(rows: list[tuple], names: str, common: dict[str, str]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * len(names.split())
    table = pa.table(
        {
            name: pa.array(column, "i4" if name in _COUNTS else "str")
            for name, column in zip(names.split(), columns, strict=True)
        }
    )
    for name, value in common.items():
        table = table.append_column(name, pa.array([value] * len(rows), "str"))
    return table


_SAME_INSTANCE = "(instance_id, model, model_version)"
_SAME_LIST = "(instance_id, model, model_version, list_index)"


def _insert(con, draws: pa.Table, rows: pa.Table) -> int:
    """Replace what was drawn for these instances from something else, and add the new."""
    con.register("new_draws", draws)
    con.register("new_rows", rows)
    con.execute(
        f"""
        DELETE FROM lake.eval.list_draws
        WHERE {_SAME_INSTANCE} IN (SELECT {_SAME_INSTANCE} FROM new_draws)
            AND NOT (
                sampling_key IN (SELECT sampling_key FROM new_draws)
                AND (context_key IS NULL OR context_key IN (SELECT context_key FROM new_draws))
            )
        """
    )
    con.execute(
        f"""
        DELETE FROM lake.eval.generated_lists
        WHERE {_SAME_INSTANCE} IN (SELECT {_SAME_INSTANCE} FROM new_draws)
            AND {_SAME_LIST} NOT IN (SELECT {_SAME_LIST} FROM lake.eval.list_draws)
        """
    )
    # Not again what another run of the same key wrote meanwhile.
    con.execute(
        f"""
        CREATE TEMP TABLE fresh AS SELECT * FROM new_draws
        WHERE {_SAME_LIST} NOT IN (SELECT {_SAME_LIST} FROM lake.eval.list_draws)
        """
    )
    con.execute("INSERT INTO lake.eval.list_draws BY NAME SELECT * FROM fresh")
    return con.execute(
        f"""
        INSERT INTO lake.eval.generated_lists BY NAME
        SELECT * FROM new_rows WHERE {_SAME_LIST} IN (SELECT {_SAME_LIST} FROM fresh)
        """
    ).fetchone()[0]
