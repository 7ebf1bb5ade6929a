"""The metrics: on instances small enough to check by eye, and against a naive reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluate.metrics import CUTOFFS, DrawnList, Lookups, measure, measure_drawn
from training.evaluate.slices import INSTANCE_SLICES, QUERY_SLICES, Instance, TrueQuery
from training.il_grpo.rewards import NEAR_DUPLICATE, duplicate_share

CATEGORY = {"red shoes": "shoes", "blue shoes": "shoes", "desk lamp": "lamps", "tv": "tvs"}
VECTOR = {
    "red shoes": np.array([1.0, 0.0]),
    "blue shoes": np.array([0.8, 0.6]),
    "desk lamp": np.array([0.0, 1.0]),
    "tv": np.array([-1.0, 0.0]),
    "never placed": np.array([0.6, 0.8]),
}
LOOK = Lookups(CATEGORY, VECTOR)


def instance(*true: str | TrueQuery, **options) -> Instance:
    queries = tuple(q if isinstance(q, TrueQuery) else TrueQuery(q) for q in true)
    return Instance("u:2026-01-01", "u", queries, **options)


def value(one: Instance, candidates: list[str], metric: str, k: int = 30, part: str = "all"):
    """One figure of one instance, None where it does not count."""
    column = measure([one], {one.instance_id: candidates}, LOOK).get((metric, k, part))
    return None if column is None or np.isnan(column[0]) else column[0]


def test_query_hit_rate_is_the_share_of_true_queries_found():
    two = instance("red shoes", "desk lamp")
    assert value(two, ["tv", "red shoes"], "query_hr") == 0.5
    assert value(two, ["tv", "red shoes"], "query_hr", k=1) == 0.0
    assert value(instance("red shoes"), [], "query_hr") == 0.0


def test_category_hit_rate_counts_leaf_categories_once():
    three = instance("red shoes", "blue shoes", "desk lamp")  # two categories
    assert value(three, ["blue shoes"], "cate_hr") == 0.5
    assert value(three, ["blue shoes", "desk lamp", "tv"], "cate_hr") == 1.0


def test_an_instance_without_a_true_category_is_left_out():
    assert value(instance("never placed"), ["tv"], "cate_hr") is None
    assert value(instance("never placed"), ["tv"], "query_hr") == 0.0


def test_semantic_similarity_takes_the_best_candidate_for_each_true_query():
    # red shoes: best is blue shoes, 0.8; desk lamp: best is blue shoes, 0.6.
    two = instance("red shoes", "desk lamp")
    assert value(two, ["blue shoes", "tv"], "sem_sim") == pytest.approx((0.8 + 0.6) / 2)
    assert value(two, ["tv", "blue shoes"], "sem_sim", k=1) == pytest.approx((-1.0 + 0.0) / 2)
    assert value(instance("tv"), [], "sem_sim") == 0.0


def test_unique_categories_ignores_queries_without_one():
    one = instance("tv")
    assert value(one, ["red shoes", "blue shoes", "tv", "never placed"], "unique_cates") == 2.0
    assert value(one, ["red shoes", "blue shoes", "tv"], "unique_cates", k=1) == 1.0
    assert value(one, ["red shoes", "tv"], "candidates") == 2.0


def test_a_slice_looks_only_at_its_true_queries():
    true = [
        TrueQuery("red shoes", is_novel=False, band="head"),
        TrueQuery("desk lamp", is_searched=False, is_hint_click=True, band="tail"),
        TrueQuery("tv", band="unseen"),
    ]
    one = instance(*true)
    found = ["red shoes", "desk lamp"]
    expected = {"all": 2 / 3, "novel": 1 / 2, "searched": 1 / 2, "hint_clicks": 1.0}
    expected |= {"head": 1.0, "torso": None, "tail": 1.0, "unseen_query": 0.0}
    assert {part: value(one, found, "query_hr", part=part) for part in expected} == expected
    assert value(one, found, "cate_hr", part="unseen_query") == 0.0
    assert value(one, found, "unique_cates", part="novel") is None, "no matter of true queries"


def test_nothing_novel_is_left_out_rather_than_counted_as_a_miss():
    assert (
        value(instance(TrueQuery("tv", is_novel=False)), ["tv"], "query_hr", part="novel") is None
    )


@pytest.mark.parametrize(
    ("behaviors", "slices"),
    [
        (0, {"without_context"}),
        (1, {"with_context", "context_1_3"}),
        (3, {"with_context", "context_1_3"}),
        (4, {"with_context", "context_4_plus"}),
    ],
)
def test_slices_by_behaviours(behaviors, slices):
    one = instance("tv", behaviors=behaviors)
    found = {part for part in INSTANCE_SLICES if value(one, ["tv"], "query_hr", part=part) == 1.0}
    assert found == slices
    assert value(instance("tv", has_unseen_item=True), ["tv"], "query_hr", part="unseen_item") == 1


def test_lists_as_drawn():
    """Two lists with 3 and 1 queries and a truncated one; an instance that was never drawn."""
    one, two = instance("tv"), Instance("v:2026-01-01", "v", (TrueQuery("tv"),))
    drawn = {
        one.instance_id: (
            DrawnList(("tv", "red shoes", "near red shoes"), duplicates=1),
            DrawnList(("desk lamp",), duplicates=0),
            DrawnList((), error="truncated"),
        )
    }
    near = np.array([NEAR_DUPLICATE, (1 - NEAR_DUPLICATE**2) ** 0.5])
    vectors = VECTOR | {"near red shoes": near}
    clicks = {"red shoes": 0.1, "desk lamp": 0.2, "tv": 0.05, "near red shoes": 0.6}
    values = measure_drawn([one, two], drawn, vectors, {one.instance_id: clicks})
    assert {key: of[0] for key, of in values.items()} == {
        ("list_length", 0, "all"): pytest.approx(4 / 3),
        ("malformed", 0, "all"): pytest.approx(1 / 3),
        ("malformed_truncated", 0, "all"): pytest.approx(1 / 3),
        # Of four written, one is there twice and one is near another; and none of one.
        ("repeats", 0, "all"): pytest.approx((2 / 4 + 0) / 2),
        # Four times .05, .1 and .6, which is more than 1, over four written; .2 alone; no query.
        ("click_reward", 0, "all"): pytest.approx(((0.2 + 0.4 + 1) / 4 + 0.8 + 0) / 3),
    }
    assert all(np.isnan(of[1]) for of in values.values())


def test_repeats_that_nobody_counted_are_not_measured():
    """Of one list by an older version of this software; the other tells half of the story."""
    one, two = instance("tv"), Instance("v:2026-01-01", "v", (TrueQuery("tv"),))
    whole = DrawnList(("desk lamp",), 1)
    drawn = {one.instance_id: (whole, DrawnList(("tv",), None)), two.instance_id: (whole,)}
    clicks = {of: {"tv": 0.1, "desk lamp": 0.1} for of in drawn}
    values = measure_drawn([one, two], drawn, VECTOR, clicks)
    for metric, of_two in (("repeats", 0.5), ("click_reward", 0.2)):
        assert np.isnan(values[metric, 0, "all"][0])
        assert values[metric, 0, "all"][1] == pytest.approx(of_two)
    assert not np.isnan(values["list_length", 0, "all"]).any()


@given(st.lists(st.sampled_from([*sorted(VECTOR), "near tv"]), min_size=1))
def test_repeats_are_those_that_the_reward_counts(written):
    """What is kept of a list, its distinct queries and a count, tells as much as the list did."""
    vectors = VECTOR | {"near tv": np.array([-0.96, 0.28])}
    one = instance("tv")
    distinct = tuple(dict.fromkeys(written))
    drawn = {one.instance_id: (DrawnList(distinct, len(written) - len(distinct)),)}
    found = measure_drawn([one], drawn, vectors)["repeats", 0, "all"][0]
    vectors_of = np.stack([vectors[q] for q in written])
    whole = duplicate_share(written, vectors_of, near=NEAR_DUPLICATE)
    assert found == pytest.approx(whole)


QUERIES = st.sampled_from(sorted(VECTOR))
CANDIDATES = st.lists(QUERIES, unique=True)
TRUE_QUERIES = st.builds(
    TrueQuery,
    QUERIES,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["head", "torso", "tail", "unseen"]),
)
INSTANCES = st.builds(
    lambda number, true, behaviors, new: Instance(
        f"u{number}:d", f"u{number}", tuple(true), behaviors, new
    ),
    st.integers(0, 99),
    st.lists(TRUE_QUERIES, min_size=1, max_size=4, unique_by=lambda q: q.text),
    st.integers(0, 6),
    st.booleans(),
)


def naive(one: Instance, shown: list[str], metric: str, part: str) -> float | None:
    """The definitions, word by word, for one instance and its K candidates."""
    if part in INSTANCE_SLICES and not INSTANCE_SLICES[part](one):
        return None
    true = [q.text for q in one.true_queries if part in INSTANCE_SLICES or QUERY_SLICES[part](q)]
    categories = {CATEGORY[q] for q in shown if q in CATEGORY}
    if metric == "unique_cates":
        return len(categories) if part in INSTANCE_SLICES or part == "all" else None
    if metric == "candidates":
        return len(shown) if part in INSTANCE_SLICES or part == "all" else None
    if not true:
        return None
    if metric == "query_hr":
        return sum(q in shown for q in true) / len(true)
    if metric == "cate_hr":
        wanted = {CATEGORY[q] for q in true if q in CATEGORY}
        return len(wanted & categories) / len(wanted) if wanted else None
    best = [max((float(VECTOR[q] @ VECTOR[c]) for c in shown), default=0.0) for q in true]
    return sum(best) / len(best)


@given(
    st.lists(
        st.tuples(INSTANCES, CANDIDATES),
        min_size=1,
        max_size=4,
        unique_by=lambda x: x[0].instance_id,
    )
)
def test_all_figures_are_those_of_the_definitions(drawn):
    values = measure([one for one, _ in drawn], {i.instance_id: c for i, c in drawn}, LOOK)
    for metric in ("query_hr", "cate_hr", "sem_sim", "unique_cates", "candidates"):
        for k in CUTOFFS:
            for part in [*QUERY_SLICES, *INSTANCE_SLICES]:
                expected = [naive(one, found[:k], metric, part) for one, found in drawn]
                column = values.get((metric, k, part))
                if column is None:
                    assert expected == [None] * len(drawn), (metric, k, part)
                    continue
                got = [None if np.isnan(x) else x for x in column]
                assert [g is None for g in got] == [e is None for e in expected], (metric, k, part)
                assert got == pytest.approx(expected), (metric, k, part)


@given(INSTANCES, CANDIDATES)
def test_bands_and_contexts_are_partitions(one, found):
    """True queries, and those found, add up over the bands; every context is of one size."""
    bands = ("head", "torso", "tail", "unseen_query")
    sizes = [sum(map(QUERY_SLICES[band], one.true_queries)) for band in bands]
    assert sum(sizes) == len(one.true_queries)
    rates = [value(one, found, "query_hr", part=band) for band in bands]
    hits = sum((rate or 0) * size for rate, size in zip(rates, sizes, strict=True))
    assert hits == pytest.approx(value(one, found, "query_hr") * len(one.true_queries))
    contexts = ("without_context", "context_1_3", "context_4_plus")
    assert sum(INSTANCE_SLICES[part](one) for part in contexts) == 1
    assert INSTANCE_SLICES["with_context"](one) == (one.behaviors > 0)


@given(INSTANCES, CANDIDATES.filter(len))
def test_no_metric_falls_when_more_candidates_are_looked_at(one, found):
    for metric in ("query_hr", "cate_hr", "sem_sim", "unique_cates", "candidates"):
        rising = [value(one, found, metric, k) for k in CUTOFFS]
        assert rising[0] is None or rising == sorted(rising)
