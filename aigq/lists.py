"""The list grammar: how an ordered list of queries is written as text, and read back.

Direct target (AIGQ eq. 6): one query per line, best first, ended by the model's end-of-sequence
token. Queries are normalised text and so never hold a line break. The grammar is plain text on
purpose: it survives any engine, also servers that strip special tokens.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aigq.spans import Region, Spans, TokenBytes
from aigq.text import is_broken, normalize_query

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
    return normalize_query(query) == query and query_fault(query) is None


def query_fault(query: str) -> str | None:
    """Why no list may hold the normalised ``query``, as :class:`ParsedList` names it, else None."""
    if not query:
        return "empty_query"
    if len(query) > MAX_QUERY_CHARACTERS:
        return "long_query"
    return "invalid_text" if is_broken(query) else None


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
        if fault := query_fault(query):
            return ParsedList((), fault)
        if query not in queries:
            queries.append(query)
    return ParsedList(tuple(queries), None, len(lines) - len(queries))


def list_spans(ids: Sequence[int], tokens: TokenBytes) -> Spans:
    """Which token of a completion belongs to which query (see aigq.spans).

    Slots number the lines as written: a repeat has a slot of its own.
    """
    reading = tokens.read(ids)
    parsed = parse_list(reading.text, finished=reading.finished)
    if parsed.error:
        return Spans(reading.spans([]), error=parsed.error)
    regions: list[Region] = []
    position = 0
    lines = reading.text.split(SEPARATOR)
    for slot, line in enumerate(lines):
        regions.append(Region(position, position + len(line), slot))
        position += len(line) + len(SEPARATOR)
    queries = tuple(map(normalize_query, lines))
    spans, fields = reading.spans(regions), reading.fields(regions)
    return Spans(spans, fields, queries, lists=(0,) * len(queries))


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
