"""Merge, dedupe, rank, cut: whatever sources say, nothing doubled and no source's best lost."""

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq.context import Behavior, Context
from aigq.text import normalize_query
from inference.serve.chain import HintChain, cut, dedupe, merge, rank
from inference.serve.recall import SOURCES, Candidate, Why

QUERIES = st.sampled_from(
    ["tea", "Tea ", "mug", "ｔｅａ", "red  shoes", "red shoes", "茶", *"abcdefgh"]
)
LISTS = st.dictionaries(st.sampled_from(SOURCES), st.lists(QUERIES, max_size=14)).map(
    lambda lists: {
        source: tuple(
            Candidate(q, source, place, _why(q, place) if source == "x2q" else None)
            for place, q in enumerate(queries, start=1)
        )
        for source, queries in lists.items()
    }
)


def _why(query, place):
    return Why(f"item:{place}", f"thing {place}", f"because of {query}", 1 / place, "t1")


@given(lists=LISTS, seed=st.integers(), length=st.integers(min_value=3, max_value=12))
def test_no_duplicates_no_best_lost_whatever_the_order_of_sources(lists, seed, length):
    found = dedupe(merge(lists))
    keys = [normalize_query(c.query) for c in found]
    assert len(keys) == len(set(keys))
    everything = {normalize_query(c.query) for own in lists.values() for c in own}
    assert set(keys) == everything

    names = list(lists)
    random.Random(seed).shuffle(names)
    assert dedupe(merge({name: lists[name] for name in names})) == found

    shown = cut(found, length)
    assert len(shown) == min(length, len(found))
    assert shown == [c for c in found if c in shown], "the order stays"
    for source, own in lists.items():
        # Before the cut nothing is lost; after it each source's highest candidate is there.
        if own:
            (same,) = [k for k in keys if k == normalize_query(own[0].query)]
            assert source in found[keys.index(same)].sources
            assert next(c for c in found if source in c.sources) in shown
    # What gives way comes last: all but two places are those of the best.
    assert shown[: length - 2] == found[: length - 2]


@given(lists=LISTS)
def test_a_query_keeps_every_source_and_its_reason(lists):
    for candidate in dedupe(merge(lists)):
        key = normalize_query(candidate.query)
        holders = [
            s for s in SOURCES if any(normalize_query(c.query) == key for c in lists.get(s, ()))
        ]
        assert list(candidate.sources) == holders
        reasons = [c.why for c in lists.get("x2q", ()) if normalize_query(c.query) == key]
        assert candidate.why == (reasons[0] if reasons else None)


def test_three_sources_by_hand():
    lists = {
        "popular": [Candidate("lamp", "popular", 1), Candidate("Mug", "popular", 2)],
        "x2q": [Candidate("mug", "x2q", 1, _why("mug", 1)), Candidate("rope", "x2q", 2)],
        "u2q": [Candidate("tea", "u2q", 1), Candidate("mug", "u2q", 2), Candidate("cup", "u2q", 3)],
    }
    found = dedupe(merge(lists))
    assert [(c.query, c.sources) for c in found] == [
        ("tea", ("u2q",)),
        ("mug", SOURCES),
        ("cup", ("u2q",)),
        ("rope", ("x2q",)),
        ("lamp", ("popular",)),
    ]
    assert found[1].why.trigger == "item:1"
    # "mug" speaks for all three.
    assert [c.query for c in cut(found, 3)] == ["tea", "mug", "cup"]
    lists["x2q"] = lists["x2q"][1:]
    lists["popular"] = lists["popular"][:1]
    found = dedupe(merge(lists))
    assert [c.query for c in found] == ["tea", "mug", "cup", "rope", "lamp"]
    # "rope" and "lamp" take the last places from "mug" and "cup".
    assert [c.query for c in cut(found, 3)] == ["tea", "rope", "lamp"]
    assert [c.query for c in cut(found, 2)] == ["tea", "rope"]


class Scorer:
    def __init__(self, **scores):
        self.scores, self.asked = scores, []

    def score(self, contexts, queries):
        self.asked.append((contexts, queries))
        return [np.array([self.scores.get(q, 0.1) for q in of], dtype=np.float32) for of in queries]


def test_ranked_by_predicted_clicks_equals_as_they_were():
    context = Context(behaviors=(Behavior(0, "search", "tent"),))
    scorer = Scorer(rope=0.9, lamp=0.5)
    candidates = dedupe([Candidate(q, "popular", 1) for q in ("tea", "mug", "lamp", "cup", "rope")])
    found = rank(candidates, context, scorer)
    assert [c.query for c in found] == ["rope", "lamp", "tea", "mug", "cup"]
    assert [c.p_click for c in found] == pytest.approx([0.9, 0.5, 0.1, 0.1, 0.1])
    # All at once, for this context.
    assert scorer.asked == [([context], [["tea", "mug", "lamp", "cup", "rope"]])]


def test_full_width_letters_are_the_same_query():
    assert unicodedata.normalize("NFKC", "ｔｅａ") == "tea"
    assert len(dedupe([Candidate("ｔｅａ", "u2q", 1), Candidate("tea", "popular", 1)])) == 1


def test_an_empty_store_yields_no_hints_and_asks_no_model(monkeypatch):
    class Recalled:
        lists = {}  # noqa: RUF012

    monkeypatch.setattr("inference.serve.chain.recall", lambda *_: Recalled())
    scorer = Scorer()
    hints = HintChain(None, scorer=scorer)(None)
    assert hints.ranked == () and scorer.asked == []
    assert list(hints.step_ms) == ["recall", "merge", "dedupe", "cut"]
