"""What the shop has seen so far: all that the production ranker may use.

Per user the recent searches and a fading count of actions by leaf, kept up to the moment. For the
whole shop query counts and which leaf is searched after which, closed once a day at midnight.
"""

import numpy as np

from aigq.simulator.language import Language, corrected
from aigq.simulator.settings import ShopSettings

REMEMBERED = 16
TOP_OF_LEAF = 8
_AFFINITY_A_DAY_LATER = 0.85


def _leaves(language: Language) -> int:
    """Leaves to count for: the ranker takes a user's two strongest, be there only one."""
    return max(2, len(language.catalog.leaf_demand))


class UserHistory:
    """Per user: the last distinct searches, newest first, and interest shown by leaf."""

    def __init__(self, users: int, language: Language):
        self.language = language
        self.recent = np.full((users, REMEMBERED), -1, np.int64)  # codes, spelled right
        self.recent_at = np.zeros((users, REMEMBERED), np.int64)  # ms
        self.affinity = np.zeros((users, _leaves(language)), np.float32)

    def searched(self, users: np.ndarray, codes: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Note one search for each of the distinct ``users``; returns the leaf searched before
        it (-1: none)."""
        before = self.recent[users]
        previous = np.where(before[:, 0] >= 0, self.language.leaf_of(before[:, 0]), -1)
        codes = corrected(codes)
        same = before == codes[:, None]
        # Move to the front: what lay before the old place of the query shifts by one.
        place = np.where(same.any(axis=1), same.argmax(axis=1), REMEMBERED - 1)[:, None]
        columns = np.arange(REMEMBERED)
        source = np.maximum(np.where(columns <= place, columns - 1, columns), 0)
        moved = np.take_along_axis(before, source, axis=1)
        moved_at = np.take_along_axis(self.recent_at[users], source, axis=1)
        moved[:, 0], moved_at[:, 0] = codes, times
        self.recent[users], self.recent_at[users] = moved, moved_at
        self.affinity[users, self.language.leaf_of(codes)] += 1
        return previous

    def acted(self, users: np.ndarray, leaf: np.ndarray) -> None:
        """Note a click or an order for each of the distinct ``users``."""
        self.affinity[users, leaf] += 0.5

    def next_day(self) -> None:
        """A day passes."""
        self.affinity *= _AFFINITY_A_DAY_LATER


class ShopHistory:
    """Fading counts over all users, of days that are over.

    ``top`` and ``top_count``: the most searched queries. ``top_of_leaf`` (L, TOP_OF_LEAF): those of
    each leaf. ``next_leaf`` (L,): the other leaf that follows it most often. -1 where unknown.
    A new shop starts with about one search for each query that an editor would choose.
    """

    def __init__(self, settings: ShopSettings, language: Language):
        self.settings, self.language = settings, language
        leaves = _leaves(language)
        self._editorial = self._codes = np.sort(language.editorial())
        rng = np.random.default_rng([settings.seed, 3])
        self._counts = rng.uniform(0.5, 1.5, len(self._codes))
        self._follows = np.zeros((leaves, leaves))
        self._open: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._rank()

    def searched(self, times: np.ndarray, codes: np.ndarray, previous: np.ndarray) -> None:
        """Note searches; ``previous``: the leaf each user searched before, or -1."""
        self._open.append((times, corrected(codes), previous))

    def close_day(self, end: int) -> None:
        """Count what happened before ``end``; what is later stays for the next day."""
        if self._open:
            times, codes, previous = (
                np.concatenate(part) for part in zip(*self._open, strict=True)
            )
            later = times >= end
            self._open = [(times[later], codes[later], previous[later])]
            codes, previous = codes[~later], previous[~later]
        else:
            codes = previous = np.zeros(0, np.int64)
        memory = self.settings.popularity_memory
        all_codes, place = np.unique(np.concatenate([self._codes, codes]), return_inverse=True)
        weights = np.concatenate([self._counts * memory, np.ones(len(codes))])
        counts = np.bincount(place, weights, len(all_codes))
        kept = (counts > 0.01) | np.isin(all_codes, self._editorial)
        self._codes, self._counts = all_codes[kept], counts[kept]
        leaf = self.language.leaf_of(codes)
        other = (previous >= 0) & (previous != leaf)
        np.add.at(self._follows, (previous[other], leaf[other]), 1)
        self._rank()

    def _rank(self) -> None:
        leaves = len(self._follows)
        order = np.argsort(-self._counts, kind="stable")
        self.top, self.top_count = self._codes[order], self._counts[order]
        leaf = self.language.leaf_of(self.top)
        by_leaf = np.argsort(leaf, kind="stable")
        sizes = np.bincount(leaf, minlength=leaves)
        rank = np.arange(len(leaf)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        head = rank < TOP_OF_LEAF
        self.top_of_leaf = np.full((leaves, TOP_OF_LEAF), -1, np.int64)
        self.top_of_leaf[leaf[by_leaf][head], rank[head]] = self.top[by_leaf][head]
        known = self._follows.max(axis=1) > 0
        self.next_leaf = np.where(known, self._follows.argmax(axis=1), -1)

    def count(self, codes: np.ndarray) -> np.ndarray:
        """The fading count of each code, 0 where never searched (any shape)."""
        place = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[place] == codes, self._counts[place], 0.0)
