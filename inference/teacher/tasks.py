"""What teachers are asked, the JSON schema of the answer, and what counts as one.

Schemas bound every list and text, so that guided decoding ends. Behaviours, candidates and labels
are referred to by number: a number is in range or not, while a text would have to be matched. What
breaks a rule that a schema cannot say (each label in at most one interest point) is caught here.
"""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

from aigq.context import PROFILE_FIELDS, flat
from aigq.lists import is_listable
from aigq.text import normalize_query
from inference.teacher import Session

MAX_CANDIDATES = 10
MAX_TRIGGERS = 8
MAX_REASON = 120
MAX_RATIONALE = 240


class InvalidAnswer(ValueError):
    """Why an answer is refused: ``error``, a class to count; the message says what was found."""

    def __init__(self, error: str, message: str = ""):
        super().__init__(message or error)
        self.error = error


@dataclass(frozen=True)
class Task:
    """One kind of question. ``name``: also its table's in schema ``think``; ``prompt_version``
    changes when the same session would be asked something else."""

    name: str
    prompt_version: str
    instruction: str
    listed: str | None = None

    def is_asked(self, session: Session) -> bool:
        """Whether there is anything to reason from, and about."""
        return bool(session.behaviors)

    def known(self, session: Session) -> list[dict[str, Any]]:
        """Rows that need no teacher."""
        return []

    def question(self, session: Session) -> str:
        """Profile, numbered behaviours, and what is judged or explained, numbered, too."""
        profile = ", ".join(
            f"{name.replace('_', ' ')} {flat(value)}"
            for name, value in zip(PROFILE_FIELDS, session.profile, strict=True)
            if value
        )
        lines = [f"Shopper: {profile or 'unknown'}"]
        lines.append("Behaviours, oldest first, as number | days ago | action | content:")
        lines += [
            f"{i} | {b.days_ago} | {b.action.replace('_', ' ')} | {flat(b.content_text)}"
            for i, b in enumerate(session.behaviors, start=1)
        ]
        if session.acts:
            lines.append(f"In the session they then searched or clicked: {', '.join(session.acts)}")
        if self.listed:
            lines.append(f"{self.listed}, as number | query:")
            lines += [f"{i} | {query}" for i, query in enumerate(session.queries, start=1)]
        return "\n".join(lines)

    def schema(self, session: Session) -> dict[str, Any]:
        """JSON schema of the answer for this session."""
        raise NotImplementedError

    def rows(self, session: Session, answer: Any) -> list[dict[str, Any]]:
        """The rows that ``answer`` (parsed JSON) stands for. Raises :class:`InvalidAnswer`."""
        raise NotImplementedError

    def parse(self, session: Session, text: str) -> list[dict[str, Any]]:
        """:meth:`rows` of an answer's text. Raises :class:`InvalidAnswer`."""
        try:
            answer = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise InvalidAnswer("no_json", str(error)) from None
        return self.rows(session, answer)


class Candidates(Task):
    """Q_llm of AIGQ eq. 4: queries in order, likeliest first."""

    def schema(self, session: Session) -> dict[str, Any]:
        return _object(queries=_array(_string(60), 1, MAX_CANDIDATES))

    def rows(self, session: Session, answer: Any) -> list[dict[str, Any]]:
        """Queries the shopper searched before are left out, as are repeats."""
        known = {b.content_key for b in session.behaviors}
        queries: list[str] = []
        for value in _list(_fields(answer, "queries")["queries"], MAX_CANDIDATES):
            query = normalize_query(_text(value, 200))
            if not is_listable(query):
                raise InvalidAnswer("invalid_query", f"no query: {value!r}")
            if f"query:{query}" not in known and query not in queries:
                queries.append(query)
        return [{"query_text": q, "teacher_rank": r} for r, q in enumerate(queries, start=1)]


class Alignments(Task):
    """The alignment filter after AIGQ eq. 4: keep or drop, and why.

    Filled in: what the shopper searched or clicked in the session is no guess and stays; it is
    evidence for the others, those of the tiers rank and llm. Judged by the past alone, most first
    searches of a new interest would be lost.
    """

    def is_asked(self, session: Session) -> bool:
        return bool(session.queries) and bool(session.behaviors or session.acts)

    def known(self, session: Session) -> list[dict[str, Any]]:
        reason = "searched or clicked in the session"
        return [{"query_text": q, "is_aligned": True, "reason": reason} for q in session.acts]

    def schema(self, session: Session) -> dict[str, Any]:
        count = len(session.queries)
        judgement = _object(
            candidate=_number(count),
            reason=_string(MAX_REASON),
            keep={"type": "boolean"},
        )
        return _object(judgements=_array(judgement, count, count))

    def rows(self, session: Session, answer: Any) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for value in _list(_fields(answer, "judgements")["judgements"]):
            judged = _fields(value, "candidate", "reason", "keep")
            (number,) = _numbers([judged["candidate"]], len(session.queries))
            if number in found:
                raise InvalidAnswer("judged_twice", f"candidate {number} is judged twice")
            if not isinstance(judged["keep"], bool):
                raise InvalidAnswer("wrong_type", f"keep is {judged['keep']!r}")
            found[number] = {
                "query_text": session.queries[number - 1],
                "is_aligned": judged["keep"],
                "reason": _text(judged["reason"], MAX_REASON),
            }
        if missing := set(range(1, len(session.queries) + 1)) - found.keys():
            raise InvalidAnswer("not_judged", f"not judged: candidates {sorted(missing)}")
        return [found[number] for number in sorted(found)]


