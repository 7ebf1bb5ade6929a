import numpy as np

from training.evaluate.neighbors import nearest


def test_nearest_equals_brute_force_in_blocks():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(50, 8)).astype(np.float32)
    queries = rng.normal(size=(23, 8)).astype(np.float32)
    index, cosine = nearest(queries, known, block=7)
    for row, query in enumerate(queries):
        scores = [float(query @ k) for k in known]
        assert index[row] == int(np.argmax(scores))
        assert cosine[row] == np.float32(max(scores)) or abs(cosine[row] - max(scores)) < 1e-5
