"""The made-up shop's language: what a shopper has in mind, and how it is typed.

A query is an integer code made of leaf, intent (which attributes, which brand), wording (name or
synonym, type last or first) and typo. Texts are made for those codes only that occur.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from aigq.simulator import catalog as catalogs
from aigq.simulator.catalog import ATTRIBUTES, BRANDS, MadeUpCatalog, two_attributes, zipf
from aigq.simulator.language import STRANGE, TYPOS, Language
from aigq.simulator.settings import ShopSettings

_PAIRS = 1 + ATTRIBUTES + BRANDS
_BRANDED = _PAIRS + ATTRIBUTES * ATTRIBUTES
_INTENTS = _BRANDED + BRANDS * ATTRIBUTES


class Queries(NamedTuple):
    """Decoded codes, arrays of one shape. Indices are within the leaf; -1 means none."""

    leaf: np.ndarray
    first: np.ndarray
    second: np.ndarray
    brand: np.ndarray
    synonym: np.ndarray
    swapped: np.ndarray
    typo: np.ndarray


def encode(leaf, first=-1, second=-1, brand=-1, synonym=0, swapped=0, typo=0) -> np.ndarray:
    """Codes of queries; arguments as :class:`Queries`, broadcast.

    A second attribute needs a first one and no brand. Two attributes have one order, and a query
    of the type alone has no other word order, so that different codes are different texts.
    """
    low, high = np.minimum(first, second), np.maximum(first, second)
    plain = np.where(
        np.less(first, 0),
        0,
        np.where(np.less(second, 0), 1 + first, _PAIRS + low * ATTRIBUTES + high),
    )
    branded = np.where(
        np.less(first, 0), 1 + ATTRIBUTES + brand, _BRANDED + brand * ATTRIBUTES + first
    )
    intent = np.where(np.less(brand, 0), plain, branded)
    swapped = np.where(intent == 0, 0, swapped)
    return (((leaf * _INTENTS + intent) * 2 + synonym) * 2 + swapped) * TYPOS + typo


def decode(codes: np.ndarray) -> Queries:
    """The parts of ``codes``."""
    rest, typo = np.divmod(codes, TYPOS)
    rest, swapped = np.divmod(rest, 2)
    rest, synonym = np.divmod(rest, 2)
    leaf, intent = np.divmod(rest, _INTENTS)
    first, second, brand = np.moveaxis(_INTENT_PARTS[intent], -1, 0)
    return Queries(leaf, first, second, brand, synonym, swapped, typo)


def leaf_of(codes: np.ndarray) -> np.ndarray:
    """The leaf of each code."""
    return codes // (_INTENTS * 4 * TYPOS)


def _intent_parts() -> np.ndarray:
    parts = np.full((_INTENTS, 3), -1)
    a, b = np.arange(ATTRIBUTES), np.arange(BRANDS)
    parts[1 + a, 0] = a
    parts[1 + ATTRIBUTES + b, 2] = b
    low, high = np.divmod(np.arange(ATTRIBUTES * ATTRIBUTES), ATTRIBUTES)
    parts[_PAIRS:_BRANDED, 0], parts[_PAIRS:_BRANDED, 1] = low, high
    brand, first = np.divmod(np.arange(BRANDS * ATTRIBUTES), ATTRIBUTES)
    parts[_BRANDED:, 2], parts[_BRANDED:, 0] = brand, first
    return parts


_INTENT_PARTS = _intent_parts()


class MadeUp(Language):
    """The language of a :class:`MadeUpCatalog`. A taste is brand, two attributes, and whether the
    user says the synonym. Attributes and brands are not used before their first day."""

    tastes = 4

    def __init__(self, settings: ShopSettings, catalog: MadeUpCatalog):
        self.settings, self.catalog = settings, catalog
        # Words by leaf: the name's (leaf, synonym), and each value's index.
        self._names = {
            tuple(name.split()): (index, synonym)
            for index, leaf in enumerate(catalog.leaves)
            for synonym, name in enumerate((leaf.name, leaf.synonym))
        }
        self._attributes = [
            {value: a for a, value in enumerate(leaf.attributes)} for leaf in catalog.leaves
        ]
        self._brands = [
            {value: b for b, value in enumerate(leaf.brands)} for leaf in catalog.leaves
        ]

    def leaf_of(self, codes: np.ndarray) -> np.ndarray:
        """See :class:`Language`."""
        return leaf_of(codes)

    def editorial(self) -> np.ndarray:
        """The name of each leaf."""
        return encode(np.arange(len(self.catalog.leaves)))

    def plain(self, leaf: np.ndarray) -> np.ndarray:
        """The name of each leaf."""
        return encode(leaf)

    def new_tastes(self, rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
        """(n, 4): brand, two attributes, synonym."""
        s, n = self.settings, len(leaf)
        attributes = two_attributes(rng, n, s.value_zipf)
        brand = rng.choice(BRANDS, n, p=zipf(BRANDS, s.value_zipf))
        synonym = rng.random(n) < s.synonym_share
        return np.column_stack([brand, attributes, synonym])

    def worded(self, rng, day: int, leaf: np.ndarray, taste: np.ndarray, own) -> np.ndarray:
        """See :class:`Language`."""
        s, n = self.settings, len(leaf)
        any_pair = two_attributes(rng, n, s.value_zipf)
        mine = own & (rng.random(n) < s.own_taste_share)
        first = np.where(mine, taste[:, 1], any_pair[:, 0])
        second = np.where(mine, taste[:, 2], any_pair[:, 1])
        any_brand = rng.choice(BRANDS, n, p=zipf(BRANDS, s.value_zipf))
        mine = own & (rng.random(n) < s.own_taste_share)
        brand = np.where(mine, taste[:, 0], any_brand)
        shares = np.cumsum(s.pattern_shares)
        pattern = np.searchsorted(shares / shares[-1], rng.random(n))
        # Either attribute of a taste may be the only one named.
        first, second = np.where(
            rng.random(n) < 0.5, np.stack([first, second]), np.stack([second, first])
        )
        synonym = np.where(own, taste[:, 3], rng.random(n) < s.synonym_share)
        first = np.where(np.isin(pattern, (1, 3, 4)), first, -1)
        second = np.where(pattern == 3, second, -1)
        brand = np.where(np.isin(pattern, (2, 4)), brand, -1)
        # What nobody says yet is left out.
        c = self.catalog
        first = np.where(c.attribute_debut[leaf, first] <= day, first, -1)
        second = np.where(c.attribute_debut[leaf, second] <= day, second, -1)
        brand = np.where(c.brand_debut[leaf, brand] <= day, brand, -1)
        first, second = np.where(first < 0, second, first), np.where(first < 0, -1, second)
        swapped = (rng.random(n) < s.swapped_share).astype(int)
        return encode(leaf, first, second, brand, synonym, swapped)

    def fits(self, codes: np.ndarray, taste: np.ndarray) -> np.ndarray:
        """See :class:`Language`; strange is a brand or an attribute outside the taste."""
        parts = decode(codes)
        first, second, brand = (p[:, :, None] for p in (parts.first, parts.second, parts.brand))
        own_brand, own_first, own_second = np.moveaxis(taste[:, None, :, :3], -1, 0)
        strange = (brand >= 0) & (brand != own_brand)
        for attribute in (first, second):
            strange |= (attribute >= 0) & (attribute != own_first) & (attribute != own_second)
        return np.where(strange, STRANGE, 1.0)

    def items(self, rng: np.random.Generator, day: int, codes: np.ndarray) -> np.ndarray:
        """An item of the query's leaf for each query: popular, and fitting the words."""
        catalog, query = self.catalog, decode(codes)
        items = catalog.items_of[query.leaf]
        there = (items >= 0) & (catalog.launched[items] <= day)
        utility = np.where(there, catalog.log_demand[items], -np.inf)
        has = catalog.has_attribute[items]  # (n, M, ATTRIBUTES)
        rows = np.arange(len(codes))
        utility += 2.5 * (catalog.brand[items] == query.brand[:, None])
        for attribute in (query.first, query.second):
            utility += 2.5 * (has[rows, :, attribute] & (attribute >= 0)[:, None])
        utility += rng.gumbel(size=items.shape)
        return items[rows, utility.argmax(axis=1)]

    def save(self, folder: Path) -> None:
        """Nothing: the settings say all."""

    def _texts(self, wordings: np.ndarray) -> list[str]:
        columns = (part.tolist() for part in decode(wordings * TYPOS))
        return [self._text(*parts) for parts in zip(*columns, strict=True)]

    def _text(self, leaf_index, first, second, brand, synonym, swapped, _typo) -> str:
        leaf = self.catalog.leaves[leaf_index]
        name = leaf.synonym if synonym else leaf.name
        values = [leaf.brands[brand]] if brand >= 0 else []
        values += [leaf.attributes[a] for a in (first, second) if a >= 0]
        return " ".join([name, *values] if swapped else [*values, name])

    def _wording(self, text: str) -> int:
        """Any order of words is read: a name, and values of its leaf around it. Of more values than
        a query holds, the brand and the first attribute count."""
        said = text.split()
        for length in (2, 1):
            for at in range(len(said) - length + 1):
                name = self._names.get(tuple(said[at : at + length]))
                # A leaf's name may be another's attribute: wool.
                if name and (found := self._wording_of(*name, said[:at], said[at + length :])) >= 0:
                    return found
        return -1

    def _wording_of(self, leaf: int, synonym: int, before: list[str], after: list[str]) -> int:
        values = list(dict.fromkeys(before + after))
        attributes = [self._attributes[leaf][v] for v in values if v in self._attributes[leaf]]
        brands = [self._brands[leaf][v] for v in values if v in self._brands[leaf]]
        if len(attributes) + len(brands) < len(values) or len(brands) > 1:
            return -1
        brand = brands[0] if brands else -1
        first, second = (*attributes, -1, -1)[:2]
        code = encode(leaf, first, -1 if brands else second, brand, synonym, int(not before))
        return int(code) // TYPOS


def made_up(settings: ShopSettings) -> MadeUp:
    """The made-up shop of ``settings``."""
    return MadeUp(settings, catalogs.build(settings))
