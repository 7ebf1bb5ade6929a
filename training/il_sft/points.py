"""Interest points of a Think sample: the teacher's rationales against labels and prompt (eq. 7-8).

The rule. Target queries are those of a session's rationales that are among its labels, each in the
first point (by ``point_index``) that holds it. Points stand in the order of their best label, the
queries inside a point in the order of the labels, its triggers in that of time. Triggers number the
lines of the prompt: a point with one whose behaviour is not in it, because the context was cut, is
dropped. Its rationale may name that behaviour, and would teach to make up what cannot be seen.
"""

from collections import Counter
from typing import NamedTuple

from aigq.settings import UserError
from aigq.text import flat
from aigq.think import InterestPoint, point_fault

# What is left out, in the counts of a training run.
COUNTED = (
    "points_without_label",
    "points_without_trigger",
    "points_not_shown",
    "points_unwritable",
    "labels_without_point",
)


class Shown(NamedTuple):
    """Which behaviours a prompt shows: of the oldest ``before_cut`` the newest ``kept``."""

    before_cut: int
    kept: int

    def line(self, behavior: int) -> int | None:
        """The prompt's line (from 1) of behaviour number ``behavior`` (from 1, oldest first)."""
        line = behavior - (self.before_cut - self.kept)
        return line if 1 <= line <= self.kept else None


def interest_points(row: dict, shown: Shown, counts: Counter[str]) -> list[InterestPoint]:
    """The points of a sample's target, by the module's rule; what is left out is counted.

    ``row``: ``behaviors``, ``labels`` in target order, ``points`` as in think.rationales. Raises
    :class:`UserError` for a trigger that is no number of a behaviour: these rationales were written
    for other contexts.
    """
    places = {query: place for place, query in enumerate(row["labels"])}
    found: list[tuple[int, InterestPoint]] = []
    taken: set[str] = set()
    for point in row["points"]:
        _refuse_bad_triggers(row, point)
        queries = [q for q in dict.fromkeys(point["queries"]) if q in places and q not in taken]
        if not queries:
            counts["points_without_label"] += 1
            continue
        lines = [shown.line(trigger) for trigger in sorted(set(point["triggers"] or ()))]
        if not lines or None in lines:
            counts["points_not_shown" if lines else "points_without_trigger"] += 1
            continue
        queries.sort(key=places.__getitem__)
        written = InterestPoint(tuple(lines), tuple(queries), flat(point["rationale"] or ""))
        if point_fault(written, behaviors=shown.kept):
            counts["points_unwritable"] += 1
            continue
        taken.update(queries)
        found.append((places[queries[0]], written))
    counts["labels_without_point"] += len(places) - len(taken)
    return [point for _, point in sorted(found, key=lambda entry: entry[0])]


def _refuse_bad_triggers(row: dict, point: dict) -> None:
    behaviors = len(row["behaviors"] or ())
    for trigger in point["triggers"] or ():
        if trigger is None or not 1 <= trigger <= behaviors:
            raise UserError(
                f"think.rationales: session {row['session_id']}, point {point['point_index']} has"
                f" trigger {trigger}, but its sample has behaviours 1 to {behaviors}: these"
                " rationales were not written for this context"
            )
