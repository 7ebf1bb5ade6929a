from collections import Counter

import numpy as np

from aigq.simulator import catalog, words
from aigq.simulator.language import COMPLEMENTS
from aigq.simulator.settings import ShopSettings

CATALOG = catalog.build(ShopSettings())


def test_size():
    assert len(words.DEPARTMENTS) >= 10
    assert len(CATALOG.leaves) >= 200
    assert len(CATALOG.titles) >= 5000


def test_the_catalog_does_not_depend_on_users_and_days():
    other = catalog.build(ShopSettings(users=7, days=2))
    assert other.titles == CATALOG.titles
    assert catalog.build(ShopSettings(seed=2)).titles != CATALOG.titles


def test_words_of_different_leaves_differ_and_are_short():
    names = [name for leaf in CATALOG.leaves for name in (leaf.name, leaf.synonym)]
    assert [n for n, count in Counter(names).items() if count > 1] == []
    assert all(1 <= len(name.split()) <= 2 for name in names)
    for leaf in CATALOG.leaves:
        assert len(set(leaf.attributes)) == catalog.ATTRIBUTES
        assert len(set(leaf.brands)) == catalog.BRANDS


def test_no_attribute_is_listed_twice_or_part_of_a_name():
    """A shop with the attribute "pocket" and the synonym "pocket calculator" wrote the same text
    for two different queries, and showed it twice among one request's candidates."""
    for department, sections in words.DEPARTMENTS.items():
        values = [v for group in words.ATTRIBUTES[department].values() for v in group.split()]
        assert len(values) == len(set(values)), department
        names = " ".join(sections.values()).replace("=", " ").replace(",", " ").split()
        assert set(values) & set(names) == set(), department


def test_items_lie_in_their_leaf_and_two_attribute_groups():
    for leaf, items in enumerate(CATALOG.items_of):
        assert set(CATALOG.leaf[items[items >= 0]]) == {leaf}
    assert sorted(CATALOG.items_of[CATALOG.items_of >= 0]) == list(range(len(CATALOG.leaf)))
    groups = CATALOG.attributes // catalog.GROUP_SIZE
    assert (groups[:, 0] != groups[:, 1]).all()
    assert (CATALOG.has_attribute.sum(axis=1) == 2).all()


def test_titles_name_brand_attributes_and_type():
    for item in range(0, len(CATALOG.titles), 50):
        leaf, title = CATALOG.leaves[CATALOG.leaf[item]], CATALOG.titles[item].lower()
        assert 4 <= len(title.split()) <= 7
        assert title.startswith(leaf.brands[CATALOG.brand[item]])
        assert leaf.name in title
        assert all(leaf.attributes[a] in title for a in CATALOG.attributes[item])


def test_complements_share_the_section():
    for leaf, others in enumerate(CATALOG.complements):
        sections = {CATALOG.leaves[k].path.rsplit(" > ", 1)[0] for k in (leaf, *others)}
        assert len(sections) == 1
        assert leaf not in others
        assert len(set(others)) == COMPLEMENTS


def test_zipf():
    assert np.allclose(catalog.zipf(3, 1.0), np.array([6, 3, 2]) / 11)


def test_items_are_launched_day_by_day_and_never_before_their_words():
    launched = CATALOG.launched
    assert set(launched) == {-1, *range(1, 32)}
    assert 0.15 < (launched >= 0).mean() < 0.4  # their own day, or that of a new word
    named = CATALOG.attribute_debut[CATALOG.leaf[:, None], CATALOG.attributes]
    assert (launched >= named.max(axis=1)).all()
    assert (launched >= CATALOG.brand_debut[CATALOG.leaf, CATALOG.brand]).all()
    # Every leaf has something to offer from the start.
    assert set(CATALOG.leaf[launched < 0]) == set(range(len(CATALOG.leaves)))
    still = catalog.build(ShopSettings(new_item_share=0, new_wording_share=0))
    assert (still.launched == -1).all()
    assert still.titles == CATALOG.titles
