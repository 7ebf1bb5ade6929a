"""``aigq generate neighbors``: the nearest placed query of each query that no click has placed.

    dbt run -s +query_categories    # which queries there are, and which clicks have placed
    aigq generate neighbors
    dbt build                       # the others take their neighbour's leaf category

Placed are the queries that clicks on training days gave a leaf category. A query gets its row once:
those that have one with a neighbour that is still placed are not looked at again, so that a query's
category does not change because others were clicked since (``aigq evaluate`` does look again, for
the queries it measures). Texts are embedded and rows committed in batches; started again, the job
goes on with the queries that have no row.
"""

import tempfile
from collections.abc import Iterator

import click
import numpy as np
from tqdm import tqdm

from aigq import embeddings, jobs, warehouse
from aigq.neighbors import store_neighbors
from aigq.settings import Home, UserError

_BATCH = 16_384


@click.command("neighbors")
def command() -> None:
    """Find the nearest placed query of each query that no click has placed."""
    home = Home.from_environment()
    with jobs.job(home, "generate neighbors", {}) as run:
        generate_neighbors(run)


def generate_neighbors(run: jobs.Run, *, batch: int = _BATCH) -> None:
    """Write the rows of ``items.query_neighbors`` that are missing, ``batch`` queries at a time."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    try:
        for table in ("items.queries", "items.query_categories"):
            if not warehouse.table_exists(con, table):
                raise UserError(f"the lake has no {table}: run `dbt build` first")
        placed = _texts(con, "FROM lake.items.query_categories WHERE source = 'clicks'")
        missing = _texts(
            con,
            """
            FROM lake.items.queries
            ANTI JOIN (
                SELECT query_text FROM lake.items.query_categories WHERE source = 'clicks'
                UNION ALL
                SELECT neighbors.query_text
                FROM lake.items.query_neighbors AS neighbors
                INNER JOIN lake.items.query_categories AS categories
                    ON neighbors.neighbor_text = categories.query_text
                WHERE categories.source = 'clicks'
            ) USING (query_text)
            """,
        )
    finally:
        con.close()
    run.read("lake.items.query_categories: queries placed by clicks", len(placed))
    run.read("lake.items.queries: without a neighbour", len(missing))
    # Without a placed query there is no neighbour to be had yet.
    written = _write_missing(run, missing, placed, batch) if missing and placed else 0
    run.metrics |= {"placed": len(placed), "missing": len(missing), "written": written}
    run.wrote("lake.items.query_neighbors", written)


def _write_missing(run: jobs.Run, missing: list[str], placed: list[str], batch: int) -> int:
    total = len(placed) + len(missing)
    # On disk: a million embeddings are 1.5 GB, which the system may then take back from memory.
    with (
        tempfile.TemporaryFile(dir=run.home.root) as file,
        tqdm(total=total, unit=" queries") as bar,
    ):
        shape = (len(placed), embeddings.DIMENSIONS)
        known = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
        bar.set_description("embed placed queries")
        for start, texts in _batches(placed, batch):
            known[start : start + batch] = embeddings.embed(texts, home=run.home)
            bar.update(len(texts))
        bar.set_description("neighbors")
        for _, texts in _batches(missing, batch):
            store_neighbors(run, texts, embeddings.embed(texts, home=run.home), placed, known)
            bar.update(len(texts))
    return len(missing)


def _texts(con, query: str) -> list[str]:
    return [text for (text,) in con.execute(f"SELECT query_text {query} ORDER BY 1").fetchall()]


def _batches(texts: list[str], size: int) -> Iterator[tuple[int, list[str]]]:
    for start in range(0, len(texts), size):
        yield start, texts[start : start + size]
