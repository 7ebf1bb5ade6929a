"""What displayed hints do not teach: a user's next search, told from other queries and from strings
that nobody types.

Hints are what the production ranker proposes, so clicks say nothing about all other queries, and a
policy that is rewarded by the model writes just those. Queries to tell from are drawn uniformly
from all distinct ones that were searched, so that the best logit is log P(query | user) but for a
constant, and what many search is worth that much to everyone. Drawn as often as they are searched,
without a correction for it (logQ, Yi et al., RecSys 2019), it would be log P(query | user) /
P(query): popularity would be worth nothing, and a policy would leave the queries that most searches
are for (training/LOG.md has both).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from aigq.context import ACTIONS
from training.ctr.data import Exposures

# Queries that a next search is told from: any that were searched, and made unreadable.
DRAWN = 4
GARBLED = 2


class Contrast(NamedTuple):
    """For R requests: ``query`` (R, 1 + DRAWN + GARBLED), numbers of texts, what was searched next
    first; ``mask``, which of them count: nothing of a request without a next search. Numbers from
    ``len(data.texts)`` on are of ``garbled``."""

    query: np.ndarray
    mask: np.ndarray
    garbled: list[str]


class Contrasts:
    """Draws contrasts for requests of ``data``."""

    def __init__(self, data: Exposures):
        self._data = data
        self._known = set(data.texts)
        by_users = data.behavior_text[data.action == ACTIONS.index("search")]
        self._queries = np.unique(np.concatenate([data.searched, by_users]))

    def draw(self, requests: np.ndarray, rng: np.random.Generator) -> Contrast:
        """One of the searches that followed each request (indices), and what to tell it from:
        queries of the log, each as likely as any other, except those that the user searched as
        well, and the search garbled, unless the log has such a text."""
        data = self._data
        first, last = data.searched_start[requests], data.searched_start[requests + 1]
        searched = np.flatnonzero(last > first)
        query = np.zeros((len(requests), 1 + DRAWN + GARBLED), np.int64)
        mask = np.zeros(query.shape, bool)
        garbled: list[str] = []
        if len(searched):
            query[searched, 0] = data.searched[rng.integers(first[searched], last[searched])]
        for row in searched:
            others = rng.choice(self._queries, DRAWN)
            own = data.searched[first[row] : last[row]]
            mask[row, 0] = True
            query[row, 1 : 1 + DRAWN] = others
            mask[row, 1 : 1 + DRAWN] = ~np.isin(others, own)
            for column, other in enumerate(others[:GARBLED], start=1 + DRAWN):
                text = garble(data.texts[query[row, 0]], data.texts[other], rng)
                if text not in self._known:
                    query[row, column] = len(data.texts) + len(garbled)
                    mask[row, column] = True
                    garbled.append(text)
        return Contrast(query, mask, garbled)


def garble(text: str, other: str, rng: np.random.Generator) -> str:
    """``text`` with words said again, joined with ``other``, cut off, or with shuffled letters."""
    return " ".join(_WAYS[rng.integers(len(_WAYS))](text.split(), other.split(), rng))


def _say_again(words: list[str], other: list[str], rng: np.random.Generator) -> list[str]:
    at, times = rng.integers(len(words)), int(rng.integers(1, 4))
    longer = words[: at + 1] + [words[at]] * times + words[at + 1 :]
    return [longer, [words[at]] * (times + 1), words * 2][rng.integers(3)]


def _join(words: list[str], other: list[str], rng: np.random.Generator) -> list[str]:
    return words + other


def _cut(words: list[str], other: list[str], rng: np.random.Generator) -> list[str]:
    text = " ".join(words)
    return text[: rng.integers(1, max(2, len(text)))].split()


def _shuffle(words: list[str], other: list[str], rng: np.random.Generator) -> list[str]:
    at = rng.integers(len(words))
    return [*words[:at], "".join(rng.permutation(list(words[at]))), *words[at + 1 :]]


_WAYS: tuple[Callable[..., list[str]], ...] = (_say_again, _join, _cut, _shuffle)
