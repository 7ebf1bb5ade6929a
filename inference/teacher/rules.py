"""The teacher that is always at hand: co-search statistics and sentence embeddings, no model.

Nearness of two contents is the greater of two cosines (:class:`inference.teacher.affinity`).

- candidates: queries near to what the shopper did, newer behaviours counting more, of those
  searched twice or more on training days and not by the shopper before;
- alignments: kept where the nearest of the behaviours and of what the shopper searched or clicked
  in the session is at least ALIGNED near;
- rationales: behaviours in clusters (average linkage, cut at CLUSTERED); each label goes to the
  cluster with the behaviour nearest to it, if that is ALIGNED near, else it stays unexplained.

The two thresholds were set on training days of the simulated shop; docs/teacher.md says how.
Statistics are of all training days, the session's own included: they make labels, and labels are of
that day, too. Nothing of them reaches a context.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage

from aigq.settings import Home
from inference.teacher import Answer, Evidence, Session
from inference.teacher.affinity import Affinities
from inference.teacher.tasks import (
    ALIGNMENTS,
    CANDIDATES,
    MAX_CANDIDATES,
    MAX_RATIONALE,
    MAX_REASON,
    Task,
    is_text,
)

ALIGNED = 0.5
CLUSTERED = 0.45
_VERSION = "rules-1"
_LEAST_SEARCHES = 2
_NEAREST_QUERIES = 5
_DAYS_TO_HALF = 7
_MAX_TRIGGERS = 5
_DONE = {
    "search": "searched",
    "item_click": "clicked",
    "cart": "put in the cart",
    "order": "ordered",
}
_CONTENT_WORDS = 8


class RulesTeacher:
    """See the module's docstring."""

    name = "rules"
    chunk = 2048

    def __init__(self, home: Home):
        self._home = home

    def version(self, task: Task) -> str:
        return _VERSION

    def start(self, task: Task, con: Any) -> None:
        self._near = Affinities(con, self._home)
        if task == CANDIDATES:
            self._proposed, self._known = self._near.proposals(
                con, least_searches=_LEAST_SEARCHES, per_content=_NEAREST_QUERIES, floor=ALIGNED
            )

    def answer(self, task: Task, sessions: Sequence[Session]) -> list[Answer]:
        """See :class:`inference.teacher.Teacher`."""
        if task == CANDIDATES:
            values = self._candidates(sessions)
        elif task == ALIGNMENTS:
            values = [self._judgements(session) for session in sessions]
        else:
            values = [self._points(session) for session in sessions]
        return [
            Answer(task.rows(session, value))
            for session, value in zip(sessions, values, strict=True)
        ]

    def metrics(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing to release."""

    def _candidates(self, sessions: Sequence[Session]) -> list[dict[str, Any]]:
        if not sessions or not self._known:
            return [{"queries": []} for _ in sessions]
        columns = [self._near.rows(contents(s.behaviors)) for s in sessions]
        rows = np.repeat(np.arange(len(sessions)), [len(c) for c in columns])
        days = np.array([b.days_ago for s in sessions for b in s.behaviors], dtype=float)
        recency = sparse.csr_array(
            (1 / (1 + days / _DAYS_TO_HALF), (rows, np.concatenate(columns))),
            (len(sessions), self._proposed.shape[0]),
        )
        scores = sparse.csr_array(recency @ self._proposed)
        column = {query: i for i, query in enumerate(self._known)}
        found = []
        for row, session in enumerate(sessions):
            span = slice(scores.indptr[row], scores.indptr[row + 1])
            of_row = dict(zip(scores.indices[span].tolist(), scores.data[span], strict=True))
            for b in session.behaviors:
                of_row.pop(column.get(b.content_key.removeprefix("query:")), None)
            best = sorted(of_row.items(), key=lambda scored: (-scored[1], scored[0]))
            queries = [self._known[i] for i, score in best[:MAX_CANDIDATES] if score > 0]
            found.append({"queries": queries})
        return found

    def _judgements(self, session: Session) -> dict[str, Any]:
        evidence = [*contents(session.behaviors), *map(_of_query, session.acts)]
        nearness = self._near.between(
            self._near.rows([_of_query(query) for query in session.queries]),
            self._near.rows(evidence),
        )
        judgements = []
        for number, row in enumerate(nearness, start=1):
            best = int(row.argmax())
            reason = f"{row[best]:.2f} near to {shortened(evidence[best][1])}"
            judgements.append(
                {
                    "candidate": number,
                    "keep": bool(row[best] >= ALIGNED),
                    "reason": reason[:MAX_REASON],
                }
            )
        return {"judgements": judgements}

    def _points(self, session: Session) -> dict[str, Any]:
        # A content done several times is one member, its newest time.
        newest = {content: i for i, content in enumerate(contents(session.behaviors))}
        members = np.array(sorted(newest.values()))
        rows = self._near.rows(contents([session.behaviors[i] for i in members]))
        cluster = clusters(self._near.between(rows, rows))
        nearness = self._near.between(
            self._near.rows([_of_query(query) for query in session.queries]), rows
        )
        labels_of: dict[int, list[int]] = {}
        for label, row in enumerate(nearness):
            if row.max() >= ALIGNED:
                labels_of.setdefault(int(cluster[row.argmax()]), []).append(label)
        points = []
        for number, labels in labels_of.items():
            inside = np.flatnonzero(cluster == number)
            strength = nearness[np.ix_(labels, inside)].max(axis=0)
            order = sorted(range(len(inside)), key=lambda i: (-strength[i], -inside[i]))
            triggers = [
                int(members[inside[i]]) for i in order[:_MAX_TRIGGERS] if strength[i] >= ALIGNED
            ]
            points.append(
                {
                    "rationale": sentence(
                        [session.behaviors[i] for i in triggers],
                        [session.queries[label] for label in labels],
                    ),
                    "triggers": sorted(i + 1 for i in triggers),
                    "queries": [label + 1 for label in labels],
                }
            )
        return {"points": points}


def contents(behaviors: Sequence[Evidence]) -> list[tuple[str, str]]:
    """Key and text of each behaviour's content."""
    return [(b.content_key, b.content_text) for b in behaviors]


def _of_query(query: str) -> tuple[str, str]:
    return f"query:{query}", query


def clusters(nearness: np.ndarray) -> np.ndarray:
    """Cluster number of each of N contents, from their (N, N) nearness: average linkage, cut where
    clusters are less than CLUSTERED near."""
    count = len(nearness)
    if count == 1:
        return np.ones(1, dtype=int)
    distance = np.clip(1 - nearness[np.triu_indices(count, 1)], 0, None)
    return fcluster(linkage(distance, "average"), 1 - CLUSTERED, "distance")


def sentence(triggers: Sequence[Evidence], queries: Sequence[str]) -> str:
    """The rationale: what was done, strongest first, and what it makes likely."""
    named = [f"{_DONE[b.action]} {shortened(b.content_text)}" for b in triggers[:2]]
    rest = len(triggers) - len(named)
    did = " and ".join(named) + (f" (and {rest} more)" if rest else "")
    return f"{did[0].upper()}{did[1:]}: may look for {', '.join(map(shortened, queries[:3]))}"[
        :MAX_RATIONALE
    ]


def shortened(text: str) -> str:
    """The first words of a content, without what is no text."""
    words = "".join(c for c in text if is_text(c) or c.isspace()).split()
    return " ".join(words[:_CONTENT_WORDS])
