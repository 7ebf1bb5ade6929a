"""The Think grammar: rationales, then the structured answer {(T_j, Q_j)} (AIGQ eq. 8-9).

    1|Looked for tea twice this week and bought a pot.
    2|Compares phone cases.

    1|3,4<TAB>green tea<TAB>tea strainer
    2|1<TAB>phone case

One rationale a line, an empty line, then one line per interest point, in the same order. Both are
numbered, as the lines of the prompt are: a small model that writes numbers need not count lines.
An answer line holds the point's trigger set (1-based numbers of behaviour lines of the prompt as
shown to the model), then its queries, tabs between. Queries are normalised text, which holds no
white space but single blanks, so nothing needs escaping; rationales are kept on one line the same
way. No special token is needed to read it, so it survives any engine.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from aigq.lists import query_fault
from aigq.spans import RATIONALE, TRIGGER, Region, Spans, TokenBytes
from aigq.text import flat, is_broken, normalize_query

MAX_RATIONALE_CHARACTERS = 400
# SQL over a sample's ``behaviors``, which triggers number: rationales that were written for others
# point at their neighbours. Of contents their keys: an item described anew is the same behaviour.
BEHAVIORS_KEY = (
    "md5(to_json(list_transform(behaviors, lambda b:"
    " [b.days_ago::VARCHAR, b.action, b.content_key]))::VARCHAR)"
)
_LINE = "\n"
_FIELD = "\t"
_INDEX = ","
_NUMBERED = "{}|{}"
_TRIGGERS = re.compile(r"[1-9][0-9]{0,3}(?:,[1-9][0-9]{0,3})*")


@dataclass(frozen=True)
class InterestPoint:
    """One interest: the behaviours that show it (1-based numbers of the prompt's lines), queries,
    best first, and why the one leads to the other."""

    triggers: tuple[int, ...]
    queries: tuple[str, ...]
    rationale: str


@dataclass(frozen=True)
class ParsedThink:
    """What a completion holds.

    ``points``: empty where malformed. ``error``: why it is malformed, else None: ``truncated``,
    ``empty``, ``missing_answer``, ``missing_rationale``, ``unpaired_points`` (not as many
    rationales as answer lines), ``misnumbered`` (a line without its number), ``empty_rationale``,
    ``long_rationale``, ``empty_point``, ``bad_trigger`` (not distinct numbers with commas between),
    ``trigger_out_of_range``, ``missing_query``, ``empty_query``, ``long_query``, ``invalid_text``;
    ``no_behaviors`` where the prompt had none, which no text can answer. ``duplicates``: queries
    that repeat an earlier one. A point keeps one of each; two points may hold the same.
    """

    points: tuple[InterestPoint, ...]
    error: str | None = None
    duplicates: int = 0

    @property
    def queries(self) -> tuple[str, ...]:
        """The distinct queries of all points in output order."""
        return tuple(dict.fromkeys(chain.from_iterable(p.queries for p in self.points)))


def point_fault(point: InterestPoint, *, behaviors: int) -> str | None:
    """Why a target must not hold ``point`` (as :class:`ParsedThink` names it), None where it may.

    Points without a fault are read back as written. ``behaviors``: lines of the prompt.
    """
    if flat(point.rationale) != point.rationale or any(
        normalize_query(q) != q for q in point.queries
    ):
        return "invalid_text"
    if not point.queries:
        return "missing_query"
    if len(set(point.queries)) < len(point.queries):
        return "repeated_query"
    return (
        _rationale_fault(point.rationale)
        or _trigger_fault(_INDEX.join(map(str, point.triggers)), behaviors)
        or next(filter(None, map(query_fault, point.queries)), None)
    )


def render_think(points: Sequence[InterestPoint]) -> str:
    """The target text of ``points``, without the end-of-sequence token."""
    answers = [_FIELD.join([_INDEX.join(map(str, p.triggers)), *p.queries]) for p in points]
    return _LINE.join([*_numbered(p.rationale for p in points), "", *_numbered(answers)])


def parse_think(text: str, *, finished: bool, behaviors: int) -> ParsedThink:
    """Read a completion. ``finished``: the model ended it itself, rather than running out of room.
    ``behaviors``: behaviour lines of its prompt.

    A malformed completion yields no point at all: none of it is served.
    """
    if not behaviors:
        return ParsedThink((), "no_behaviors")
    if not finished:
        return ParsedThink((), "truncated")
    if not text.strip():
        return ParsedThink((), "empty")
    if "\ufffd" in text:
        return ParsedThink((), "invalid_text")
    lines = text.split(_LINE)
    if "" not in lines:
        return ParsedThink((), "missing_answer")
    middle = lines.index("")
    rationales, answers = lines[:middle], lines[middle + 1 :]
    if error := _shape_fault(rationales, answers):
        return ParsedThink((), error)
    points: list[InterestPoint] = []
    written: list[str] = []
    for number, (rationale, answer) in enumerate(zip(rationales, answers, strict=True), start=1):
        prefix = _NUMBERED.format(number, "")
        if not (rationale.startswith(prefix) and answer.startswith(prefix)):
            return ParsedThink((), "misnumbered")
        rationale, answer = flat(rationale.removeprefix(prefix)), answer.removeprefix(prefix)
        triggers, *fields = answer.split(_FIELD)
        queries = [normalize_query(field) for field in fields]
        error = (
            _rationale_fault(rationale)
            or _trigger_fault(triggers, behaviors)
            or ("missing_query" if not queries else None)
            or next(filter(None, map(query_fault, queries)), None)
        )
        if error:
            return ParsedThink((), error)
        written += queries
        indices = tuple(map(int, triggers.split(_INDEX)))
        points.append(InterestPoint(indices, tuple(dict.fromkeys(queries)), rationale))
    return ParsedThink(tuple(points), None, len(written) - len(set(written)))


def think_spans(ids: Sequence[int], tokens: TokenBytes, *, behaviors: int) -> Spans:
    """Which token of a completion is which query, trigger set or rationale (see aigq.spans).

    Slots number the queries flattened over points, in output order and as written: a repeat has a
    slot of its own. A trigger set is its numbers and the commas between them.
    """
    reading = tokens.read(ids)
    parsed = parse_think(reading.text, finished=reading.finished, behaviors=behaviors)
    if parsed.error:
        return Spans(reading.spans([]), error=parsed.error)
    regions: list[Region] = []
    queries: list[str] = []
    points: list[int] = []
    position, in_answer = 0, False
    for line in reading.text.split(_LINE):
        start, end = position, position + len(line)
        position = end + len(_LINE)
        number, bar, line = line.partition("|")
        start += len(number) + len(bar)
        if not bar:
            in_answer = True
        elif not in_answer:
            regions.append(Region(start, end, RATIONALE))
        else:
            for place, field in enumerate(line.split(_FIELD)):
                span = len(queries) if place else TRIGGER
                regions.append(Region(start, start + len(field), span))
                if place:
                    queries.append(normalize_query(field))
                    points.append(int(number) - 1)
                start += len(field) + len(_FIELD)
    triggers = tuple(point.triggers for point in parsed.points)
    spans, fields = reading.spans(regions), reading.fields(regions)
    return Spans(spans, fields, tuple(queries), tuple(points), triggers)


def _numbered(lines: Iterable[str]) -> Iterator[str]:
    return (_NUMBERED.format(number, line) for number, line in enumerate(lines, start=1))


def _shape_fault(rationales: list[str], answers: list[str]) -> str | None:
    if not any(answers):
        return "missing_answer"
    if not rationales:
        return "missing_rationale"
    if "" in answers:
        return "empty_point"
    return "unpaired_points" if len(rationales) != len(answers) else None


def _rationale_fault(rationale: str) -> str | None:
    if not rationale:
        return "empty_rationale"
    if len(rationale) > MAX_RATIONALE_CHARACTERS:
        return "long_rationale"
    return "invalid_text" if is_broken(rationale) else None


def _trigger_fault(triggers: str, behaviors: int) -> str | None:
    if not _TRIGGERS.fullmatch(triggers):
        return "bad_trigger"
    indices = [int(index) for index in triggers.split(_INDEX)]
    if len(set(indices)) < len(indices):
        return "bad_trigger"
    return "trigger_out_of_range" if max(indices) > behaviors else None
