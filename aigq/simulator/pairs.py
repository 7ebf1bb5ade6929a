"""The language of a given catalog: queries are texts, and the items that answer each are known.

A query belongs to the leaf category of most of its items. How often it is asked is the sum of its
weights, or drawn from a Zipf law where the catalog has none. A taste is a favourite query; the
queries of its leaf that share items with it suit it too.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aigq.settings import UserError
from aigq.simulator import words
from aigq.simulator.catalog import zipf
from aigq.simulator.landing import PAIRS_FILE
from aigq.simulator.language import COMPLEMENTS, STRANGE, TYPOS, Language, first_days
from aigq.simulator.settings import ShopSettings

NEAR = 8  # queries that suit a taste, itself included
_QUERIES_PER_ITEM = 20  # of an item's queries, how many are near each other
_MOST_GIB = 3


@dataclass(frozen=True)
class GivenCatalog:
    """What :class:`~aigq.simulator.language.Catalog` asks for. Leaves are those of answered items;
    ``leaf`` is -1 for an item that answers no query and so is never found."""

    leaf_ids: list[str]
    department: np.ndarray
    complements: np.ndarray
    leaf_demand: np.ndarray
    item_ids: pa.Array
    leaf: np.ndarray
    price: np.ndarray
    launched: np.ndarray
    rows: pa.Table

    def item_rows(self) -> pa.Table:
        """The items as given."""
        return self.rows


class _Draw:
    """Draws members of groups by weight; members lie group by group, ``first`` (groups + 1,)."""

    def __init__(self, first: np.ndarray, weight: np.ndarray):
        self._first = first
        self._total = np.concatenate([[0.0], np.cumsum(weight)])

    def __call__(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        low, high = self._total[self._first[groups]], self._total[self._first[groups + 1]]
        drawn = low + rng.random(groups.shape) * (high - low)
        found = np.searchsorted(self._total, drawn, side="right") - 1
        return np.minimum(found, self._first[groups + 1] - 1)


class Pairs(Language):
    """Queries and the items that answer them; wordings are indices into the sorted texts."""

    tastes = 1

    def __init__(self, settings: ShopSettings, items: pa.Table, pairs: pa.Table):
        """``items``: the contract's columns; ``pairs``: query_text, item_id, relevance, weight,
        in order of the texts. Raises :class:`UserError` where the catalog is too small or large."""
        self.settings, self._pairs = settings, pairs
        encoded = pairs["query_text"].combine_chunks().dictionary_encode()
        self._said = encoded.dictionary.to_pylist()
        self._index = {text: wording for wording, text in enumerate(self._said)}
        if len(self._said) < settings.popular_pool:
            raise UserError(
                f"the catalog has {len(self._said)} queries with items; the production ranker needs"
                f" popular_pool ({settings.popular_pool}) or more"
            )
        self._query = encoded.indices.to_numpy()
        item_ids = items["item_id"].combine_chunks()
        self._item = pc.index_in(pairs["item_id"].combine_chunks(), item_ids).to_numpy()
        self._pair_weight, demand = self._weights()
        self._first_pair = np.searchsorted(self._query, np.arange(len(self._said) + 1))

        leaf_ids, leaf = _leaves(items, np.unique(self._item))
        _affordable(settings, len(leaf_ids))
        self._leaf = self._leaf_of_queries(leaf, len(leaf_ids))
        order = np.lexsort((-demand, self._leaf))
        self._of_leaf, self._demand = order, demand
        self._first = np.searchsorted(self._leaf[order], np.arange(len(leaf_ids) + 1))
        self._near = self._neighbours(demand)
        leaf_demand = np.bincount(self._leaf, demand, len(leaf_ids))
        rng = np.random.default_rng([settings.seed, 6])
        best = self._item[_best_pair(self._query, self._pair_weight)]
        from_start = np.isin(np.arange(len(items)), best)
        early = np.isin(np.arange(len(self._said)), self.editorial() // TYPOS)
        self._debut = first_days(rng, settings.new_wording_share, settings.days, from_start=early)
        price = items["price"].combine_chunks().fill_null(np.nan).to_numpy()
        self.catalog = GivenCatalog(
            leaf_ids=leaf_ids,
            department=_departments(rng, items, leaf, len(leaf_ids)),
            complements=self._complements(leaf, leaf_demand),
            leaf_demand=leaf_demand / leaf_demand.sum(),
            item_ids=item_ids,
            leaf=leaf,
            price=price,
            launched=first_days(rng, settings.new_item_share, settings.days, from_start=from_start),
            rows=items,
        )
        self._day = None

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Of pairs, how likely the item is clicked; of queries, how often they are asked."""
        relevance = self._pairs["relevance"].to_numpy()
        if self._pairs["weight"].null_count == 0:
            weight = self._pairs["weight"].to_numpy()
            return weight, np.bincount(self._query, weight)
        rng = np.random.default_rng([self.settings.seed, 1])
        size = len(self._said)
        demand = zipf(size, self.settings.item_zipf)[rng.permutation(size)]
        return (relevance / relevance.max()) ** 2, demand

    def _leaf_of_queries(self, leaf: np.ndarray, leaves: int) -> np.ndarray:
        keys = self._query.astype(np.int64) * leaves + leaf[self._item]
        known, place = np.unique(keys, return_inverse=True)
        weight = np.bincount(place, self._pairs["relevance"].to_numpy())
        query, of = np.divmod(known, leaves)
        return of[_best_pair(query, weight)]

    def _neighbours(self, demand: np.ndarray) -> np.ndarray:
        """(Q, NEAR): each query, then those of its leaf that share most items, then itself."""
        size = len(self._said)
        near = np.tile(np.arange(size)[:, None], (1, NEAR))
        order = np.lexsort((self._query, -demand[self._query], self._item))
        item, query = self._item[order], self._query[order]
        place = np.arange(len(item)) - np.searchsorted(item, item)
        item, query = item[place < _QUERIES_PER_ITEM], query[place < _QUERIES_PER_ITEM]
        shared = [
            np.stack([query[:-apart][same], query[apart:][same]])
            for apart in range(1, min(_QUERIES_PER_ITEM, len(item)))
            if (same := item[:-apart] == item[apart:]).any()
        ]
        if not shared:
            return near
        one, other = np.concatenate([*shared, *(pair[::-1] for pair in shared)], axis=1)
        same_leaf = self._leaf[one] == self._leaf[other]
        keys, count = np.unique(
            one[same_leaf].astype(np.int64) * size + other[same_leaf], return_counts=True
        )
        one, other = np.divmod(keys, size)
        order = np.lexsort((other, -count, one))
        one, other = one[order], other[order]
        place = 1 + np.arange(len(one)) - np.searchsorted(one, one)
        near[one[place < NEAR], place[place < NEAR]] = other[place < NEAR]
        return near

    def _complements(self, leaf: np.ndarray, leaf_demand: np.ndarray) -> np.ndarray:
        """(L, COMPLEMENTS): the leaves whose items answer a leaf's queries, and the other way
        round, most often; where there are fewer they repeat, and without any it is the leaf."""
        leaves = len(leaf_demand)
        together = np.zeros((leaves, leaves), np.float32)
        weight = self._pairs["relevance"].to_numpy()
        np.add.at(together, (self._leaf[self._query], leaf[self._item]), weight)
        together += together.T
        np.fill_diagonal(together, 0)
        together[:, leaf_demand == 0] = 0  # nothing can be asked there
        best = np.argsort(-together, axis=1, kind="stable")[:, :COMPLEMENTS]
        known = (np.take_along_axis(together, best, axis=1) > 0).sum(axis=1, keepdims=True)
        cyclic = np.arange(COMPLEMENTS) % np.maximum(known, 1)
        # One leaf alone has no four others to sort.
        found = np.take_along_axis(best, np.minimum(cyclic, best.shape[1] - 1), axis=1)
        return np.where(known > 0, found, np.arange(leaves)[:, None])

    def save(self, folder: Path) -> None:
        """The queries with their items."""
        pq.write_table(self._pairs, folder / PAIRS_FILE, compression="zstd")

    def leaf_of(self, codes: np.ndarray) -> np.ndarray:
        """See :class:`Language`."""
        return self._leaf[codes // TYPOS]

    def editorial(self) -> np.ndarray:
        """Each leaf's most asked query, and the most asked of all."""
        tops = self._of_leaf[self._first[:-1][np.diff(self._first) > 0]]
        rest = np.argsort(-self._demand, kind="stable")[: self.settings.popular_pool]
        return np.union1d(tops, rest) * TYPOS

    def plain(self, leaf: np.ndarray) -> np.ndarray:
        """The most asked query of each leaf."""
        return self._of_leaf[self._first[leaf]] * TYPOS

    def new_tastes(self, rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
        """(n, 1): a favourite query, maybe one that nobody has asked yet."""
        return self._of_leaf[self._any_query(rng, leaf)][:, None]

    def worded(self, rng, day: int, leaf: np.ndarray, taste: np.ndarray, own) -> np.ndarray:
        """The favourite or one near it, if the leaf is its, or any query of the leaf."""
        self._open(day)
        n, favourite = len(leaf), taste[:, 0]
        anything = self._of_leaf[self._query_today(rng, leaf)]
        near = self._near[favourite, rng.integers(0, NEAR, n)]
        mine = np.where(self._debut[near] <= day, near, favourite)
        mine = np.where(self._debut[mine] <= day, mine, anything)
        said = np.where(own & (rng.random(n) < self.settings.own_taste_share), mine, anything)
        return said * TYPOS

    def fits(self, codes: np.ndarray, taste: np.ndarray) -> np.ndarray:
        """See :class:`Language`; strange is what is not near the favourite."""
        near = self._near[taste[:, None, :, 0]]  # (n, 1, K, NEAR)
        return np.where((near == (codes // TYPOS)[:, :, None, None]).any(axis=3), 1.0, STRANGE)

    def items(self, rng: np.random.Generator, day: int, codes: np.ndarray) -> np.ndarray:
        """An item that answers each query, by weight or the square of relevance."""
        self._open(day)
        return self._item[self._pair_today(rng, codes // TYPOS)]

    @cached_property
    def _any_query(self) -> _Draw:
        return _Draw(self._first, self._demand[self._of_leaf])

    def _open(self, day: int) -> None:
        """Make the draws of ``day``: only what is in use and on sale by then."""
        if day == self._day:
            return
        self._day = day
        in_use = self._debut[self._of_leaf] <= day
        self._query_today = _Draw(self._first, self._demand[self._of_leaf] * in_use)
        on_sale = self.catalog.launched[self._item] <= day
        self._pair_today = _Draw(self._first_pair, self._pair_weight * on_sale)

    def _texts(self, wordings: np.ndarray) -> list[str]:
        return [self._said[wording] for wording in wordings.tolist()]

    def _wording(self, text: str) -> int:
        return self._index.get(text, -1)


def _best_pair(group: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Row of the greatest weight of each of the groups 0, 1, 2 ...; the first among equals."""
    order = np.lexsort((np.arange(len(group)), -weight, group))
    return order[np.unique(group[order], return_index=True)[1]]


def _leaves(items: pa.Table, answered: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Leaf ids, sorted, and the leaf of each item; -1 for items not ``answered``."""
    ids = items["leaf_category_id"].combine_chunks()
    leaf_ids = sorted(set(ids.take(pa.array(answered)).to_pylist()))
    leaf = pc.index_in(ids, pa.array(leaf_ids)).fill_null(-1).to_numpy().astype(np.int64)
    return leaf_ids, np.where(np.isin(np.arange(len(items)), answered), leaf, -1)


def _departments(rng, items: pa.Table, leaf: np.ndarray, leaves: int) -> np.ndarray:
    """(L,): which made-up department's public each leaf has, drawn by the path's first part."""
    first_item = np.full(leaves, -1)
    known = np.flatnonzero(leaf >= 0)[::-1]
    first_item[leaf[known]] = known
    rows = items.select(["category_path", "leaf_category"]).take(pa.array(first_item)).to_pylist()
    tops = [(row["category_path"] or row["leaf_category"]).split(">")[0].strip() for row in rows]
    names = sorted(set(tops))
    drawn = dict(zip(names, rng.integers(0, len(words.DEPARTMENTS), len(names)), strict=True))
    return np.array([drawn[top] for top in tops])


def _affordable(settings: ShopSettings, leaves: int) -> None:
    gib = (4 * settings.users * leaves + 24 * leaves * leaves) / 2**30
    if gib > _MOST_GIB:
        raise UserError(
            f"{settings.users:,} users x {leaves:,} leaf categories need {gib:.1f} GiB, more than"
            f" {_MOST_GIB}; give fewer --users or coarser leaf categories"
        )