class Rationales(Task):
    """AIGQ eq. 7: interest points, each triggers T_j, queries Q_j and the rationale r_j."""

    def schema(self, session: Session) -> dict[str, Any]:
        labels, behaviors = len(session.queries), len(session.behaviors)
        point = _object(
            rationale=_string(MAX_RATIONALE),
            triggers=_array(_number(behaviors), 1, MAX_TRIGGERS),
            queries=_array(_number(labels), 1, labels),
        )
        # None, where no behaviour explains a label.
        return _object(points=_array(point, 0, labels))

    def rows(self, session: Session, answer: Any) -> list[dict[str, Any]]:
        """Points in order of their best label, labels in order of theirs, triggers ascending; a
        label may be explained by no point, and a behaviour trigger several."""
        points = []
        explained: set[int] = set()
        for value in _list(_fields(answer, "points")["points"], len(session.queries)):
            point = _fields(value, "rationale", "triggers", "queries")
            triggers = _numbers(point["triggers"], len(session.behaviors))
            labels = _numbers(point["queries"], len(session.queries))
            if len(triggers) > MAX_TRIGGERS:
                raise InvalidAnswer("too_many", f"a point has {len(triggers)} triggers")
            if explained & set(labels):
                raise InvalidAnswer("explained_twice", "a label stands in two points")
            explained.update(labels)
            points.append((labels, triggers, _text(point["rationale"], MAX_RATIONALE)))
        return [
            {
                "point_index": index,
                "triggers": triggers,
                "queries": [session.queries[label - 1] for label in labels],
                "rationale": rationale,
            }
            for index, (labels, triggers, rationale) in enumerate(sorted(points))
        ]


CANDIDATES = Candidates(
    "llm_candidates",
    "candidates-1",
    "You know how people shop online. From what a shopper did so far, propose the search queries"
    " that the shopper is most likely to type next, likeliest first. Write them as shoppers type"
    f" them: short, in the language of the shop. At most {MAX_CANDIDATES}, none that was searched"
    ' already. Answer in JSON: {"queries": ["...", ...]}',
)
ALIGNMENTS = Alignments(
    "alignments",
    "alignments-1",
    "You check training labels of a shop's query recommender. Judge for each candidate query"
    " whether what the shopper did shows an interest that the query serves, directly or as an"
    " obvious next step. Keep it if so; drop it if nothing the shopper did speaks for it. Judge"
    ' every candidate once. Answer in JSON: {"judgements": [{"candidate": number, "reason": "a few'
    ' words", "keep": true or false}, ...]}',
    "Candidate queries",
)
RATIONALES = Rationales(
    "rationales",
    "rationales-2",
    "You explain a shop's query recommendations. The labels are queries that suit this shopper,"
    " best first. Group them by the shopper's interests. For each interest give a rationale of one"
    " short sentence that leads from the behaviours to the queries, the numbers of the behaviours"
    f" that show the interest (at most {MAX_TRIGGERS}), and the numbers of its labels. A label"
    " belongs to one interest at most; leave out labels that no behaviour explains. Answer in JSON:"
    ' {"points": [{"rationale": "...", "triggers": [number, ...], "queries": [number, ...]}, ...]}',
    "Labels",
)


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _string(most: int) -> dict[str, Any]:
    # Of lengths, guided decoding (xgrammar) makes a string that may hold a bare control character,
    # which is no JSON; of a pattern, what the pattern says.
    return {"type": "string", "pattern": rf'^[^"\\\x00-\x1f\x7f]{{1,{most}}}$'}


def _number(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _fields(value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise InvalidAnswer("wrong_fields", f"expected fields {', '.join(names)}, got {value!r}")
    return value


def _list(value: Any, most: int | None = None) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidAnswer("wrong_type", f"expected a list, got {value!r}")
    if most is not None and len(value) > most:
        raise InvalidAnswer("too_many", f"{len(value)} entries, at most {most} are allowed")
    return value


def _numbers(values: Any, most: int) -> list[int]:
    """Distinct numbers from 1 to ``most``, ascending; at least one."""
    for value in _list(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidAnswer("wrong_type", f"expected a number, got {value!r}")
        if not 1 <= value <= most:
            raise InvalidAnswer("out_of_range", f"{value} is not among 1 to {most}")
    if not values:
        raise InvalidAnswer("empty", "expected at least one number")
    return sorted(set(values))


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise InvalidAnswer("wrong_type", f"expected a text, got {value!r}")
    text = flat(value)
    if not text or len(text) > most or not all(map(is_text, text)):
        raise InvalidAnswer("invalid_text", f"expected 1 to {most} characters of text: {value!r}")
    return text


def is_text(character: str) -> bool:
    """Whether it may stand in a text: no control character, no half of one."""
    return character != "\ufffd" and unicodedata.category(character) not in ("Cc", "Cs")
