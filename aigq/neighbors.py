"""Nearest queries by sentence embedding, for those that no click has placed in a leaf category."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from aigq import warehouse
from aigq.jobs import Run

# Cosines count to this many decimals: beyond, they depend on which texts shared a batch, and two
# spellings that the tokenizer reads alike would take turns.
_DECIMALS = 5


def nearest(
    queries: np.ndarray, known: np.ndarray, *, block: int = 2048, known_block: int = 16_384
) -> tuple[np.ndarray, np.ndarray]:
    """Index of, and cosine to, the nearest row of ``known`` for every row of ``queries``.

    Both are unit-length embeddings, (Q, D) and (N, D) with N > 0; the first of equally near rows
    wins. Cosines are rounded to five decimals. Holds ``block * known_block`` scores at a time.
    """
    index = np.zeros(len(queries), dtype=np.int64)
    cosine = np.full(len(queries), -np.inf, dtype=np.float32)
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        for known_start in range(0, len(known), known_block):
            scores = queries[part] @ known[known_start : known_start + known_block].T
            scores *= 10**_DECIMALS
            np.rint(scores, out=scores)
            best = scores.argmax(axis=1)
            score = scores[np.arange(len(best)), best]
            is_nearer = score > cosine[part]
            index[part][is_nearer] = best[is_nearer] + known_start
            cosine[part][is_nearer] = score[is_nearer]
    return index, cosine / 10**_DECIMALS


def store_neighbors(
    run: Run, unplaced: Sequence[str], vectors: np.ndarray, placed: Sequence[str], known: np.ndarray
) -> None:
    """Write the nearest ``placed`` query of every ``unplaced`` one to ``items.query_neighbors``.

    ``vectors`` and ``known``: their embeddings, row by row. Replaces what an earlier run wrote for
    the same queries, in one transaction.
    """
    index, cosine = nearest(vectors, known)
    rows = pa.table(
        {
            "query_text": list(unplaced),
            "neighbor_text": [placed[i] for i in index],
            "similarity": cosine.astype(float).round(_DECIMALS),
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
