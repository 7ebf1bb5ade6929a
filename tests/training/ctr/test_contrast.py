"""What next searches are told from: any query of the log, popular or not, and garbled text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq.context import ACTIONS
from training.ctr.contrast import DRAWN, GARBLED, Contrasts, garble

pytestmark = pytest.mark.torch
HINTS = (["lamp"], [1], [False])
words = st.lists(st.text("abcdef", min_size=1, max_size=8), min_size=1, max_size=4)


def draw(data, seed=0):
    return Contrasts(data).draw(np.arange(len(data)), np.random.default_rng(seed))


def test_own_searches_are_no_contrast_and_no_search_is_none(make_exposures):
    """Ann searched two things, Bob one of them, Cy nothing, Di another; Eve something long ago.
    A hint that nobody searched, "lamp", is no query to tell from."""
    rows = [
        ("ann", [], *HINTS, ["camping tent", "dome tent"]),
        ("bob", [], *HINTS, ["dome tent"]),
        ("cy", [], *HINTS, []),
        ("di", [], *HINTS, ["piano"]),
        ("eve", ["harp"], *HINTS, []),
    ]
    data = make_exposures(rows)
    told = {row[0]: set() for row in rows}
    for seed in range(50):
        query, mask, garbled = draw(data, seed)
        assert query.shape == mask.shape == (5, 1 + DRAWN + GARBLED)
        assert not mask[[2, 4]].any() and mask[[0, 1, 3], 0].all()
        assert not set(garbled) & set(data.texts)
        texts = [*data.texts, *garbled]
        for row, numbers, counts in zip(rows, query, mask, strict=True):
            if counts[0]:
                assert texts[numbers[0]] in row[5]
            found = {texts[number] for number in numbers[1 : 1 + DRAWN][counts[1 : 1 + DRAWN]]}
            told[row[0]] |= found
            assert (numbers[1 + DRAWN :] >= len(data.texts))[counts[1 + DRAWN :]].all()
    assert told == {
        "ann": {"harp", "piano"},
        "bob": {"camping tent", "harp", "piano"},
        "cy": set(),
        "di": {"camping tent", "dome tent", "harp"},
        "eve": set(),
    }


def test_what_is_clicked_but_not_searched_is_no_query(make_exposures):
    data = make_exposures([("ann", ["a long item title"], *HINTS, ["tent"])] * 3)
    data.action[:] = ACTIONS.index("item_click")
    assert not draw(data)[1][:, 1 : 1 + DRAWN].any()


def test_popular_queries_are_drawn_no_more_often_than_others(make_exposures):
    """Popularity must pay as much as it is worth: six of eight others' searches are for tents."""
    nexts = ["tent"] * 6 + ["harp", "lute"]
    rows = [(f"u{i}", [], *HINTS, [nexts[i % 8]]) for i in range(400)]
    rows += [("last", [], *HINTS, ["piano"])] * 400
    data = make_exposures(rows)
    query, mask, _ = draw(data)
    drawn = query[400:, 1 : 1 + DRAWN][mask[400:, 1 : 1 + DRAWN]]
    assert np.mean(drawn == data.texts.index("tent")) == pytest.approx(1 / 3, abs=0.05)


def test_what_is_drawn_depends_on_the_seed_alone(make_planted):
    data = make_planted(100, seed=1).data
    first, again, other = draw(data, 3), draw(data, 3), draw(data, 4)
    assert (first.query == again.query).all() and first.garbled == again.garbled
    assert (first.query != other.query).any()


def test_a_log_without_searches_has_nothing_to_tell(make_exposures):
    query, mask, garbled = draw(make_exposures([("ann", [], *HINTS)] * 3))
    assert not mask.any() and not garbled and (query == 0).all()


@given(words, words, st.integers(0, 2**32))
def test_garbled_text_is_one_of_four_things(own, other, seed):
    """Words said again, two queries at once, the beginning of one, or letters in other order."""
    text, found = " ".join(own), garble(" ".join(own), " ".join(other), np.random.default_rng(seed))
    parts = found.split()
    assert found == " ".join(parts) and parts
    said_again = set(parts) <= set(own) and len(parts) > len(set(parts))
    joined = parts == own + other
    cut = text.startswith(found)
    shuffled = len(parts) == len(own) and sorted(found) == sorted(text)
    assert said_again or joined or cut or shuffled
