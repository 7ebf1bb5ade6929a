"""Teachers write what the labels of Think need: candidates, judgements, rationales (AIGQ §2-3).

``rules``         co-search statistics and sentence embeddings (:mod:`inference.teacher.rules`).
``vllm``          a checkpoint on this machine (:mod:`inference.teacher.local`).
``http://...``    an OpenAI-compatible server (:mod:`inference.teacher.server`).

A task (:mod:`inference.teacher.tasks`) says what is asked, in which JSON schema, and what counts as
an answer; every teacher's answer passes the same checks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb

from aigq.context import PROFILE_FIELDS


@dataclass(frozen=True)
class Evidence:
    """A behaviour before the session: whole days before it, action, content."""

    days_ago: int
    action: str
    content_text: str
    content_key: str


@dataclass(frozen=True)
class Session:
    """What a task reads of a Think session. ``behaviors``: strictly before it, oldest first.

    ``queries``: the candidates to judge or the labels to explain, best first; none where the task
    is to propose them. ``acts``: what the shopper searched or clicked in the session, where that
    is for the task to know. ``input_key``: the same while all of this is; ``behaviors_key``: while
    the behaviours are.
    """

    session_id: str
    input_key: str
    behaviors_key: str
    profile: tuple[str | None, ...]
    behaviors: tuple[Evidence, ...]
    queries: tuple[str, ...] = ()
    acts: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Session":
        """From a row with profile columns, ``behaviors`` as in samples_think and ``queries``."""
        return cls(
            row["session_id"],
            row["input_key"],
            row["behaviors_key"],
            tuple(row[name] for name in PROFILE_FIELDS),
            tuple(Evidence(**behavior) for behavior in row["behaviors"]),
            tuple(row["queries"]),
            tuple(row["acts"]),
        )


@dataclass(frozen=True)
class Answer:
    """Rows for the task's table, without session and run; or why there is no valid answer."""

    rows: list[dict[str, Any]] | None
    error: str | None = None


class Teacher(Protocol):
    """``name`` and ``version(task)`` say who answered, in think.teacher_inputs; ``chunk`` sessions
    are asked about and committed together."""

    name: str
    chunk: int

    def version(self, task: Any) -> str:
        """Version of the prompt, or of the rules."""

    def start(self, task: Any, con: duckdb.DuckDBPyConnection) -> None:
        """Get ready for the sessions in the temporary table ``pending`` of ``con``, whose ``lake``
        is at the run's snapshot."""

    def answer(self, task: Any, sessions: Sequence[Session]) -> list[Answer]:
        """One answer per session, in order; each session has what ``task.is_asked`` wants."""

    def metrics(self) -> dict[str, Any]:
        """What answering took, for the run's metrics."""

    def close(self) -> None:
        """Release processes and memory."""
