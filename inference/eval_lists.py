"""``aigq generate lists``: a model's lists for the test user-days, for evaluation.

    aigq generate lists --model direct --instances 1000 --lists 6

List 0 of an instance is greedy, the others are sampled (temperature 1.0, top-k 100) with a seed of
their own, made from --seed, instance and list number. Only lists that are not there are generated.
A malformed list leaves no rows; it would come out malformed again, so once a run with the same
parameters has finished, nothing counts as missing any more.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import islice
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import jobs, models, warehouse
from aigq.context import Context
from aigq.settings import Home, UserError
from inference.direct import DirectModel
from inference.engines import engine_option

_CHUNK_LISTS = 1024


@click.command("lists")
@click.option("--model", default="direct", show_default=True, help="NAME or NAME@VERSION.")
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Test user-days: the first N by md5 of the instance id.",
)
@click.option(
    "--lists",
    type=click.IntRange(min=1),
    default=6,
    show_default=True,
    help="Lists per instance: one greedy, the others sampled.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sampled lists.")
@engine_option
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="Longest list in tokens. [default: as in the model's training]",
)
def command(
    model: str, instances: int, lists: int, seed: int, engine: str, max_tokens: int | None
) -> None:
    """Generate the lists that evaluation needs and the lake lacks."""
    home = Home.from_environment()
    direct = DirectModel(models.resolve(home, model), engine, max_tokens)
    con = warehouse.connect(home, read_only=True)
    try:
        chosen = _instances(con, instances)
    finally:
        con.close()
    ids = "\n".join(row["instance_id"] for row in chosen)
    parameters = {
        "model": direct.model.name,
        "model_version": direct.model.version,
        "instances": len(chosen),
        "instances_md5": hashlib.md5(ids.encode()).hexdigest(),
        "lists": lists,
        "seed": seed,
        "engine": engine,
        "max_tokens": direct.sampling.max_tokens,
    }
    with jobs.job(home, "generate lists", parameters) as run, direct:
        generate_lists(run, direct, chosen, parameters)


def generate_lists(
    run: jobs.Run,
    direct: DirectModel,
    instances: list[dict[str, Any]],
    parameters: dict[str, Any],
) -> None:
    """Generate and write what is missing of the lists that ``parameters`` ask for."""
    run.read("lake.samples.test_user_days", len(instances))
    before = _finished_before(run.home, parameters)
    if before is not None:
        run.metrics |= before
        run.summary.append("  nothing is missing: an earlier run generated these lists")
        return
    there = _lists_there(run.home, direct)
    missing = [
        (row, indices)
        for row in instances
        if (
            indices := [
                i for i in range(parameters["lists"]) if (row["instance_id"], i) not in there
            ]
        )
    ]
    wanted = len(instances) * parameters["lists"]
    left = sum(len(indices) for _, indices in missing)
    written = 0
    if missing:
        direct.start()
    chunks = iter(missing)
    per_chunk = max(1, _CHUNK_LISTS // parameters["lists"])
    with tqdm(total=wanted, initial=wanted - left, unit=" lists", desc="lists") as bar:
        while chunk := list(islice(chunks, per_chunk)):
            contexts = [Context.from_row(row) for row, _ in chunk]
            seeds = [
                [list_seed(parameters["seed"], row["instance_id"], i) for i in indices]
                for row, indices in chunk
            ]
            rows = _rows(run, direct, chunk, direct.generate(contexts, seeds))
            written += warehouse.write(run.home, lambda lake, rows=rows: _insert(lake, rows))
            bar.update(sum(map(len, seeds)))
    # Every absent list was generated again, so the malformed are all that `wanted` lists hold.
    run.metrics |= direct.tally.metrics() | {
        "engine": direct.engine_used,
        "lists_wanted": wanted,
        "malformed_share": direct.tally.malformed.total() / wanted,
    }
    run.wrote("lake.eval.generated_lists", written)
    run.summary.append(f"  {direct.tally.summary()}; {wanted - left:,} were there before")


def list_seed(seed: int, instance_id: str, list_index: int) -> int | None:
    """Seed of one list: None for list 0, the greedy one."""
    if list_index == 0:
        return None
    digest = hashlib.sha256(f"{seed}\n{instance_id}\n{list_index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _instances(con, count: int) -> list[dict[str, Any]]:
    if not warehouse.table_exists(con, "samples.test_user_days"):
        raise UserError("the lake has no samples.test_user_days: run `dbt build` first")
    rows = (
        con.execute(
            "SELECT instance_id, age_band, gender, region, behaviors"
            " FROM lake.samples.test_user_days ORDER BY md5(instance_id), instance_id LIMIT ?",
            [count],
        )
        .to_arrow_table()
        .to_pylist()
    )
    if not rows:
        raise UserError(
            "lake.samples.test_user_days is empty: no day after the training days holds a search;"
            " set the dbt variable train_days lower and run `dbt build`"
        )
    return rows


def _finished_before(home: Home, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Metrics of the newest finished run that left nothing of ``parameters`` missing, or None."""
    con = warehouse.connect(home, read_only=True)
    try:
        runs = con.execute(
            "SELECT parameters, metrics FROM lake.meta.runs"
            " WHERE job = 'generate lists' AND status = 'succeeded' ORDER BY run_id DESC"
        ).fetchall()
    finally:
        con.close()
    same = ("model", "model_version", "instances_md5", "lists", "seed", "max_tokens")
    for there, metrics in runs:
        there = json.loads(there)
        if all(there.get(key) == parameters[key] for key in same):
            return json.loads(metrics)
    return None


def _lists_there(home: Home, direct: DirectModel) -> set[tuple[str, int]]:
    con = warehouse.connect(home, read_only=True)
    try:
        return set(
            con.execute(
                "SELECT DISTINCT instance_id, list_index FROM lake.eval.generated_lists"
                " WHERE model = ? AND model_version = ?",
                [direct.model.name, direct.model.version],
            ).fetchall()
        )
    finally:
        con.close()


def _rows(run: jobs.Run, direct: DirectModel, chunk: Sequence, parsed: Sequence) -> pa.Table:
    rows = [
        (row["instance_id"], index, position, query)
        for (row, indices), lists in zip(chunk, parsed, strict=True)
        for index, found in zip(indices, lists, strict=True)
        for position, query in enumerate(found.queries, start=1)
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 4
    names = {"instance_id": "str", "list_index": "i4", "position": "i4", "query_text": "str"}
    table = pa.table({n: pa.array(c, t) for (n, t), c in zip(names.items(), columns, strict=True)})
    for name, value in (
        ("model", direct.model.name),
        ("model_version", direct.model.version),
        ("run_id", run.run_id),
    ):
        table = table.append_column(name, pa.array([value] * len(rows), "str"))
    return table


def _insert(con, rows: pa.Table) -> int:
    con.register("new_rows", rows)
    # Not again what another run for the same model wrote meanwhile.
    return con.execute(
        """
        INSERT INTO lake.eval.generated_lists BY NAME
        SELECT * FROM new_rows
        ANTI JOIN (
            SELECT instance_id, model, model_version, list_index FROM lake.eval.generated_lists
        ) USING (instance_id, model, model_version, list_index)
        """
    ).fetchone()[0]
