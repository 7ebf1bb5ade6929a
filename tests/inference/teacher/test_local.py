"""Guided decoding: a model that knows nothing still answers in the schema."""

import json
import shutil

import pytest
from jsonschema import Draft202012Validator

from aigq.settings import UserError
from inference.teacher import Answer, Evidence, Session
from inference.teacher.llm import LlmTeacher, Question
from inference.teacher.local import VllmBackend
from inference.teacher.tasks import ALIGNMENTS, CANDIDATES, RATIONALES

pytestmark = pytest.mark.torch

SESSIONS = [
    Session(
        f"u{n}:2026-03-03",
        "key",
        "behaviors",
        ("25-34", None, None),
        tuple(Evidence(2, "search", f"red shoes {i}", f"query:{i}") for i in range(n)),
        # So few that the longest answer, four bytes a character and a token a byte, has room.
        tuple(f"blue lamp {i}" for i in range(min(n, 2))),
    )
    for n in (1, 3)
]


@pytest.fixture
def roomy_checkpoint(tiny_checkpoint, tmp_path):
    """The tiny model, with room for a question."""
    path = tmp_path / "roomy"
    shutil.copytree(tiny_checkpoint, path)
    config = json.loads((path / "config.json").read_text())
    config["max_position_embeddings"] = 8192
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_the_model_says_follows_the_schema(roomy_checkpoint, home):
    pytest.importorskip("vllm")
    backend = VllmBackend(home, str(roomy_checkpoint))
    teacher = LlmTeacher(backend)
    try:
        teacher.start(CANDIDATES, None)
        for task in (CANDIDATES, ALIGNMENTS, RATIONALES):
            questions = [
                Question(task.instruction, task.question(s), task.schema(s)) for s in SESSIONS
            ]
            # Greedy, then drawn.
            for attempt in (0, 1):
                for question, reply in zip(questions, backend.ask(questions, attempt), strict=True):
                    assert reply.error is None, reply
                    Draft202012Validator(question.schema).validate(json.loads(reply.text))
                    assert reply.text == json.dumps(
                        json.loads(reply.text), separators=(",", ":"), ensure_ascii=False
                    )
            answers = teacher.answer(task, SESSIONS)
            assert all(isinstance(answer, Answer) for answer in answers)
        assert backend.usage.completion_tokens > 0
    finally:
        teacher.close()


def test_a_folder_without_a_checkpoint_is_named(home, tmp_path):
    with pytest.raises(UserError, match=r"holds no checkpoint: it has no config\.json"):
        VllmBackend(home, str(tmp_path))
    with pytest.raises(UserError, match="no model 'nobody'"):
        VllmBackend(home, "nobody")
