import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aigq.simulator import queries
from aigq.simulator.history import REMEMBERED, TOP_OF_LEAF, ShopHistory, UserHistory
from aigq.simulator.language import corrected
from aigq.simulator.settings import ShopSettings

LANGUAGE = queries.made_up(ShopSettings())
LEAVES = 5  # of them are searched for
CODES = st.builds(
    lambda leaf, first, typo: int(queries.encode(leaf, first=first, typo=typo)),
    st.integers(0, LEAVES - 1),
    st.integers(-1, 11),
    st.integers(0, 2),
)


@given(st.lists(st.tuples(st.integers(0, 2), CODES), max_size=60))
def test_recent_searches_are_the_last_distinct_ones_newest_first(log):
    history = UserHistory(3, LANGUAGE)
    reference: dict[int, list[tuple[int, int]]] = {0: [], 1: [], 2: []}
    for time, (user, code) in enumerate(log, 1):
        mine = reference[user]
        before = int(queries.leaf_of(np.array(mine[0][0]))) if mine else -1
        previous = history.searched(np.array([user]), np.array([code]), np.array([time]))
        assert previous.tolist() == [before]
        right = code - code % queries.TYPOS
        reference[user] = [(right, time), *(e for e in mine if e[0] != right)][:REMEMBERED]
    for user, mine in reference.items():
        rows = len(mine)
        assert history.recent[user, :rows].tolist() == [code for code, _ in mine]
        assert history.recent_at[user, :rows].tolist() == [time for _, time in mine]
        assert (history.recent[user, rows:] == -1).all()


@given(st.lists(st.lists(st.tuples(st.integers(0, 149), CODES), max_size=30), max_size=4))
def test_counts_are_those_of_days_that_are_over(days):
    """Each day lasts 100 ticks; what falls behind its end (a session over midnight) counts next."""
    settings = ShopSettings(popularity_memory=0.5)
    history = ShopHistory(settings, LANGUAGE)
    editorial = {
        int(code): count for code, count in zip(history._codes, history._counts, strict=True)
    }
    seen: list[tuple[int, int]] = []
    for day, log in enumerate(days):
        times = np.array([100 * day + t for t, _ in log], int)
        codes = np.array([code for _, code in log], int)
        history.searched(times, codes, np.full(len(log), -1))
        seen += zip(times.tolist(), corrected(codes).tolist(), strict=True)
        history.close_day(100 * (day + 1))
        counts = {code: count * 0.5 ** (day + 1) for code, count in editorial.items()}
        for time, code in seen:
            if time < 100 * (day + 1):
                counts[code] = counts.get(code, 0) + 0.5 ** (day - time // 100)
        asked = np.array(sorted(counts))
        assert np.allclose(history.count(asked), [counts[c] for c in asked.tolist()])
        assert np.allclose(history.top_count, sorted(counts.values(), reverse=True))
        assert history.count(np.array([queries.encode(LEAVES - 1, brand=3)])).tolist() == [0.0]


def test_heads_of_leaves_and_what_follows():
    history = ShopHistory(ShopSettings(), LANGUAGE)
    once = [queries.encode(1, first=a) for a in range(12)]
    codes = np.array(once + [queries.encode(1, brand=2)] * 5 + [queries.encode(3)] * 2)
    previous = np.array([-1] * 12 + [1] * 3 + [2, 4] + [2, 1])
    history.searched(np.zeros(len(codes), int), codes, previous)
    assert (history.next_leaf == -1).all()
    history.close_day(1)
    assert history.top[0] == history.top_of_leaf[1, 0] == queries.encode(1, brand=2)
    assert (queries.leaf_of(history.top_of_leaf[1]) == 1).all()
    assert history.top_of_leaf.shape == (len(LANGUAGE.catalog.leaves), TOP_OF_LEAF)
    # The other leaves were searched for their names only.
    assert (history.top_of_leaf[0, 1:] == -1).all()
    # 1 after 1 is no other leaf; leaf 2 was followed by 1 and by 3, and the first one is taken.
    assert history.next_leaf[:LEAVES].tolist() == [-1, 3, 1, -1, 1]
