"""Recall: what the online store has for a request, in at most two reads.

The first read tells the user's list (u2q), profile, recent behaviours and the popular queries; the
second, what the freshest of these behaviours lead to (x2q).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from aigq import features
from aigq.context import PROFILE_FIELDS, Behavior, Context

# The order of sources, wherever scores do not decide.
SOURCES = ("u2q", "x2q", "popular")
# Of the newest distinct behaviours so many are triggers; the categories of items among them follow.
TRIGGERS = 8
# The row of x2q that tells when the newest index was built.
NEWEST_INDEX = "index:newest"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Request:
    """Whose hints, after which click (an item id), and at what moment: None for the newest time
    that the online store knows."""

    user_id: str
    clicked: str | None = None
    now: datetime | None = None


@dataclass(frozen=True)
class Seen:
    """A behaviour online. ``key``: `item:ID` or `query:TEXT`; ``leaf_category_id`` "" for none."""

    when: datetime
    action: str
    text: str
    key: str
    leaf_category_id: str


@dataclass(frozen=True)
class Why:
    """Why x2q proposes a query. ``score``: S(q|x) of AIGQ eq. 19."""

    trigger: str
    trigger_text: str
    rationale: str
    score: float
    model_version: str


@dataclass(frozen=True)
class Candidate:
    """A query that may be shown. ``place``: in its source's own order, 1 best. ``sources``: all
    that recalled it; ``p_click``: by the CTR model, at position 1."""

    query: str
    source: str
    place: int
    why: Why | None = None
    sources: tuple[str, ...] = ()
    p_click: float | None = None


@dataclass(frozen=True)
class Recalled:
    """What the online store said. ``lists``: candidates by source, best first. ``behaviors``: those
    before ``now``, oldest first, the click last; ``later``: how many more it has. ``clicked_text``:
    None where the clicked item is unknown. ``listed_for``: the moment that the list in u2q was
    written as of; one after ``now`` is left out. ``stale``: triggers whose row belongs to an index
    before the newest, not used."""

    user_id: str
    now: datetime | None
    is_known: bool
    profile: tuple[str | None, ...]
    behaviors: tuple[Seen, ...]
    later: int
    clicked: str | None
    clicked_text: str | None
    time_zone: str
    lists: Mapping[str, tuple[Candidate, ...]]
    triggers: tuple[str, ...]
    stale: tuple[str, ...]
    list_version: str | None
    listed_for: datetime | None

    def context(self) -> Context:
        """What the CTR model reads; days_ago in the shop's calendar."""
        zone = ZoneInfo(self.time_zone)
        return Context(
            self.profile,
            tuple(
                Behavior(
                    (self.now.astimezone(zone).date() - b.when.astimezone(zone).date()).days,
                    b.action,
                    b.text,
                )
                for b in self.behaviors
            ),
        )


def recall(store: Any, request: Request) -> Recalled:
    """All sources' candidates for ``request``, in two online reads; one where nothing can be a
    trigger."""
    keys = {"user_id": request.user_id, "surface": features.SURFACE}
    if request.clicked is None:
        row = features.read_online(store, "hint_recall", keys)
    else:
        keys["item_id"] = request.clicked
        row = features.read_online(store, "clicked_recall", keys)
    behaviors = _behaviors(row)
    now = request.now or _clock(row, behaviors)
    known = behaviors
    behaviors = tuple(b for b in known if b.when < now)
    later = len(known) - len(behaviors)
    is_known = bool(known) or bool(row["u2q__queries"]) or _has_row(row, "user_profile")
    clicked_text = None
    if request.clicked is not None and now is not None:
        clicked_text = row["item_profile__item_text"]
        category = row["item_profile__leaf_category_id"] or ""
        text = clicked_text or request.clicked
        click = Seen(now, "item_click", text, f"item:{request.clicked}", category)
        behaviors = (*behaviors, click)
    listed_for = row["u2q__queries__ts"]
    is_later = listed_for is not None and listed_for > now
    triggers = freshest_triggers(behaviors)
    x2q, stale = _recall_x2q(store, triggers) if triggers else ((), ())
    return Recalled(
        user_id=request.user_id,
        now=now,
        is_known=is_known,
        profile=tuple(row[f"user_profile__{name}"] for name in PROFILE_FIELDS),
        behaviors=behaviors,
        later=later,
        clicked=request.clicked,
        clicked_text=clicked_text,
        time_zone=row["popular_queries__shop_timezone"] or "UTC",
        lists={
            # A list as of a later moment was written by what the user does after this one.
            "u2q": () if is_later else _in_order("u2q", row["u2q__queries"]),
            "x2q": x2q,
            "popular": _in_order("popular", row["popular_queries__queries"]),
        },
        triggers=triggers,
        stale=stale,
        list_version=None if is_later else row["u2q__model_version"],
        listed_for=listed_for,
    )


