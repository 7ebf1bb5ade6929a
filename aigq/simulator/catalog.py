"""Leaf categories and items of the made-up shop, as arrays.

A leaf has ``ATTRIBUTES`` attribute values in ``GROUPS`` groups of equal size and ``BRANDS`` brands;
an item or a query refers to them by their index within the leaf (-1: none).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aigq.simulator import words
from aigq.simulator.ids import ids
from aigq.simulator.language import first_days
from aigq.simulator.settings import ShopSettings

GROUPS = 3
GROUP_SIZE = 4
ATTRIBUTES = GROUPS * GROUP_SIZE
BRANDS = 6


@dataclass(frozen=True)
class Leaf:
    """The words of one leaf category."""

    name: str
    synonym: str
    path: str
    groups: tuple[str, ...]
    attributes: tuple[str, ...]
    brands: tuple[str, ...]


@dataclass(frozen=True)
class MadeUpCatalog:
    """Leaves and items. L leaves, I items, M = most items of a leaf.

    Days of first use (``launched``, ``*_debut``) are -1 where there from the start.
    """

    leaves: list[Leaf]
    department: np.ndarray  # (L,) index into words.DEPARTMENTS
    complements: np.ndarray  # (L, COMPLEMENTS) leaves that go with a leaf
    leaf_demand: np.ndarray  # (L,) sums to 1
    items_of: np.ndarray  # (L, M) item index, -1 where the leaf has fewer
    leaf: np.ndarray  # (I,)
    brand: np.ndarray  # (I,) index into the leaf's brands
    attributes: np.ndarray  # (I, 2) indices into the leaf's attributes, of two groups
    has_attribute: np.ndarray  # (I, ATTRIBUTES) the same as truth values
    log_demand: np.ndarray  # (I,) log of demand within the leaf
    price: np.ndarray  # (I,)
    titles: list[str]
    tags: list[list[str]]
    attribute_debut: np.ndarray  # (L, ATTRIBUTES) day on which the word comes into use
    brand_debut: np.ndarray  # (L, BRANDS)
    launched: np.ndarray  # (I,) not before the debut of its brand and attributes

    @property
    def leaf_ids(self) -> list[str]:
        """(L,) contract ids of the leaves."""
        return ids("c", np.arange(len(self.leaves)), 3).to_pylist()

    @property
    def item_ids(self) -> pa.Array:
        """(I,) contract ids of the items."""
        return ids("i", np.arange(len(self.leaf)), 6)

    def item_rows(self) -> pa.Table:
        """The contract's items, those to come included."""
        leaves = [self.leaves[leaf] for leaf in self.leaf]
        pairs = np.sort(self.attributes, axis=1).tolist()
        attributes = [
            [(leaf.groups[a // GROUP_SIZE], leaf.attributes[a]) for a in pair]
            for leaf, pair in zip(leaves, pairs, strict=True)
        ]
        brands = self.brand.tolist()
        return pa.table(
            {
                "item_id": self.item_ids,
                "title": self.titles,
                "leaf_category_id": ids("c", self.leaf, 3),
                "leaf_category": [leaf.path.rsplit(" > ", 1)[1] for leaf in leaves],
                "category_path": [leaf.path for leaf in leaves],
                "brand": [leaf.brands[b].title() for leaf, b in zip(leaves, brands, strict=True)],
                "attributes": pa.array(attributes, pa.map_(pa.string(), pa.string())),
                "tags": self.tags,
                "price": self.price,
            }
        )


def zipf(size: int, exponent: float) -> np.ndarray:
    """Shares of ranks 1 .. ``size`` under a Zipf law; they sum to 1."""
    weights = np.arange(1, size + 1) ** -exponent
    return weights / weights.sum()


def _leaves(rng: np.random.Generator) -> tuple[list[Leaf], list[int]]:
    leaves, departments = [], []
    for index, (department, sections) in enumerate(words.DEPARTMENTS.items()):
        brands = [stem + words.BRAND_ENDINGS[department] for stem in words.BRAND_STEMS]
        groups = words.ATTRIBUTES[department]
        for section, listed in sections.items():
            for entry in listed.split(","):
                name, synonym = entry.strip().split("=")
                values = [
                    str(value)
                    for group in groups.values()
                    for value in rng.permutation(group.split())[:GROUP_SIZE]
                ]
                leaves.append(
                    Leaf(
                        name,
                        synonym,
                        f"{department} > {section} > {name.title()}",
                        tuple(groups),
                        tuple(values),
                        tuple(map(str, rng.permutation(brands)[:BRANDS])),
                    )
                )
                departments.append(index)
    return leaves, departments


def _complements(leaves: list[Leaf]) -> np.ndarray:
    """Per leaf the others of its section, which all hold COMPLEMENTS + 1 leaves."""
    section = [leaf.path.rsplit(" > ", 1)[0] for leaf in leaves]
    return np.array(
        [
            [j for j in range(len(leaves)) if section[j] == section[i] and j != i]
            for i in range(len(leaves))
        ]
    )


def build(settings: ShopSettings) -> MadeUpCatalog:
    """The catalog of a shop; the same seed gives the same items, whatever its users and days."""
    rng = np.random.default_rng([settings.seed, 1])
    leaves, departments = _leaves(rng)
    leaf_demand = zipf(len(leaves), settings.leaf_zipf)[rng.permutation(len(leaves))]

    spread = rng.uniform(0.5, 1.5, len(leaves))
    sizes = np.maximum(2, np.rint(settings.items_per_leaf * spread / spread.mean()).astype(int))
    leaf = np.repeat(np.arange(len(leaves)), sizes)
    first = np.cumsum(sizes) - sizes
    slot = np.arange(len(leaf)) - first[leaf]
    items_of = np.full((len(leaves), sizes.max()), -1)
    items_of[leaf, slot] = np.arange(len(leaf))

    brand = rng.choice(BRANDS, len(leaf), p=zipf(BRANDS, settings.value_zipf))
    attributes = two_attributes(rng, len(leaf), settings.value_zipf)
    level = np.array(list(words.PRICES.values()))[departments] * rng.lognormal(0, 0.5, len(leaves))
    price = level[leaf] * (1 + 0.15 * brand) * rng.lognormal(0, 0.3, len(leaf))
    attribute_debut, brand_debut, launched = _first_days(settings, leaf, slot, brand, attributes)
    return MadeUpCatalog(
        leaves=leaves,
        department=np.array(departments),
        complements=_complements(leaves),
        leaf_demand=leaf_demand,
        items_of=items_of,
        leaf=leaf,
        brand=brand,
        attributes=attributes,
        has_attribute=(attributes[:, :, None] == np.arange(ATTRIBUTES)).any(axis=1),
        log_demand=-settings.item_zipf * np.log(slot + 1.0),
        price=np.round(np.maximum(price, 0.5), 2),
        titles=_titles(rng, leaves, leaf, brand, attributes),
        tags=[
            [str(tag) for tag in rng.choice(words.TAGS, rng.integers(1, 4), replace=False)]
            for _ in leaf
        ],
        attribute_debut=attribute_debut,
        brand_debut=brand_debut,
        launched=launched,
    )


def _first_days(settings: ShopSettings, leaf, slot, brand, attributes) -> tuple[np.ndarray, ...]:
    """When attributes, brands and items come. A leaf's most popular item, its words, and the most
    popular value of each group are there from the start."""
    rng = np.random.default_rng([settings.seed, 6])
    leaves = leaf.max() + 1
    lasting = np.tile(np.arange(ATTRIBUTES) % GROUP_SIZE == 0, (leaves, 1))
    lasting[leaf[slot == 0, None], attributes[slot == 0]] = True
    attribute_debut = first_days(rng, settings.new_wording_share, settings.days, from_start=lasting)
    lasting = np.tile(np.arange(BRANDS) == 0, (leaves, 1))
    lasting[leaf[slot == 0], brand[slot == 0]] = True
    brand_debut = first_days(rng, settings.new_wording_share, settings.days, from_start=lasting)
    launched = first_days(rng, settings.new_item_share, settings.days, from_start=slot == 0)
    words_known = np.maximum(
        attribute_debut[leaf[:, None], attributes].max(axis=1), brand_debut[leaf, brand]
    )
    return attribute_debut, brand_debut, np.maximum(launched, words_known)


def two_attributes(rng: np.random.Generator, count: int, exponent: float) -> np.ndarray:
    """(count, 2) attribute indices of two different groups; early values are the popular ones."""
    values = rng.choice(GROUP_SIZE, (count, 2), p=zipf(GROUP_SIZE, exponent))
    group = rng.integers(0, GROUPS, count)
    other = (group + rng.integers(1, GROUPS, count)) % GROUPS
    return np.stack([group, other], axis=1) * GROUP_SIZE + values


def _titles(rng, leaves, leaf, brand, attributes) -> list[str]:
    """Short titles: brand, two attributes, type, and a series word for most (4 to 7 words)."""
    series = rng.choice(words.SERIES, len(leaf))
    return [
        " ".join(
            [
                leaves[k].brands[b],
                *(leaves[k].attributes[a] for a in pair),
                leaves[k].name,
                str(s),
            ]
        )
        .strip()
        .title()
        for k, b, pair, s in zip(leaf, brand, attributes, series, strict=True)
    ]
