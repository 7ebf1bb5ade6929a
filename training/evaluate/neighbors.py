"""Leaf categories of queries that no click has placed: those of the nearest training query."""

from collections.abc import Sequence

import numpy as np

from aigq import warehouse
from aigq.jobs import Run


def nearest(
    queries: np.ndarray, known: np.ndarray, *, block: int = 2048
) -> tuple[np.ndarray, np.ndarray]:
    """Index of, and cosine to, the nearest row of ``known`` for every row of ``queries``.

    Both are unit-length embeddings, (Q, D) and (N, D); the first of equally near rows wins.
    """
    index = np.empty(len(queries), dtype=np.int64)
    cosine = np.empty(len(queries), dtype=np.float32)
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ known.T
        best = scores.argmax(axis=1)
        index[start : start + block] = best
        cosine[start : start + block] = scores[np.arange(len(best)), best]
    return index, cosine


def store_neighbors(
    run: Run, unplaced: Sequence[str], placed: Sequence[str], vectors: dict[str, np.ndarray]
) -> None:
    """Write the nearest ``placed`` query of every ``unplaced`` one to ``items.query_neighbors``.

    Replaces what an earlier run wrote for the same queries: the training queries may have grown.
    """
    if not unplaced or not placed:
        return
    index, cosine = nearest(
        np.stack([vectors[q] for q in unplaced]), np.stack([vectors[q] for q in placed])
    )
    import pyarrow as pa

    rows = pa.table(
        {
            "query_text": list(unplaced),
            "neighbor_text": [placed[i] for i in index],
            "similarity": cosine.astype(float),
            "run_id": [run.run_id] * len(unplaced),
        }
    )

    def replace(con) -> None:
        con.register("fresh", rows)
        con.execute(
            "DELETE FROM lake.items.query_neighbors"
            " WHERE query_text IN (SELECT query_text FROM fresh)"
        )
        con.execute("INSERT INTO lake.items.query_neighbors BY NAME SELECT * FROM fresh")

    warehouse.write(run.home, replace)
    run.wrote("lake.items.query_neighbors", len(unplaced))
