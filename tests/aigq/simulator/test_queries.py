import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aigq.simulator import catalog, queries
from aigq.simulator.language import corrected
from aigq.simulator.settings import ShopSettings

LANGUAGE = queries.made_up(ShopSettings())
CATALOG = LANGUAGE.catalog
LEAVES = len(CATALOG.leaves)
ATTRIBUTE = st.integers(0, catalog.ATTRIBUTES - 1)


@st.composite
def query_parts(draw):
    brand = draw(st.integers(-1, catalog.BRANDS - 1))
    first = draw(st.one_of(st.just(-1), ATTRIBUTE))
    # A second attribute needs a first one, comes after it, and goes with no brand.
    later = st.integers(first + 1, catalog.ATTRIBUTES - 1)
    two = brand < 0 and 0 <= first < catalog.ATTRIBUTES - 1 and draw(st.booleans())
    second = draw(later) if two else -1
    swapped = draw(st.integers(0, 1)) if (brand >= 0 or first >= 0) else 0
    return queries.Queries(
        draw(st.integers(0, LEAVES - 1)),
        first,
        second,
        brand,
        draw(st.integers(0, 1)),
        swapped,
        draw(st.integers(0, queries.TYPOS - 1)),
    )


@given(st.lists(query_parts(), min_size=1, max_size=20))
def test_codes_read_back(parts):
    columns = [np.array(column) for column in zip(*parts, strict=True)]
    codes = queries.encode(*columns)
    for read, written in zip(queries.decode(codes), columns, strict=True):
        assert (read == written).all()
    assert (queries.leaf_of(codes) == columns[0]).all()
    right = queries.decode(corrected(codes))
    assert (right.typo == 0).all()
    assert (right.first == columns[1]).all()


def _text(code, case=0):
    return LANGUAGE.texts(np.array([code]), np.array([case]))[0]


def test_wording_by_eye():
    leaf = next(k for k, one in enumerate(CATALOG.leaves) if one.name == "ankle boots")
    words = CATALOG.leaves[leaf]
    a, b, brand = words.attributes[2], words.attributes[7], words.brands[3]
    assert _text(queries.encode(leaf)) == "ankle boots"
    assert _text(queries.encode(leaf, synonym=1)) == "booties"
    assert _text(queries.encode(leaf, first=2)) == f"{a} ankle boots"
    assert _text(queries.encode(leaf, first=7, second=2)) == f"{a} {b} ankle boots"
    assert _text(queries.encode(leaf, brand=3, swapped=1)) == f"ankle boots {brand}"
    assert _text(queries.encode(leaf, first=2, brand=3)) == f"{brand} {a} ankle boots"
    assert _text(queries.encode(leaf, brand=3), 1) == f"{brand} ankle boots".title()
    assert _text(queries.encode(leaf, brand=3), 3) == f"{brand} ankle boots".upper()


def test_different_queries_spelled_right_are_different_texts():
    a, b, c = (
        part.ravel()
        for part in np.meshgrid(
            np.arange(-1, catalog.ATTRIBUTES),
            np.arange(-1, catalog.ATTRIBUTES),
            np.arange(-1, catalog.BRANDS),
        )
    )
    possible = ((b < 0) | (a >= 0) & (c < 0)) & (a != b) | (a < 0) & (b < 0)
    codes = np.unique(
        [
            queries.encode(leaf, a[possible], b[possible], c[possible], synonym, swapped)
            for leaf in range(0, LEAVES, 5)
            for synonym in (0, 1)
            for swapped in (0, 1)
        ]
    )
    texts = LANGUAGE.texts(codes, np.zeros(len(codes), int))
    assert len(codes) > 20_000
    assert len(set(texts)) == len(texts)
    assert [LANGUAGE.read(text) for text in texts] == codes.tolist()
    assert max(len(text.split()) for text in texts) <= 4


@given(query_parts())
def test_a_typo_changes_letters_but_not_the_number_of_words(parts):
    code = queries.encode(*parts)
    typed, right = _text(code), _text(corrected(code))
    assert (typed == right) == (parts.typo == 0)
    assert len(typed.split()) == len(right.split())
    assert abs(len(typed) - len(right)) <= 1
    assert typed == _text(code)


@given(query_parts())
def test_a_slip_of_the_finger_is_understood(parts):
    code = queries.encode(*parts)
    assert LANGUAGE.read(_text(code, case=3)) == corrected(code)


def test_reading_free_texts():
    leaf = next(k for k, one in enumerate(CATALOG.leaves) if one.name == "ankle boots")
    a, b, other = (CATALOG.leaves[leaf].attributes[i] for i in (2, 7, 0))
    brand = CATALOG.leaves[leaf].brands[3]
    two = queries.encode(leaf, first=2, second=7)
    assert corrected(LANGUAGE.read(f"{a}  Ankle Boots {b}")) == two
    # Of more values than a query has, the brand and the first attribute count.
    assert LANGUAGE.read(f"{a} {b} {other} ankle boots") == two
    assert LANGUAGE.read(f"{brand} {a} {b} ankle boots") == queries.encode(leaf, first=2, brand=3)
    for unknown in ("", "boots", f"{a} {b}", "ankle boots for the moon", "ankel bots", "靴子"):
        assert LANGUAGE.read(unknown) == -1, unknown


def test_words_are_not_used_before_their_day():
    rng, n = np.random.default_rng(0), 200_000
    debut = CATALOG.attribute_debut
    later = np.argwhere(debut > 0)
    assert 0.04 < len(later) / debut.size < 0.1
    leaf, value = later[rng.integers(0, len(later), n)].T
    taste = np.column_stack([np.zeros(n, int), value, value, np.zeros(n, int)])
    said = {}
    for day in (0, 10, 31):
        parts = queries.decode(LANGUAGE.worded(rng, day, leaf, taste, np.ones(n, bool)))
        for part, first_day in (
            (parts.first, debut),
            (parts.second, debut),
            (parts.brand, CATALOG.brand_debut),
        ):
            assert (first_day[leaf, part][part >= 0] <= day).all()
        said[day] = (parts.first == value).mean()
    assert said[0] == 0
    assert said[31] > 2 * said[10] > 0
