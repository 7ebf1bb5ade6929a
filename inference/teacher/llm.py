"""A language model as the teacher: ask, check, ask again."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from inference.teacher import Answer, Session
from inference.teacher.tasks import InvalidAnswer, Task

ATTEMPTS = 3


@dataclass(frozen=True)
class Question:
    """``instruction`` and ``content`` for the model, the ``schema`` its answer has to follow."""

    instruction: str
    content: str
    schema: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """The model's text, or the class of ``error`` that stood in its place."""

    text: str = ""
    error: str | None = None


@dataclass
class Usage:
    """Tokens in and out, for the run's metrics."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Backend(Protocol):
    """Where the model runs. ``name`` says which model it is."""

    name: str
    usage: Usage
    # Seconds before the first repetition; twice as long before the next.
    pause: float

    def start(self) -> None:
        """Start the model, where that is ours to do."""

    def ask(self, questions: Sequence[Question], attempt: int) -> list[Reply]:
        """One reply per question. ``attempt`` 0 is greedy, later ones are sampled with it as the
        seed: what a model says greedily it says again."""

    def close(self) -> None:
        """Release processes and memory."""


@dataclass
class LlmTeacher:
    """Asks ``backend`` and checks what it says; an invalid answer is asked for again, twice."""

    backend: Backend
    retries: Counter[str] = field(default_factory=Counter)
    # What a kill may lose, and what one session's long answer may keep waiting.
    chunk: int = 128

    @property
    def name(self) -> str:
        return self.backend.name

    def version(self, task: Task) -> str:
        return task.prompt_version

    def start(self, task: Task, con: Any) -> None:
        self.backend.start()

    def answer(self, task: Task, sessions: Sequence[Session]) -> list[Answer]:
        """See :class:`inference.teacher.Teacher`."""
        answers: dict[int, Answer] = {}
        for attempt in range(ATTEMPTS):
            open_ = [i for i in range(len(sessions)) if i not in answers or answers[i].error]
            if not open_:
                break
            if attempt:
                self.retries.update(answers[i].error for i in open_)
                time.sleep(self.backend.pause * 2 ** (attempt - 1))
            questions = [
                Question(task.instruction, task.question(sessions[i]), task.schema(sessions[i]))
                for i in open_
            ]
            for i, reply in zip(open_, self.backend.ask(questions, attempt), strict=True):
                answers[i] = _checked(task, sessions[i], reply)
        return [answers[i] for i in range(len(sessions))]

    def metrics(self) -> dict[str, Any]:
        """Tokens, and answers asked for again by what was wrong with them."""
        return {**vars(self.backend.usage), "retries": dict(sorted(self.retries.items()))}

    def close(self) -> None:
        self.backend.close()


def _checked(task: Task, session: Session, reply: Reply) -> Answer:
    if reply.error:
        return Answer(None, reply.error)
    try:
        return Answer(task.parse(session, reply.text))
    except InvalidAnswer as invalid:
        return Answer(None, invalid.error)
