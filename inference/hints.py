"""``aigq hints USER_ID``: what a hint request reads and shows. One Feast online read, no lake."""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from aigq import features
from aigq.settings import Home, UserError
from inference.u2q import parse_moment

_LIST_SHOWN = 10
_BEHAVIORS_SHOWN = 10


@dataclass(frozen=True)
class Hints:
    """``source``: ``u2q``, or ``popular`` with ``reason``.

    ``reason``: ``no_list``, or ``unknown_user`` where there are no behaviours either (a profile
    alone is not seen: the one online read does not ask for it).
    ``queries``: the ranked list, best first, filled up with popular ones where the user's own is
    short; the first ``own`` of them are the user's. ``behaviors``: (when, action, text), newest
    first.
    """

    user_id: str
    source: str
    reason: str | None
    queries: list[str]
    own: int
    behaviors: list[tuple[datetime, str, str]]
    model_version: str | None
    listed_for: datetime | None
    clock: datetime | None


@click.command("hints")
@click.argument("user_id")
@click.option(
    "--count",
    type=click.IntRange(min=1, max=_LIST_SHOWN),
    default=3,
    show_default=True,
    help="Hints that are displayed.",
)
@click.option(
    "--now",
    metavar="TIME",
    help="Ages are counted from this moment, ISO 8601. [default: the newest time there is]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(user_id: str, count: int, now: str | None, as_json: bool) -> None:
    """Show the hints USER_ID would see, beside the user's recent behaviours."""
    moment = parse_moment(now) if now else None
    store = features.open_store(Home.from_environment())
    start = time.perf_counter()
    row = read(store, user_id)
    milliseconds = 1000 * (time.perf_counter() - start)
    hints = recall(user_id, row)
    if not hints.queries:
        raise UserError(
            "the online store holds no popular queries: run `feast materialize` (README)"
        )
    if as_json:
        out = asdict(hints) | {"displayed": hints.queries[:count], "read_ms": milliseconds}
        click.echo(json.dumps(out, default=str, ensure_ascii=False))
        return
    click.echo(_page(hints, count, moment, milliseconds))


def read(store: Any, user_id: str) -> dict[str, Any]:
    """The one online read of a hint request."""
    return features.read_online(
        store, "hint_recall", {"user_id": user_id, "surface": features.SURFACE}
    )


def recall(user_id: str, row: dict[str, Any]) -> Hints:
    """The ranked list in a row of ``hint_recall``: the user's own, then popular ones."""
    times = row["user_behaviors__occurred_at_us"] or []
    behaviors = [
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us), action, text)
        for us, action, text in zip(
            times,
            row["user_behaviors__actions"] or [],
            row["user_behaviors__content_texts"] or [],
            strict=True,
        )
    ]
    own = list(row["u2q__queries"] or [])
    popular = [q for q in row["popular_queries__queries"] or [] if q not in own]
    reason = None
    if not own:
        reason = "no_list" if behaviors else "unknown_user"
    stamps = [value for name, value in row.items() if name.endswith("__ts") and value]
    return Hints(
        user_id=user_id,
        source="popular" if reason else "u2q",
        reason=reason,
        queries=own + popular[: max(0, _LIST_SHOWN - len(own))],
        own=len(own),
        behaviors=behaviors[::-1],
        model_version=row["u2q__model_version"] if own else None,
        listed_for=row["u2q__queries__ts"] if own else None,
        clock=max(stamps, default=None),
    )


def _page(hints: Hints, count: int, now: datetime | None, milliseconds: float) -> str:
    now = now or hints.clock
    lines = [f"user {hints.user_id}, as of {now:%Y-%m-%d %H:%M UTC}", ""]
    if hints.behaviors:
        shown = hints.behaviors[:_BEHAVIORS_SHOWN]
        lines.append(f"recent behaviours (newest {len(shown)} of {len(hints.behaviors)}):")
        for when, action, text in shown:
            lines.append(f"  {when:%Y-%m-%d %H:%M}  {_age(now - when):>11}  {action:<10}  {text}")
    else:
        lines.append("no behaviours known")
    lines.append("")
    if hints.reason == "unknown_user":
        lines.append(
            "hints: no list and no behaviours for this user (unknown to hint recall), so these are"
            " the popular queries"
        )
    elif hints.reason == "no_list":
        lines.append("hints: no list was generated for this user, so these are the popular queries")
    else:
        lines.append(
            f"hints: written by {hints.model_version} as of {hints.listed_for:%Y-%m-%d %H:%M UTC}"
        )
    for place, query in enumerate(hints.queries[:_LIST_SHOWN], start=1):
        filled = "  (popular)" if hints.source == "u2q" and place > hints.own else ""
        lines.append(f"  {'*' if place <= count else ' '} {place:>2}  {query}{filled}")
    lines += ["", f"* displayed; one online read took {milliseconds:.1f} ms"]
    return "\n".join(lines)


def _age(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 0:
        return "later"
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= size:
            number = minutes // size
            return f"{number} {unit}{'s' if number != 1 else ''} ago"
    return "just now"
