"""The production ranker: recalls candidate hints and scores them, from the past alone.

Good, but biased to the popular: it recalls popular queries, the user's own earlier ones, and
popular ones of the leaves the user showed interest in; its score is a logistic model of popularity,
the user's past in the leaf, and recency. It never sees interests, only what users did.
"""

from typing import NamedTuple

import numpy as np

from aigq.simulator.history import TOP_OF_LEAF, ShopHistory, UserHistory
from aigq.simulator.population import DAY_MS
from aigq.simulator.settings import ShopSettings

SOURCES = ("own", "related", "popular")
DISPLAYED = 3
_OWN = 6
_POPULAR = 10
_OWN_FADES_DAYS = 5.0


class Ranked(NamedTuple):
    """Candidates of n requests, best first; (n, C) arrays, and the display.

    ``code`` is -1 after a request's last candidate. ``shown`` (n, 3): the columns displayed at
    positions 1, 2, 3.
    """

    code: np.ndarray
    score: np.ndarray  # in (0, 1)
    source: np.ndarray  # index into SOURCES
    shown: np.ndarray


def rank(
    rng: np.random.Generator,
    settings: ShopSettings,
    shop: ShopHistory,
    user: UserHistory,
    users: np.ndarray,
    times: np.ndarray,
) -> Ranked:
    """Candidates for one request of each of ``users`` at ``times`` (ms)."""
    n = len(users)
    own, own_at = user.recent[users, :_OWN], user.recent_at[users, :_OWN]
    code = np.concatenate(
        [own, _related(rng, shop, user.affinity[users]), _popular(rng, settings, shop, n)], axis=1
    )
    source = np.repeat([0, 1, 2], [_OWN, code.shape[1] - _OWN - _POPULAR, _POPULAR])

    age_days = np.maximum(times[:, None] - own_at, 0) / DAY_MS
    freshness = np.zeros(code.shape)
    freshness[:, :_OWN] = np.exp(-age_days / _OWN_FADES_DAYS)
    leaf = shop.language.leaf_of(np.maximum(code, 0))
    affinity = user.affinity[users[:, None], leaf]
    popularity = np.log1p(shop.count(code)) / np.log1p(shop.top_count[0])
    logit = (
        settings.score_offset
        + settings.weight_popular * popularity
        + settings.weight_affinity * affinity / (affinity + 2)
        + settings.weight_own * freshness
        + settings.score_noise * rng.standard_normal(code.shape)
    )
    score = 1 / (1 + np.exp(-logit))

    score[(code < 0) | _repeated(code)] = -1
    best = np.argsort(-score, axis=1, kind="stable")[:, : settings.max_candidates]
    score = np.take_along_axis(score, best, axis=1)
    code = np.where(score > 0, np.take_along_axis(code, best, axis=1), -1)
    return Ranked(code, score, source[best], _display(rng, settings, code))


def _related(rng, shop: ShopHistory, affinity: np.ndarray) -> np.ndarray:
    """(n, 8): popular queries of the user's two strongest leaves, and of the leaf that other users
    search after the strongest."""
    # Of equals the first: which one a partition finds differs from processor to processor.
    first = affinity.argmax(axis=1)
    others = affinity.copy()
    np.put_along_axis(others, first[:, None], -1, axis=1)
    strongest = np.stack([first, others.argmax(axis=1)], axis=1)
    seen = np.take_along_axis(affinity, strongest, axis=1) > 0
    follower = shop.next_leaf[strongest[:, 0]]
    parts = []
    for leaf, known, count in (
        (strongest[:, 0], seen[:, 0], 4),
        (strongest[:, 1], seen[:, 1], 2),
        (follower, seen[:, 0] & (follower >= 0), 2),
    ):
        chosen = rng.permuted(np.tile(np.arange(TOP_OF_LEAF), (len(leaf), 1)), axis=1)[:, :count]
        parts.append(np.where(known[:, None], shop.top_of_leaf[leaf[:, None], chosen], -1))
    return np.concatenate(parts, axis=1)


def _popular(rng, settings: ShopSettings, shop: ShopHistory, n: int) -> np.ndarray:
    """(n, 10): the head of the most searched, and some of the following."""
    head, pool = settings.popular_head, settings.popular_pool
    others = rng.random((n, pool - head)).argsort(axis=1)[:, : _POPULAR - head] + head
    return shop.top[np.concatenate([np.tile(np.arange(head), (n, 1)), others], axis=1)]


def _repeated(code: np.ndarray) -> np.ndarray:
    """True where a column to the left holds the same code."""
    order = np.argsort(code, axis=1, kind="stable")
    ordered = np.take_along_axis(code, order, axis=1)
    again = np.zeros(code.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    return repeated


def _display(rng, settings: ShopSettings, code: np.ndarray) -> np.ndarray:
    """The three best; in some requests the third is any of the others."""
    n = len(code)
    shown = np.tile(np.arange(DISPLAYED), (n, 1))
    others = (code >= 0).sum(axis=1) - DISPLAYED + 1
    random_third = DISPLAYED - 1 + (rng.random(n) * others).astype(int)
    explored = rng.random(n) < settings.explore_share
    shown[:, 2] = np.where(explored, random_third, shown[:, 2])
    return shown
