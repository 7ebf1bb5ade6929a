"""How texts are compared with the queries that led to an item."""

import numpy as np
import pytest

from aigq import embeddings
from training.item_text.heldout import compare, match, token_overlap


@pytest.mark.parametrize(
    ("text", "query", "expected"),
    [
        ("red shoes", "red shoes", (1, 1, 1)),
        ("red shoes, sneakers, acme", "red shoes", (0.5, 1, 2 / 3)),
        ("red", "red shoes", (1, 0.5, 2 / 3)),
        ("Red shoes, RED-brown", "red", (1 / 3, 1, 1 / 2)),
        ("红色 shoes", "红", (1 / 3, 1, 1 / 2)),
        ("पानी की बोतल", "पानी", (1 / 3, 1, 1 / 2)),
        ("tent", "red shoes", (0, 0, 0)),
        ("", "red", (0, 0, 0)),
    ],
)
def test_overlap(text, query, expected):
    assert token_overlap(text, query) == pytest.approx(expected)


@pytest.fixture(autouse=True)
def letters(monkeypatch):
    """Embeddings by first letter."""

    def embed(texts, **_):
        return np.stack([np.eye(embeddings.DIMENSIONS)[ord(t[0])] for t in texts])

    monkeypatch.setattr(embeddings, "embed", embed)


def test_queries_count_by_their_support():
    items = [{"queries": ["red shoes", "tent"], "supports": [3, 1]}]
    found = match(["red"], items)
    assert found["f1"] == pytest.approx([0.75 * 2 / 3])
    assert found["recall"] == pytest.approx([0.75 * 0.5])
    assert found["cosine"] == pytest.approx([0.75])
    assert found["words"] == [1]


def test_ours_beside_the_rules_with_an_interval_of_the_difference():
    items = [
        {"queries": [q], "supports": [1], "rule_text": "Acme Runner 3, Shoes"}
        for q in ("shoes", "red shoes", "shoes") * 10
    ]
    found = compare(["shoes"] * 30, items, seed=1)
    assert found["heldout_f1"] == pytest.approx((20 + 10 * 2 / 3) / 30, abs=1e-4)
    assert found["heldout_rule_f1"] == pytest.approx((20 * 2 / 5 + 10 * 2 / 6) / 30, abs=1e-4)
    mean, low, high = found["heldout_gain_f1"]
    assert low < mean < high and low > 0
    assert mean == pytest.approx(found["heldout_f1"] - found["heldout_rule_f1"], abs=2e-4)
