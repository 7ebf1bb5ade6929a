"""The nearest of many embeddings, block by block."""

import numpy as np

from aigq.neighbors import nearest


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_equals_brute_force_in_blocks():
    rng = np.random.default_rng(0)
    known = unit(rng.normal(size=(50, 8)))
    queries = unit(rng.normal(size=(23, 8)))
    for block, known_block in ((7, 11), (1, 1), (100, 100)):
        index, cosine = nearest(queries, known, block=block, known_block=known_block)
        scores = queries.astype(float) @ known.astype(float).T
        assert index.tolist() == scores.argmax(axis=1).tolist()
        assert np.abs(cosine - scores.max(axis=1)).max() < 1e-5


def test_the_first_of_equally_near_wins_whatever_the_last_bits_say():
    """Two texts that the tokenizer reads alike differ by what they were batched with."""
    rng = np.random.default_rng(1)
    known = unit(rng.normal(size=(40, 8)))
    twins = known + rng.normal(scale=1e-8, size=known.shape).astype(np.float32)
    queries = known + rng.normal(scale=1e-8, size=known.shape).astype(np.float32)
    index, cosine = nearest(queries, np.vstack([known, twins]), known_block=16)
    assert index.tolist() == list(range(40))
    assert (cosine == 1).all()


def test_nothing_to_look_for():
    index, cosine = nearest(np.zeros((0, 8), "f4"), np.ones((3, 8), "f4"))
    assert len(index) == len(cosine) == 0
