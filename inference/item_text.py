"""``aigq generate item_texts``: descriptions of items, into items.generated_texts.

    aigq generate item_texts                        # new and changed items, newest item_text model
    aigq generate item_texts --all                  # those that another model version wrote, too
    aigq generate item_texts --engine transformers
    dbt build                                       # items.item_texts and all that reads it

An item is done while the newest row of it was made from the same facets (their hash). Texts are
greedy and committed in chunks: started again, a killed job goes on with the items that have no row.
A malformed text is classified, counted and not kept: the item keeps its text by rule, and is tried
again by the next model version.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import jobs, models, warehouse
from aigq.as_of import as_of_option
from aigq.item_text import fit_item_prompts, text_fault
from aigq.models import Model
from aigq.settings import Home, UserError
from inference.engines import Completion, Request, Sampling, engine_option, open_engine

_CHUNK_ITEMS = 512

_NEWEST = """
SELECT item_id, facets_hash, model_version, item_text IS NOT NULL AS has_text
FROM lake.items.generated_texts
QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY run_id DESC) = 1
"""
_PENDING = """
CREATE TEMP TABLE pending AS
SELECT facets.*
FROM lake.items.item_facets AS facets
LEFT JOIN newest USING (item_id)
WHERE
    newest.facets_hash IS DISTINCT FROM facets.facets_hash
    OR newest.model_version <> $version AND ($everything OR NOT newest.has_text)
"""
# Not again what another run wrote meanwhile.
_INSERT = f"""
INSERT INTO lake.items.generated_texts BY NAME
SELECT * FROM new_rows
ANTI JOIN ({_NEWEST}) USING (item_id, facets_hash, model_version)
"""


@click.command("item_texts")
@click.option("--model", default="item_text", show_default=True, help="NAME or NAME@VERSION.")
@click.option(
    "--all", "everything", is_flag=True, help="Also items whose text another model version wrote."
)
@engine_option
@as_of_option
def command(model: str, everything: bool, engine: str, as_of: str | None) -> None:
    """Describe new and changed items in the words shoppers type."""
    home = Home.from_environment()
    found = models.resolve(home, model)
    job = found.manifest.get("job")
    if job != "train item_text":
        raise UserError(
            f"model {found.name}@{found.version} writes no item texts: it is one of"
            f" `aigq {job}`, not of `aigq train item_text`"
        )
    gain = found.manifest.get("metrics", {}).get("heldout_gain_f1")
    if gain and gain[2] < 0:
        click.echo(
            f"warning: {found.reference} describes held-out items worse than the rule does (F1"
            f" {gain[0]:+.3f}): all that reads item texts will be the worse for it",
            err=True,
        )
    parameters = {
        "model": found.name,
        "model_version": found.version,
        "all": everything,
        "engine": engine,
    }
    with jobs.job(home, "generate item_texts", parameters, as_of=as_of) as run:
        generate_item_texts(run, found, engine=engine, everything=everything)


def generate_item_texts(
    run: jobs.Run, model: Model, *, engine: str, everything: bool, chunk: int = _CHUNK_ITEMS
) -> None:
    """Write the texts that are missing, ``chunk`` items at a time. ``everything``: also of items
    whose text another version than ``model`` wrote."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        if not warehouse.table_exists(con, "items.item_facets"):
            raise UserError("the lake has no items.item_facets: run `dbt build` first")
        items, pending = _find_pending(con, run.home, model, everything)
        faults: Counter[str] = Counter()
        written = 0
        engine_used = None
        if pending:
            writer = ItemTextWriter(model, engine)
            engine_used = writer.engine.name
            try:
                with tqdm(total=items, initial=items - pending, unit=" items") as bar:
                    for part in _chunks(con, chunk):
                        rows = _rows(run, model, part, writer.write(part))
                        faults.update(error for error in rows["error"].to_pylist() if error)
                        written += warehouse.write(
                            run.home, lambda lake, rows=rows: _insert(lake, rows)
                        )
                        bar.update(len(part))
            finally:
                writer.engine.close()
    finally:
        con.close()
    run.read("lake.items.item_facets", items)
    run.wrote("lake.items.generated_texts", written)
    run.metrics |= {
        "engine": engine_used,
        "items": items,
        "items_done_before": items - pending,
        "texts": pending - faults.total(),
        "malformed": dict(sorted(faults.items())),
        "malformed_texts": faults.total(),
    }
    classes = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
    run.summary.append(
        f"  {pending - faults.total():,} texts, {faults.total():,} malformed"
        f"{': ' + classes if classes else ''}; {items - pending:,} items were done before"
    )


class ItemTextWriter:
    """An item_text model and the started engine that runs it."""

    def __init__(self, model: Model, engine: str):
        from transformers import AutoTokenizer

        settings = model.manifest["settings"]
        self._tokenizer = AutoTokenizer.from_pretrained(model.path)
        self._max_prompt_tokens: int = settings["max_prompt_tokens"]
        self._sampling = Sampling(settings["max_target_tokens"])
        self.engine = open_engine(
            engine,
            model.path,
            self._tokenizer,
            max_length=self._max_prompt_tokens + self._sampling.max_tokens,
        )

    def write(self, items: list[dict[str, Any]]) -> list[Completion]:
        """The greedy completion for each row of items.item_facets."""
        prompts = fit_item_prompts(items, self._tokenizer, max_tokens=self._max_prompt_tokens)
        return self.engine.generate([Request(prompt) for prompt in prompts], self._sampling)


def _find_pending(con, home: Home, model: Model, everything: bool) -> tuple[int, int]:
    """Make the temporary table ``pending``; returns how many items there are and are pending."""
    # As the table is now, whatever past state the facets are read at.
    now = warehouse.connect(home, read_only=True)
    try:
        con.register("newest", now.execute(_NEWEST).to_arrow_table())
    finally:
        now.close()
    con.execute(_PENDING, {"version": model.version, "everything": everything})
    (items,) = con.execute("SELECT count(*) FROM lake.items.item_facets").fetchone()
    (pending,) = con.execute("SELECT count(*) FROM pending").fetchone()
    return items, pending


def _chunks(con, size: int) -> Iterator[list[dict[str, Any]]]:
    cursor = con.execute("SELECT * FROM pending ORDER BY item_id")
    names = [column[0] for column in cursor.description]
    for chunk in iter(lambda: cursor.fetchmany(size), []):
        yield [dict(zip(names, row, strict=True)) for row in chunk]


def _rows(run: jobs.Run, model: Model, items, completions: list[Completion]) -> pa.Table:
    faults = [text_fault(c.text, finished=c.finished) for c in completions]
    texts = [
        None if fault else " ".join(c.text.split())
        for c, fault in zip(completions, faults, strict=True)
    ]
    columns = {
        "item_id": [item["item_id"] for item in items],
        "facets_hash": [item["facets_hash"] for item in items],
        "item_text": texts,
        "error": faults,
        "model_version": [model.version] * len(items),
        "run_id": [run.run_id] * len(items),
    }
    return pa.table({name: pa.array(column, "str") for name, column in columns.items()})


def _insert(con, rows: pa.Table) -> int:
    con.register("new_rows", rows)
    return con.execute(_INSERT).fetchone()[0]
