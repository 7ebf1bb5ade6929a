"""What the base model learns from: the shop's text, item → queries, and copying from a context.

Only what was known in the training days is read. Every fiftieth query and item or so is held out
(by the md5 of its key): no training text holds it, and the held-out loss is measured on it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from aigq.context import (
    MAX_DAYS_AGO,
    PROFILE_FIELDS,
    Behavior,
    Context,
    encode_text,
    fit_prompts,
)
from aigq.lists import is_listable, render_list
from aigq.settings import UserError
from aigq.think import InterestPoint, render_think
from training.parts import Example
from training.workspace import Snapshot

TEXT_BLOCK_TOKENS = 256
_HELDOUT_OF_256 = 5

_QUERIES = """
select content_key, content_text as text, count(*) as uses
from lake.behavior.behaviors, lake.meta.shop
where action = 'search' and occurred_at < train_end_at
group by all
order by content_key, content_text
"""
# An item nobody met in the training days is new: its text belongs to the time after.
_ITEMS = """
with known_items as (
    select distinct content_key
    from lake.behavior.behaviors, lake.meta.shop
    where occurred_at < train_end_at and content_key like 'item:%'
)

select 'item:' || item_id as content_key, item_text as text
from lake.items.item_texts
where 'item:' || item_id in (select content_key from known_items)
order by content_key
"""
_PAIRS = """
select 'item:' || item_id as content_key, query_text
from lake.samples.item_queries
order by item_id, support desc, query_text
"""
_LINES = """
select action, content_key, content_text
from lake.behavior.behaviors, lake.meta.shop
where occurred_at < train_end_at
order by md5(user_id || content_key || occurred_at::varchar || ?), user_id, occurred_at, content_key
limit ?
"""
_PROFILES = """
select distinct age_band, gender, region
from lake.behavior.behaviors
inner join lake.raw.users using (user_id)
cross join lake.meta.shop
where occurred_at < train_end_at
order by all
"""


@dataclass(frozen=True)
class Line:
    """A behaviour outside any user's history: what was done, on what."""

    action: str
    content_key: str
    content_text: str

    @cached_property
    def query(self) -> str | None:
        """The normalised query of a search; None for anything done on an item, and for a query that
        no list can hold."""
        kind, _, key = self.content_key.partition(":")
        return key if kind == "query" and is_listable(key) else None


@dataclass(frozen=True)
class ShopText:
    """The shop's text as of the end of its training days; ``queries`` most used first."""

    queries: list[tuple[str, str]]
    items: dict[str, str]
    item_queries: dict[str, list[str]]
    lines: list[Line]
    profiles: list[tuple[str | None, ...]]
    max_behaviors: int
    list_length: int


def is_heldout(content_key: str) -> bool:
    """Whether the item or query behind ``content_key`` is kept out of all training text."""
    return hashlib.md5(content_key.encode()).digest()[0] < _HELDOUT_OF_256


def read_shop_text(snapshot: Snapshot, *, line_count: int, seed: int) -> ShopText:
    """Read the snapshot. Raises :class:`UserError` where there is no search to learn from."""
    queries = snapshot.rows(_QUERIES)
    if not queries:
        raise UserError(
            "behavior.behaviors holds no search in the training days: nothing to train on"
        )
    item_queries: dict[str, list[str]] = {}
    for row in snapshot.rows(_PAIRS):
        item_queries.setdefault(row["content_key"], []).append(row["query_text"])
    shop = snapshot.rows("select max_behaviors, direct_list_length from lake.meta.shop")[0]
    return ShopText(
        queries=[(row["content_key"], row["text"]) for row in queries],
        items={row["content_key"]: row["text"] for row in snapshot.rows(_ITEMS)},
        item_queries=item_queries,
        lines=[Line(**row) for row in snapshot.rows(_LINES, [str(seed), line_count])],
        profiles=[tuple(row[f] for f in PROFILE_FIELDS) for row in snapshot.rows(_PROFILES)]
        or [(None,) * len(PROFILE_FIELDS)],
        max_behaviors=shop["max_behaviors"],
        list_length=shop["direct_list_length"],
    )


def tokenizer_texts(shop: ShopText) -> list[str]:
    """Training texts of the tokenizer: items and queries not held out, and profile lines."""
    texts = [text for key, text in shop.queries if not is_heldout(key)]
    texts += [text for key, text in shop.items.items() if not is_heldout(key)]
    return texts + ["|".join(value or "" for value in profile) for profile in shop.profiles]


def unlistable_labels(shop: ShopText) -> int:
    """How many queries, of searches and of items, are left out of all lists."""
    queries = [key.partition(":")[2] for key in dict(shop.queries)]
    queries += [query for of_item in shop.item_queries.values() for query in of_item]
    return sum(not is_listable(query) for query in queries)


def text_examples(texts: Sequence[str], tokenizer: Any) -> list[Example]:
    """Language modelling: the texts, each ended by eos, cut into blocks of 256 tokens."""
    ids = [
        token for text in encode_text(tokenizer, texts) for token in (*text, tokenizer.eos_token_id)
    ]
    blocks = [ids[i : i + TEXT_BLOCK_TOKENS] for i in range(0, len(ids), TEXT_BLOCK_TOKENS)]
    return [Example(block, 0) for block in blocks if len(block) > 1]


