"""What a shopper has in mind, and how it is typed.

A query is an integer code made of leaf, intent (which attributes, which brand), wording (name or
synonym, type last or first) and typo. The simulation works on codes, millions at a time; texts are
made for those codes only that occur.
"""

from typing import NamedTuple

import numpy as np

from aigq.simulator.catalog import ATTRIBUTES, BRANDS, Catalog

TYPOS = 8  # wordings of one query by typo; 0 is spelled right
_PAIRS = 1 + ATTRIBUTES + BRANDS
_BRANDED = _PAIRS + ATTRIBUTES * ATTRIBUTES
_INTENTS = _BRANDED + BRANDS * ATTRIBUTES
_CASES = (str.lower, str.title, str.capitalize, str.upper)
CASE_SHARES = (0.72, 0.14, 0.1, 0.04)


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


def corrected(codes: np.ndarray) -> np.ndarray:
    """``codes`` as they are spelled right."""
    return codes - codes % TYPOS


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


def texts(catalog: Catalog, codes: np.ndarray, cases: np.ndarray) -> list[str]:
    """The text of each code as typed, ``cases`` telling lower, title, sentence or upper case."""
    return [
        _CASES[case](_text(catalog, int(code), parts))
        for code, case, *parts in zip(codes, cases, *decode(codes), strict=True)
    ]


def _text(catalog: Catalog, code: int, parts) -> str:
    leaf_index, first, second, brand, synonym, swapped, typo = parts
    leaf = catalog.leaves[leaf_index]
    name = leaf.synonym if synonym else leaf.name
    values = [leaf.brands[brand]] if brand >= 0 else []
    values += [leaf.attributes[a] for a in (first, second) if a >= 0]
    text = " ".join([name, *values] if swapped else [*values, name])
    return _slip(text, code) if typo else text


def _slip(text: str, code: int) -> str:
    """``text`` with one slip: a letter left out, doubled, or swapped with the next.

    Which one follows from ``code`` alone, so that the same code is always the same text.
    """
    draw = (code * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    draw ^= draw >> 29
    # Not the first letter, and both letters of one word.
    places = [
        i
        for i in range(1, len(text) - 1)
        if text[i - 1 : i + 2].isalnum() and text[i] != text[i + 1]
    ]
    if not places:
        return text + text[-1]
    i = places[draw % len(places)]
    kind = (draw >> 8) % 3
    if kind == 0:
        return text[:i] + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]
