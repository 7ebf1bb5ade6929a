"""What displayed hints do not teach: what a user searched next, beside queries to tell it from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.ctr.data import Exposures


class Contrast(NamedTuple):
    """Of R requests: ``query`` (R, 1 + drawn + garbled) numbers of texts, what was searched next
    first; ``mask``, which of them count. Numbers from ``len(data.texts)`` on are of ``garbled``,
    texts that nobody has searched."""

    query: np.ndarray
    mask: np.ndarray
    garbled: list[str]


class Contrasts:
    """Draws the queries that a request's next search is told from."""

    def __init__(self, data: Exposures, *, drawn: int, garbled: int):
        self._data, self._drawn, self._garbled = data, drawn, garbled
        self._searched = {data.texts[number] for number in np.unique(data.searched)}

    def draw(self, requests: np.ndarray, rng: np.random.Generator) -> Contrast:
        data = self._data
        first = data.searched_start[requests]
        count = data.searched_start[requests + 1] - first
        has = count > 0
        at = first + (rng.random(len(requests)) * count).astype(np.int64)
        # Where nothing was searched next, any text: it does not count.
        own = np.where(has, data.searched[np.where(has, at, 0)] if has.any() else 0, 0)
        pool = own[has]
        shape = len(requests), self._drawn
        drawn = pool[rng.integers(0, len(pool), shape)] if len(pool) else np.zeros(shape, np.int64)
        columns = np.arange(count.max(initial=0))
        listed = np.where(
            columns < count[:, None],
            data.searched[np.minimum(first[:, None] + columns, len(data.searched) - 1)]
            if len(data.searched) else 0,
            -1,
        )
        is_other = (drawn[:, :, None] != listed[:, None, :]).all(axis=2)
        strange, strange_mask, texts = self._strange(own, rng)
        return Contrast(
            np.concatenate([own[:, None], drawn, strange], axis=1),
            has[:, None]
            & np.concatenate([np.ones((len(own), 1), bool), is_other, strange_mask], axis=1),
            texts,
        )

    def _strange(self, own, rng):
        texts = []
        number = np.zeros((len(own), self._garbled), np.int64)
        mask = np.zeros(number.shape, bool)
        for row, text in enumerate(own):
            for column in range(self._garbled):
                found = garble(self._data.texts[text], self._data.texts[rng.choice(own)], rng)
                if found in self._searched:
                    continue
                number[row, column] = len(self._data.texts) + len(texts)
                mask[row, column] = True
                texts.append(found)
        return number, mask, texts


def _say_again(words, other, rng):
    at = rng.integers(len(words))
    if rng.random() < 0.5:
        return [words[at]] * int(rng.integers(2, 5))
    return words[: at + 1] + [words[at]] * int(rng.integers(1, 3)) + words[at + 1 :]


def _join(words, other, rng):
    return words + other.split()


def _cut(words, other, rng):
    text = " ".join(words)
    return [text[: rng.integers(1, max(2, len(text)))]]


def _shuffle(words, other, rng):
    at = rng.integers(len(words))
    letters = list(words[at])
    rng.shuffle(letters)
    return words[:at] + ["".join(letters)] + words[at + 1 :]


_WAYS: tuple[Callable, ...] = (_say_again, _join, _cut, _shuffle)


def garble(text: str, other: str, rng: np.random.Generator) -> str:
    words = text.split() or [text]
    return " ".join(_WAYS[rng.integers(len(_WAYS))](words, other, rng)).strip()
