"""The list grammar: how an ordered list of queries is written as text, and read back.

Direct target (AIGQ eq. 6): one query per line, best first, ended by the model's end-of-sequence
token. Queries are normalised text and so never hold a line break. The grammar is plain text on
purpose: it survives any engine, also servers that strip special tokens.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aigq.text import normalize_query

SEPARATOR = "\n"
MAX_QUERY_CHARACTERS = 100


@dataclass(frozen=True)
class ParsedList:
    """What a completion holds.

    ``queries``: distinct normalised queries in order, empty where malformed. ``error``: why it is
    malformed (``truncated``, ``empty``, ``empty_query``, ``long_query``, ``invalid_text``), else
    None. ``duplicates``: queries dropped because an earlier one is the same.
    """

    queries: tuple[str, ...]
    error: str | None = None
    duplicates: int = 0


def is_listable(query: str) -> bool:
    """Whether a list may hold ``query`` (normalised): lists of such are read back as written.

    Other queries are no labels: a model that wrote them would be taught malformed lists.
    """
    return bool(query) and normalize_query(query) == query and _fault(query) is None


def _fault(query: str) -> str | None:
    if len(query) > MAX_QUERY_CHARACTERS:
        return "long_query"
    # Half a character from a byte-level vocabulary decodes to U+FFFD. Format characters are text:
    # emoji and Indic scripts are joined by them.
    if "\ufffd" in query or any(map(_is_control, query)):
        return "invalid_text"
    return None


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs")


def render_list(queries: Sequence[str]) -> str:
    """The target text of an ordered list, without the end-of-sequence token."""
    return SEPARATOR.join(queries)


def parse_list(text: str, *, finished: bool) -> ParsedList:
    """Read a completion. ``finished``: the model ended it itself, rather than running out of room.

    A malformed completion yields no query at all: none of it is served.
    """
    if not finished:
        return ParsedList((), "truncated")
    if not text.strip():
        return ParsedList((), "empty")
    queries: list[str] = []
    lines = text.split(SEPARATOR)
    for line in lines:
        query = normalize_query(line)
        if not query:
            return ParsedList((), "empty_query")
        if fault := _fault(query):
            return ParsedList((), fault)
        if query not in queries:
            queries.append(query)
    return ParsedList(tuple(queries), None, len(lines) - len(queries))


def merge_lists(lists: Iterable[Sequence[str]]) -> list[str]:
    """One ranked list from several: the first (greedy) list, then the other distinct queries by
    number of sampled lists that hold them, best position, text (method, "Reaching K").

    ``lists``: distinct queries each, the greedy one first (possibly empty).
    """
    first, *sampled = lists
    holders: Counter[str] = Counter()
    best: dict[str, int] = {}
    for queries in sampled:
        for position, query in enumerate(queries):
            holders[query] += 1
            best[query] = min(position, best.get(query, position))
    rest = sorted(set(holders) - set(first), key=lambda q: (-holders[q], best[q], q))
    return [*first, *rest]