def pair_examples(shop: ShopText, tokenizer: Any, *, heldout: bool) -> list[Example]:
    """Item → queries: a context of one click on the item, its best supported queries as the list.

    An item that is held out keeps all its queries; a query that is held out leaves the others'.
    """
    contexts, targets = [], []
    for key, queries in shop.item_queries.items():
        if key not in shop.items or is_heldout(key) != heldout:
            continue
        kept = [q for q in queries if is_listable(q) and (heldout or not is_heldout(f"query:{q}"))]
        if kept:
            click = Behavior(0, "item_click", shop.items[key])
            contexts.append(Context(behaviors=(click,)))
            targets.append(render_list(kept[: shop.list_length]))
    return target_examples(contexts, targets, ["direct"] * len(targets), tokenizer)


def copy_sample(
    lines: Sequence[Line], profile: tuple[str | None, ...], days_ago: Sequence[int], length: int
) -> tuple[Context, list[str]]:
    """The copy curriculum: behaviour lines → their distinct queries, latest first.

    ``days_ago``: one per line, oldest (largest) first.
    """
    behaviors = tuple(
        Behavior(day, line.action, line.content_text)
        for day, line in zip(days_ago, lines, strict=True)
    )
    queries = [line.query for line in reversed(lines) if line.query is not None]
    return Context(profile, behaviors), list(dict.fromkeys(queries))[:length]


def copy_examples(
    shop: ShopText,
    tokenizer: Any,
    *,
    count: int,
    max_lines: int,
    day_start_share: float,
    seed: Sequence[int],
    heldout: bool,
    think_share: float = 0.0,
) -> list[Example]:
    """``count`` contexts of lines drawn from all users at random, with their queries as the list,
    or in a ``think_share`` of them as interest points (:func:`copy_points`).

    Lines of different users have nothing in common, so the list can only be copied. Days are drawn
    from the whole range of day tokens, so that none is met for the first time later on; a
    ``day_start_share`` of the contexts holds no <0_day_ago>, as at the start of a day.
    """
    rng = np.random.default_rng(seed)
    pool = [line for line in shop.lines if is_heldout(line.content_key) == heldout]
    searches = [line for line in pool if line.query is not None]
    if not searches:
        return []
    contexts: list[Context] = []
    targets: list[str] = []
    variants: list[str] = []
    for _ in range(count):
        size = int(rng.integers(1, min(max_lines, shop.max_behaviors) + 1))
        lines = [pool[i] for i in rng.integers(len(pool), size=size)]
        if all(line.query is None for line in lines):
            lines[int(rng.integers(size))] = searches[int(rng.integers(len(searches)))]
        first_day = int(rng.random() < day_start_share)
        last_day = int(rng.integers(first_day, MAX_DAYS_AGO + 2))
        days = np.sort(rng.integers(first_day, last_day + 1, size=size))[::-1]
        profile = shop.profiles[int(rng.integers(len(shop.profiles)))]
        context, target = copy_sample(lines, profile, days.tolist(), shop.list_length)
        contexts.append(context)
        # No draw without it: the lists of a seed stay what they are.
        if think_share and rng.random() < think_share:
            targets.append(render_think(copy_points(lines, target, rng)))
            variants.append("think")
        else:
            targets.append(render_list(target))
            variants.append("direct")
    return target_examples(contexts, targets, variants, tokenizer)


def copy_points(
    lines: Sequence[Line], queries: Sequence[str], rng: np.random.Generator
) -> list[InterestPoint]:
    """The copy curriculum of Think: one to three queries a point, in order. A point's triggers are
    the lines that hold its queries, its rationale names these."""
    points = []
    start = 0
    while start < len(queries):
        of_point = tuple(queries[start : start + int(rng.integers(1, 4))])
        start += len(of_point)
        triggers = tuple(n for n, line in enumerate(lines, start=1) if line.query in of_point)
        points.append(InterestPoint(triggers, of_point, ", ".join(of_point)))
    return points


def target_examples(
    contexts: Sequence[Context], targets: Sequence[str], variants: Sequence[str], tokenizer: Any
) -> list[Example]:
    """Compressed prompt, then the target text and eos; no prompt is cut, so nothing is lost."""
    prompts: dict[int, list[int]] = {}
    for variant in sorted(set(variants)):
        mine = [place for place, v in enumerate(variants) if v == variant]
        fitted = fit_prompts(
            [contexts[place] for place in mine],
            tokenizer,
            style="compressed",
            max_tokens=1 << 20,
            variant=variant,
        )
        prompts |= {place: prompt.ids for place, prompt in zip(mine, fitted, strict=True)}
    return [
        Example([*prompts[place], *target, tokenizer.eos_token_id], len(prompts[place]))
        for place, target in enumerate(encode_text(tokenizer, targets))
    ]


def shuffled_texts(shop: ShopText, *, seed: int, heldout: bool) -> list[str]:
    """Query and item texts, held out or not, in a seeded order."""
    texts = [text for key, text in shop.queries if is_heldout(key) == heldout]
    texts += [text for key, text in shop.items.items() if is_heldout(key) == heldout]
    return [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))]
