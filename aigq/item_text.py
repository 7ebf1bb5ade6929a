"""The item-to-text language: facets in, a concise description out (method §1).

The target is the words of the queries that led to the item on training days, most credited first,
each word once: ``red running shoes, sneakers, nike``. A behaviour's content then reads in the words
that shoppers type, in which the model has to answer, and says in a few tokens what the item was
wanted for; a title says what its seller calls it.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from aigq.context import encode_text, flat
from aigq.lists import is_listable

MAX_WORDS = 12
MAX_CHARACTERS = 120
# What is read of an item, in this order: where a prompt is too long, its end is cut.
FACETS = ("title", "category_path", "brand", "price_band", "attributes", "tags")
_ENDING = "\ndescription: "


def description(queries: Sequence[str]) -> str:
    """The target text of an item; empty where none of its ``queries`` can stand in a list.

    ``queries``: normalised, most credited first. Each adds the words that none before it said, up
    to twelve words in all.
    """
    said: set[str] = set()
    text = ""
    for query in filter(is_listable, queries):
        new = [word for word in dict.fromkeys(query.split()) if word not in said]
        longer = ", ".join(filter(None, [text, " ".join(new[: MAX_WORDS - len(said)])]))
        if len(longer) <= MAX_CHARACTERS:
            text = longer
            said.update(new[: MAX_WORDS - len(said)])
    return text


def facets_text(item: Mapping[str, Any]) -> str:
    """An item's facets as lines ``name: value``; unknown ones are left out.

    ``item``: a row of ``items.item_facets``.
    """
    lines = []
    for name in FACETS:
        value = item[name]
        if value and not isinstance(value, str):
            value = "; ".join(value) if name == "attributes" else ", ".join(value)
        if value:
            lines.append(f"{name.split('_')[0]}: {flat(value)}")
    return "\n".join(lines)


def fit_item_prompts(
    items: Sequence[Mapping[str, Any]], tokenizer: Any, *, max_tokens: int
) -> list[list[int]]:
    """Token ids of each item's prompt, at most ``max_tokens``: what is cut is the facets' end."""
    (ending,) = encode_text(tokenizer, [_ENDING])
    facets = encode_text(tokenizer, [facets_text(item) for item in items])
    return [[*ids[: max_tokens - len(ending)], *ending] for ids in facets]


def text_fault(text: str, *, finished: bool) -> str | None:
    """Why a generated text is malformed, None where it is not: ``truncated``, ``empty``,
    ``invalid_text`` (control characters, line breaks too, or half a character), ``long_text``."""
    if not finished:
        return "truncated"
    if not text.strip():
        return "empty"
    if "\ufffd" in text or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        return "invalid_text"
    return "long_text" if len(text) > MAX_CHARACTERS else None