def freshest_triggers(behaviors: Sequence[Seen]) -> tuple[str, ...]:
    """The newest distinct content keys, newest first, then the leaf categories of items among them.

    ``behaviors``: oldest first.
    """
    newest: dict[str, Seen] = {}
    for behavior in reversed(behaviors):
        newest.setdefault(behavior.key, behavior)
    chosen = list(newest.values())[:TRIGGERS]
    categories = (f"category:{b.leaf_category_id}" for b in chosen if b.leaf_category_id)
    return (*(b.key for b in chosen), *dict.fromkeys(categories))


def _recall_x2q(
    store: Any, triggers: Sequence[str]
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Candidates of ``triggers`` by score, of equals the fresher trigger's first; and the stale
    triggers."""
    newest, *rows = features.read_online_rows(
        store, "x2q_recall", [{"trigger": key} for key in (NEWEST_INDEX, *triggers)]
    )
    built_at = newest["x2q__built_at_us"]
    found, stale = [], []
    for fresh, (trigger, row) in enumerate(zip(triggers, rows, strict=True)):
        if not _has_row(row, "x2q"):
            continue
        # Rows from before the column are older than any index that has it.
        if built_at is None or (row["x2q__built_at_us"] or 0) < built_at:
            stale.append(trigger)
            continue
        columns = (row[f"x2q__{name}"] for name in ("queries", "scores", "rationales", "sources"))
        for place, (query, score, rationale, version) in enumerate(zip(*columns, strict=True)):
            why = Why(trigger, row["x2q__trigger_text"], rationale, score, version)
            found.append(((-score, fresh, place), query, why))
    found.sort(key=lambda entry: entry[0])
    return (
        tuple(Candidate(q, "x2q", place, why) for place, (_, q, why) in enumerate(found, start=1)),
        tuple(stale),
    )


def _in_order(source: str, queries: Sequence[str] | None) -> tuple[Candidate, ...]:
    return tuple(Candidate(q, source, place) for place, q in enumerate(queries or (), start=1))


def _clock(row: Mapping[str, Any], behaviors: Sequence[Seen]) -> datetime | None:
    """The newest time there is. Feast's own end at the second, behaviours' at the microsecond."""
    stamps = [value for name, value in row.items() if name.endswith("__ts") and value]
    return max(stamps + [b.when + timedelta(microseconds=1) for b in behaviors], default=None)


def _behaviors(row: Mapping[str, Any]) -> tuple[Seen, ...]:
    times = row["user_behaviors__occurred_at_us"] or []
    lists = [
        row[f"user_behaviors__{name}"] or []
        for name in ("actions", "content_texts", "content_keys")
    ]
    # A row from before the column stays online until the user's next behaviour.
    leaves = row["user_behaviors__leaf_category_ids"] or [""] * len(times)
    return tuple(
        Seen(_EPOCH + timedelta(microseconds=us), *rest)
        for us, *rest in zip(times, *lists, leaves, strict=True)
    )


def _has_row(row: Mapping[str, Any], view: str) -> bool:
    """Whether the store has a row; one of nulls alone counts, by its time."""
    return any(value is not None for name, value in row.items() if name.startswith(f"{view}__"))
