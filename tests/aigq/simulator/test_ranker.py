from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq.simulator import queries, ranker
from aigq.simulator.history import TOP_OF_LEAF, ShopHistory, UserHistory
from aigq.simulator.population import DAY_MS
from aigq.simulator.settings import ShopSettings

LANGUAGE = queries.made_up(ShopSettings())
LEAVES = 60  # of them are searched for


def _rank(seed=0, users=30, searches=200, **parameters):
    """Candidates of all users one day after a random log."""
    rng = np.random.default_rng(seed)
    s = ShopSettings(users=users, **parameters)
    shop, user = ShopHistory(s, LANGUAGE), UserHistory(users, LANGUAGE)
    for time in range(searches):
        who = rng.integers(0, users, 1)
        code = queries.encode(rng.integers(0, LEAVES, 1), first=rng.integers(-1, 12, 1))
        shop.searched(np.array([time]), code, user.searched(who, code, np.array([time])))
    shop.close_day(DAY_MS)
    times = np.full(users, DAY_MS)
    return shop, user, ranker.rank(rng, s, shop, user, np.arange(users), times)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 400))
def test_candidates(seed, searches):
    shop, user, ranked = _rank(seed, searches=searches)
    width = (ranked.code >= 0).sum(axis=1)
    assert width.min() >= 10
    assert width.max() <= 20
    for code, score, shown in zip(ranked.code, ranked.score, ranked.shown, strict=True):
        valid = code >= 0
        # No gaps, no query twice, best first, and three of them shown.
        assert valid[: valid.sum()].all()
        assert len(set(code[valid])) == valid.sum()
        assert (np.diff(score[valid]) <= 0).all()
        assert ((score[valid] > 0) & (score[valid] < 1)).all()
        assert len(set(shown)) == 3
        assert valid[shown].all()
    own = ranked.source == ranker.SOURCES.index("own")
    for row, (code, mine) in enumerate(zip(ranked.code, own, strict=True)):
        assert np.isin(code[mine & (code >= 0)], user.recent[row]).all()
    rest = ranked.code[~own & (ranked.code >= 0)]
    assert np.isin(rest, shop.top).all()


def test_related_queries_are_of_the_two_strongest_leaves_and_of_the_follower():
    """Codes say their leaf by hundreds. Of equal leaves the first; what was never searched gives
    none."""
    shop = SimpleNamespace(
        next_leaf=np.array([3, -1, 0, -1]),
        top_of_leaf=np.arange(4)[:, None] * 100 + np.arange(TOP_OF_LEAF),
    )
    affinity = np.array([[5, 2, 9, 0], [1, 1, 0, 1], [0, 0, 0, 0], [0, 7, 0, 0]], dtype=float)
    before = affinity.copy()
    found = ranker._related(np.random.default_rng(1), shop, affinity)
    assert np.where(found < 0, -1, found // 100).tolist() == [
        [2, 2, 2, 2, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 3, 3],
        [-1] * 8,
        [1, 1, 1, 1, -1, -1, -1, -1],
    ]
    assert all(len(set(row[:4])) == 4 for row in found[[0, 1, 3]].tolist())
    assert (affinity == before).all()


def test_a_user_without_past_sees_popular_queries_only():
    shop, _, ranked = _rank(searches=0)
    found = ranked.code[ranked.code >= 0]
    assert np.isin(found, shop.top[:40]).all()
    assert (ranked.source[ranked.code >= 0] == ranker.SOURCES.index("popular")).all()


def test_third_hint_explores_as_often_as_stated():
    for share in (0.0, 1.0):
        _, _, ranked = _rank(users=400, explore_share=share)
        assert (ranked.shown[:, :2] == [0, 1]).all()
        moved = (ranked.shown[:, 2] != 2).mean()
        assert moved == 0 if share == 0 else moved > 0.8


def test_the_score_is_biased_to_the_popular_by_its_weight():
    shown = []
    for weight in (0.0, 2.0):
        shop, _, ranked = _rank(users=400, explore_share=0, weight_popular=weight)
        shown.append(shop.count(ranked.code[:, :3]).mean())
    assert shown[1] > 1.2 * shown[0]


def test_repeated_marks_all_but_one():
    code = np.array([[5, 7, 5, 5, 7, 1]])
    assert ranker._repeated(code).tolist() == [[False, False, True, True, True, False]]
