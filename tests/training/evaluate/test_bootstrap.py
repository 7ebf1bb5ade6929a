"""Intervals and paired comparisons, against loops and known truths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluate.bootstrap import UserBootstrap

KEY = ("query_hr", 10, "all")


def estimate(values, users, *, seed=0, resamples=2000):
    column = {KEY: np.array([np.nan if v is None else v for v in values], dtype=float)}
    return UserBootstrap(users, seed=seed, resamples=resamples).estimate(column).get(KEY)


def test_covers_the_mean_about_as_often_as_it_says():
    """Known truth: user means are Bernoulli(0.3); 95% intervals should cover it most of the time.

    200 repetitions, standard error of the coverage 1.5 points; below 0.88 would be wrong.
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        users = [f"u{i}" for i in range(150) for _ in range(2)]
        values = list(np.repeat((rng.random(150) < 0.3).astype(float), 2))
        found = estimate(values, users, seed=1, resamples=400)
        covered += found.low <= 0.3 <= found.high
    assert 0.88 <= covered / 200 <= 1.0


def test_users_are_drawn_not_rows():
    """The same values by one row a user, and by ten equal rows a user: equal intervals.

    Drawing rows would make the second about three times too narrow.
    """
    rng = np.random.default_rng(3)
    per_user = list((rng.random(100) < 0.5).astype(float))
    users = [f"u{i:03}" for i in range(100)]
    one = estimate(per_user, users, seed=7)
    ten = estimate(per_user * 10, users * 10, seed=7)
    assert (one.low, one.high) == (ten.low, ten.high)
    assert (one.instances, ten.instances) == (100, 1000)


def test_instances_that_do_not_count_are_skipped():
    found = estimate([1.0, None, 0.0], ["a", "b", "c"])
    assert (found.value, found.instances) == (0.5, 2)
    assert estimate([None], ["a"]) is None


VALUES = st.one_of(st.none(), st.sampled_from([0.0, 1 / 3, 0.5, 1.0]))
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), VALUES, VALUES), min_size=1, max_size=12)


@given(ROWS, st.integers(0, 3))
def test_a_comparison_is_that_of_plain_loops(rows, seed):
    """The same draws of users, but means, interval and p in Python loops."""
    users = [user for user, _, _ in rows]
    draws = UserBootstrap(users, seed=seed, resamples=50)
    one, other = (
        {KEY: np.array([np.nan if row[n] is None else row[n] for row in rows])} for n in (1, 2)
    )
    found = draws.compare(one, other).get(KEY)
    differences = [(u, a - b) for u, a, b in rows if a is not None and b is not None]
    if not differences:
        assert found is None
        return
    names = sorted(set(users))
    resampled = []
    for counts in draws.draws:
        times = dict(zip(names, counts, strict=True))
        drawn = [d for u, d in differences for _ in range(int(times[u]))]
        if drawn:
            resampled.append(round(sum(drawn) / len(drawn), 12))
    tails = min(sum(d <= 0 for d in resampled), sum(d >= 0 for d in resampled))
    assert found.difference == pytest.approx(np.mean([d for _, d in differences]))
    assert [found.low, found.high] == pytest.approx(list(np.percentile(resampled, [2.5, 97.5])))
    assert found.p == pytest.approx(min(1, 2 * (tails + 1) / (len(resampled) + 1)))
    assert found.instances == len(differences)
    turned = draws.compare(other, one)[KEY]
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-found.difference, -found.high, -found.low)
    )
    assert turned.p == pytest.approx(found.p)


def test_a_comparison_is_paired():
    """Two models that differ by .05 on every instance: no doubt, though each interval is wide."""
    rng = np.random.default_rng(0)
    base = (rng.random(200) < 0.5).astype(float) * 0.9
    users = [f"u{i}" for i in range(200)]
    draws = UserBootstrap(users, seed=0)
    one, other = {KEY: base + 0.05}, {KEY: base}
    intervals = [draws.estimate(of)[KEY] for of in (one, other)]
    assert intervals[0].low < intervals[1].high, "apart, the intervals overlap"
    found = draws.compare(one, other)[KEY]
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert found.p == pytest.approx(2 / 2001)
    same = draws.compare(one, one)[KEY]
    assert (same.difference, same.p) == (0.0, 1.0)


def test_p_is_as_rare_as_it_says_where_nothing_differs():
    """Two models alike: p below .1 in about a tenth of 200 repetitions, give or take 4 points."""
    rng = np.random.default_rng(1)
    users = [f"u{i}" for i in range(80)]
    draws = UserBootstrap(users, seed=2, resamples=500)
    rare = 0
    for _ in range(200):
        one, other = ({KEY: (rng.random(80) < 0.4).astype(float)} for _ in range(2))
        rare += draws.compare(one, other)[KEY].p < 0.1
    assert 0.04 <= rare / 200 <= 0.18
