"""What a shop's people can say and find there: the seam between behaviour and words.

The simulation works on integer codes, millions at a time: code = wording * ``TYPOS`` + typo. What a
code means, which items it finds and how it reads is a :class:`Language`'s to say: made-up words
(:mod:`aigq.simulator.queries`) or a given shop's own queries (:mod:`aigq.simulator.pairs`).
"""

import string
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from aigq.text import normalize_query

TYPOS = 8  # wordings of one query by typo; 0 is spelled right
COMPLEMENTS = 4
# A query of the right leaf that names something other than the user's taste.
STRANGE = 0.6
_CASES = (str.lower, str.title, str.capitalize, str.upper)
CASE_SHARES = (0.72, 0.14, 0.1, 0.04)
_LETTERS = string.ascii_lowercase + string.digits


class Catalog(Protocol):
    """What behaviour needs to know of L leaf categories and I items."""

    leaf_ids: list[str]
    department: np.ndarray  # (L,) index into words.DEPARTMENTS: who looks for it more than others
    complements: np.ndarray  # (L, COMPLEMENTS) leaves that go with a leaf
    leaf_demand: np.ndarray  # (L,) sums to 1
    item_ids: pa.Array  # (I,)
    leaf: np.ndarray  # (I,)
    price: np.ndarray  # (I,) NaN where the shop has none
    launched: np.ndarray  # (I,) day on which the item can first be found, -1: from the start

    def item_rows(self) -> pa.Table:
        """The rows of the contract's table items."""
        ...


class Language(ABC):
    """Queries of one shop. Codes and days are arrays that broadcast; ``rng`` is drawn from in a
    fixed order, whatever the values."""

    catalog: Catalog
    tastes: int  # numbers that make a taste

    @abstractmethod
    def leaf_of(self, codes: np.ndarray) -> np.ndarray:
        """The leaf of each code (any shape)."""

    @abstractmethod
    def editorial(self) -> np.ndarray:
        """Distinct codes, spelled right, that an editor of a new shop would start with."""

    @abstractmethod
    def plain(self, leaf: np.ndarray) -> np.ndarray:
        """The plainest query for each leaf."""

    @abstractmethod
    def new_tastes(self, rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
        """(n, tastes): a taste within each of ``leaf`` (n,)."""

    @abstractmethod
    def worded(
        self, rng: np.random.Generator, day: int, leaf: np.ndarray, taste: np.ndarray, own
    ) -> np.ndarray:
        """(n,) codes for ``leaf``, in wordings in use on ``day``; where ``own`` the user has
        ``taste`` (n, tastes) in that leaf."""

    @abstractmethod
    def fits(self, codes: np.ndarray, taste: np.ndarray) -> np.ndarray:
        """(n, C, K): how well queries (n, C) suit tastes (n, K, tastes) of their leaf: 1, or
        ``STRANGE`` where they name something else."""

    @abstractmethod
    def items(self, rng: np.random.Generator, day: int, codes: np.ndarray) -> np.ndarray:
        """(n,) the item clicked after each query: one launched by ``day``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write to the truth's ``folder`` what cannot be made again from settings and items."""

    @abstractmethod
    def _texts(self, wordings: np.ndarray) -> list[str]:
        """The text of each wording, in lower case."""

    @abstractmethod
    def _wording(self, text: str) -> int:
        """The wording that a normalised text is, spelled right; -1 where it is none."""

    def texts(self, codes: np.ndarray, cases: np.ndarray) -> list[str]:
        """The text of each code as typed, ``cases`` telling lower, title, sentence or upper."""
        right = self._texts(codes // TYPOS)
        return [
            _CASES[case](_slip(text, code) if code % TYPOS else text)
            for text, code, case in zip(right, codes.tolist(), cases.tolist(), strict=True)
        ]

    def read(self, text: str) -> int:
        """The code of the query, spelled right, that ``text`` is or is one slip of the finger away
        from; -1 where there is none."""
        return _read(self, normalize_query(text))


@lru_cache(maxsize=1 << 18)
def _read(language: Language, text: str) -> int:
    found = language._wording(text)
    if found < 0:
        found = next((w for t in _unslipped(text) if (w := language._wording(t)) >= 0), -1)
    return found * TYPOS if found >= 0 else -1


def corrected(codes: np.ndarray) -> np.ndarray:
    """``codes`` as they are spelled right."""
    return codes - codes % TYPOS


def first_days(
    rng: np.random.Generator, share: float, days: int, *, from_start: np.ndarray
) -> np.ndarray:
    """Day of first use for each entry of ``from_start`` (any shape): ``share`` of those not True
    there come on a day drawn from 1 .. ``days`` - 1, all others are there from the start (-1)."""
    late = (rng.random(from_start.shape) < share) & ~from_start & (days > 1)
    return np.where(late, rng.integers(1, max(days, 2), from_start.shape), -1)


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


def _unslipped(text: str) -> Iterator[str]:
    """The texts that one slip may have made into ``text``, the least changed letters first."""
    for i in range(1, len(text)):
        if text[i] == text[i - 1]:
            yield text[:i] + text[i + 1 :]
    for i in range(1, len(text) - 1):
        yield text[:i] + text[i + 1] + text[i] + text[i + 2 :]
    for i in range(1, len(text)):
        for letter in _LETTERS:
            yield text[:i] + letter + text[i:]
