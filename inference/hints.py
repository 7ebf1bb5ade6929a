"""``aigq hints USER_ID``: the hints a request would show, and why. The online store, no lake.

    aigq hints u0000007
    aigq hints u0000007 --clicked i0000123    # right after a click on this item

The list that was made for the user (u2q), the queries that the user's freshest behaviours lead to
(x2q) and popular ones are merged, each query once, and ranked by predicted click probability where
a ``ctr`` model is published. Without one they stay in that order: u2q, x2q by score, popular.
"""

import json
import shutil
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import click
from rich.cells import cell_len, set_cell_size

from aigq.settings import Home, UserError
from inference.serve.chain import LENGTH, HintChain, Hints
from inference.serve.recall import SOURCES, Candidate, Recalled, Request
from inference.u2q import parse_moment

_BEHAVIORS_SHOWN = 10
_WIDTH = 100
_HINT_WIDTH = 36


@click.command("hints")
@click.argument("user_id")
@click.option(
    "--clicked",
    metavar="ITEM_ID",
    help="As right after a click on this item, which no build has seen yet.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1, max=LENGTH),
    default=3,
    show_default=True,
    help="Hints that are displayed.",
)
@click.option(
    "--now",
    metavar="TIME",
    help="The moment of the request, ISO 8601: only behaviours before it are seen, and no list"
    " written for a later one. What is popular, and what triggers lead to, is as of now. [default:"
    " the newest time there is]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(user_id: str, clicked: str | None, count: int, now: str | None, as_json: bool) -> None:
    """Show the hints USER_ID would see, where each comes from, and the user's recent behaviours."""
    moment = parse_moment(now) if now else None
    home = Home.from_environment()
    hints = HintChain.open(home)(Request(user_id, clicked, moment))
    if not hints.recalled.lists["popular"]:
        raise UserError(
            "the online store holds no popular queries: run `feast materialize` (README)"
        )
    if clicked is not None and hints.recalled.clicked_text is None:
        raise UserError(
            f"--clicked: the online store knows no item {clicked!r}; items are there after"
            " `dbt build` and `feast materialize`"
        )
    if as_json:
        click.echo(json.dumps(report(hints, count), default=str, ensure_ascii=False))
        return
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    click.echo("\n".join(line.rstrip() for line in page(hints, count, width)))


def report(hints: Hints, count: int) -> dict[str, Any]:
    """What the page shows, whole, for programs. ``count``: hints that are displayed."""
    recalled = hints.recalled
    return {
        "user_id": recalled.user_id,
        "now": recalled.now,
        "is_known": recalled.is_known,
        "displayed": [c.query for c in hints.ranked[:count]],
        "hints": [
            {
                "query": c.query,
                "sources": c.sources,
                "p_click": c.p_click,
                "why": asdict(c.why) if c.why else None,
            }
            for c in hints.ranked
        ],
        "behaviors": [asdict(b) for b in reversed(recalled.behaviors)],
        "later_behaviors": recalled.later,
        "clicked": recalled.clicked,
        "recalled": {source: len(recalled.lists[source]) for source in SOURCES},
        "distinct": hints.distinct,
        "triggers": recalled.triggers,
        "stale_triggers": recalled.stale,
        "list_version": recalled.list_version,
        "listed_for": recalled.listed_for,
        "ctr_version": hints.ctr_version,
        "step_ms": hints.step_ms,
    }


def page(hints: Hints, count: int, width: int) -> list[str]:
    """What the command shows, as lines of at most ``width`` terminal cells."""
    recalled = hints.recalled
    lines = [f"user {recalled.user_id}, as of {recalled.now:%Y-%m-%d %H:%M UTC}", ""]
    lines += [*_behavior_lines(recalled), "", *_hint_lines(hints, count), ""]
    milliseconds = ", ".join(f"{name} {value:.1f}" for name, value in hints.step_ms.items())
    lines.append(f"* displayed; milliseconds: {milliseconds}")
    return [_cut(line, width) for line in lines]


def _behavior_lines(recalled: Recalled) -> list[str]:
    if not recalled.behaviors and recalled.later:
        return [
            f"no behaviours known before that: the online store has the newest {recalled.later}"
        ]
    if not recalled.behaviors:
        return ["no behaviours known"]
    newest = recalled.behaviors[: -_BEHAVIORS_SHOWN - 1 : -1]
    lines = [f"recent behaviours (newest {len(newest)} of {len(recalled.behaviors)}):"]
    for place, b in enumerate(newest):
        is_click = place == 0 and recalled.clicked is not None
        age = "--clicked" if is_click else _age(recalled.now - b.when)
        lines.append(f"  {b.when:%Y-%m-%d %H:%M}  {age:>14}  {b.action:<10}  {b.text}")
    return lines


def _hint_lines(hints: Hints, count: int) -> list[str]:
    recalled = hints.recalled
    version = hints.ctr_version
    order = f"ranked by ctr@{version}" if version else "by source: no ctr model is published"
    lines = [f"hints, {order}", *_recall_lines(recalled), ""]
    width = min(_HINT_WIDTH, max(cell_len(c.query) for c in hints.ranked))
    sources = ["+".join(c.sources) for c in hints.ranked]
    source_width = max(map(len, ["source", *sources]))
    p_click = "p(click)  " if version else ""
    lines.append(f"        {'hint':<{width}}  {p_click}{'source':<{source_width}}  from")
    for place, candidate in enumerate(hints.ranked, start=1):
        hint = set_cell_size(_cut(candidate.query, width), width)
        p_click = f"{candidate.p_click:>8.2%}  " if version else ""
        source = f"{sources[place - 1]:<{source_width}}"
        mark = "*" if place <= count else " "
        trigger = _trigger(recalled, candidate)
        lines.append(f"  {mark} {place:>2}  {hint}  {p_click}{source}  {trigger}")
        if candidate.why and candidate.why.rationale:
            lines.append(f"          why: {candidate.why.rationale}")
    return lines


def _recall_lines(recalled: Recalled) -> list[str]:
    """What each source had, a line each."""
    u2q, x2q, popular = (len(recalled.lists[source]) for source in SOURCES)
    if u2q:
        listed = f"written by {recalled.list_version} as of {recalled.listed_for:%Y-%m-%d %H:%M}"
    elif recalled.listed_for is not None and recalled.listed_for > recalled.now:
        listed = f"left out: written as of {recalled.listed_for:%Y-%m-%d %H:%M}, after this moment"
    elif recalled.is_known:
        listed = "no list was generated for this user"
    else:
        listed = "no list; the online store knows nothing of this user"
    used = {c.why.trigger for c in recalled.lists["x2q"]}
    stale = f"; {len(recalled.stale)} left out, no longer in the index" if recalled.stale else ""
    led = f"{len(used)} of {len(recalled.triggers)} triggers lead somewhere{stale}"
    return [
        f"  u2q      {u2q:>3}  {listed}",
        f"  x2q      {x2q:>3}  {led if recalled.triggers else 'no triggers without behaviours'}",
        f"  popular  {popular:>3}",
    ]


def _trigger(recalled: Recalled, candidate: Candidate) -> str:
    if candidate.why is None:
        return ""
    kind = candidate.why.trigger.partition(":")[0]
    if candidate.why.trigger == f"item:{recalled.clicked}":
        kind = "clicked"
    return f"{kind} {candidate.why.trigger_text}"


def _cut(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells of a terminal, where many characters take two."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _age(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= size:
            number = minutes // size
            return f"{number} {unit}{'s' if number != 1 else ''} ago"
    return "just now"
