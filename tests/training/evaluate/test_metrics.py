"""The metrics, on instances small enough to check by eye."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluate.metrics import (
    Instance,
    Lookups,
    bootstrap,
    category_hit_rate,
    measure,
    query_hit_rate,
    semantic_similarity,
    unique_categories,
)

CATEGORY = {"red shoes": "shoes", "blue shoes": "shoes", "desk lamp": "lamps", "tv": "tvs"}
VECTOR = {
    "red shoes": np.array([1.0, 0.0]),
    "blue shoes": np.array([0.8, 0.6]),
    "desk lamp": np.array([0.0, 1.0]),
    "tv": np.array([-1.0, 0.0]),
}


def test_query_hit_rate_is_the_share_of_true_queries_found():
    assert query_hit_rate(["tv", "red shoes"], {"red shoes", "desk lamp"}) == 0.5
    assert query_hit_rate([], {"red shoes"}) == 0.0
    assert query_hit_rate(["tv"], set()) is None


def test_category_hit_rate_counts_leaf_categories_once():
    true = {"red shoes", "blue shoes", "desk lamp"}  # two categories
    assert category_hit_rate(["blue shoes"], true, CATEGORY) == 0.5
    assert category_hit_rate(["blue shoes", "desk lamp", "tv"], true, CATEGORY) == 1.0


def test_an_instance_without_a_true_category_is_left_out():
    assert category_hit_rate(["tv"], {"never placed"}, CATEGORY) is None


def test_semantic_similarity_takes_the_best_candidate_for_each_true_query():
    # red shoes: best is blue shoes, 0.8; desk lamp: best is blue shoes, 0.6.
    value = semantic_similarity(["blue shoes", "tv"], {"red shoes", "desk lamp"}, VECTOR)
    assert value == pytest.approx((0.8 + 0.6) / 2)
    assert semantic_similarity([], {"tv"}, VECTOR) == 0.0


def test_unique_categories_ignores_queries_without_one():
    assert unique_categories(["red shoes", "blue shoes", "tv", "unknown"], CATEGORY) == 2.0


def test_novel_slices_look_only_at_queries_outside_the_context():
    instance = Instance(
        "u:2026-01-01", "u", frozenset({"red shoes", "tv"}), frozenset({"red shoes"}), True
    )
    values = measure(instance, ["red shoes"], Lookups(CATEGORY, VECTOR))
    assert values["query_hr", "all"] == 0.5
    assert values["query_hr", "novel"] == 0.0
    assert values["cate_hr", "novel"] == 0.0
    assert values["query_hr", "with_context"] == 0.5
    assert values["query_hr", "without_context"] is None


def test_nothing_novel_is_left_out_rather_than_counted_as_a_miss():
    instance = Instance("u:d", "u", frozenset({"tv"}), frozenset({"tv"}), True)
    values = measure(instance, ["tv"], Lookups(CATEGORY, VECTOR))
    assert values["query_hr", "novel"] is None


@given(
    st.lists(st.sampled_from(sorted(CATEGORY)), unique=True),
    st.sets(st.sampled_from(sorted(CATEGORY)), min_size=1),
)
def test_no_metric_falls_when_more_candidates_are_looked_at(candidates, true):
    instance = Instance("u:d", "u", frozenset(true), frozenset(), False)
    look = Lookups(CATEGORY, VECTOR)
    for k in range(1, len(candidates)):
        fewer, more = measure(instance, candidates[:k], look), measure(instance, candidates, look)
        for key in fewer:
            if fewer[key] is not None:
                assert more[key] >= fewer[key] - 1e-12


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    """Known truth: user means are Bernoulli(0.3); 95% intervals should cover it most of the time.

    200 repetitions, standard error of the coverage 1.5 points; below 0.88 would be wrong.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        users = [f"u{i}" for i in range(150) for _ in range(2)]
        values = list(np.repeat((rng.random(150) < 0.3).astype(float), 2))
        estimate = bootstrap(values, users, seed=1, resamples=400)
        covered += estimate.low <= 0.3 <= estimate.high
    assert 0.88 <= covered / 200 <= 1.0


def test_bootstrap_draws_users_not_rows():
    """The same values by one row a user, and by ten equal rows a user: equal intervals.

    Drawing rows would make the second about three times too narrow.
    """
    rng = np.random.default_rng(3)
    per_user = list((rng.random(100) < 0.5).astype(float))
    users = [f"u{i:03}" for i in range(100)]
    one = bootstrap(per_user, users, seed=7)
    ten = bootstrap(per_user * 10, users * 10, seed=7)
    assert (one.low, one.high) == (ten.low, ten.high)
    assert (one.instances, ten.instances) == (100, 1000)


def test_bootstrap_skips_instances_that_do_not_count():
    estimate = bootstrap([1.0, None, 0.0], ["a", "b", "c"], seed=0)
    assert (estimate.value, estimate.instances) == (0.5, 2)
    assert bootstrap([None], ["a"], seed=0) is None
