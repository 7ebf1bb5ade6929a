"""Think models at work: what the engine writes is read by the Think grammar, and triggers lead back
to the behaviours that the prompt showed."""

import json
import shutil

import pytest

from aigq import models
from aigq.context import Behavior, Context
from aigq.settings import UserError
from inference import list_model
from inference.direct import DirectModel
from inference.engines import Completion
from inference.list_model import open_list_model
from inference.think import ThinkModel, shown_index

CONTEXT = Context(
    ("25-34", None, None),
    tuple(Behavior(9 - i, "search", f"thing number {i}") for i in range(8)),
)
WRITTEN = "1|Likes things.\n2|Needs tea.\n\n1|1,2\tthing 9\tbig thing\n2|2\ttea\tthing 9"


class Scripted:
    """An engine that answers every prompt alike, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, completion):
        self.completion = completion
        self.requests = []

    def generate(self, requests, sampling):
        self.requests += requests
        return [self.completion] * len(requests)

    def close(self):
        pass


@pytest.fixture
def engine(monkeypatch):
    engine = Scripted(Completion(WRITTEN, True, 9))
    monkeypatch.setattr(list_model, "open_engine", lambda *_a, **_k: engine)
    return engine


@pytest.fixture
def publish_think(publish_tiny):
    """``publish_think(home, **settings)``: the tiny checkpoint under a Think model's manifest."""

    def publish(home, **settings):
        direct = publish_tiny(home, version="source", **settings)
        target = home.models / "think" / "v1"
        target.parent.mkdir()
        shutil.move(direct.path, target)
        manifest = json.loads((target / "manifest.json").read_text())
        manifest |= {"name": "think", "version": "v1", "variant": "think"}
        (target / "manifest.json").write_text(json.dumps(manifest))
        return models.resolve(home, "think")

    return publish


def test_points_and_what_the_prompt_showed(home, publish_think, engine):
    model = open_list_model(publish_think(home, max_prompt_tokens=70), "vllm", None)
    assert isinstance(model, ThinkModel)
    with model:
        ((parsed,), (again, _)) = model.generate([CONTEXT, Context()], [[None], [None, 1]])
    assert parsed.error is None
    assert [p.triggers for p in parsed.points] == [(1, 2), (2,)]
    assert parsed.queries == ("thing 9", "big thing", "tea")
    assert again.error == "no_behaviors"
    kept, none = model.kept
    assert 2 <= kept < 8 and none == 0
    shown = [CONTEXT.behaviors[shown_index(t, behaviors=8, kept=kept)] for t in range(1, kept + 1)]
    assert shown == list(CONTEXT.behaviors[-kept:])
    prompt = model._tokenizer.decode(engine.requests[0].prompt)
    assert f"1|<{shown[0].days_ago}_day_ago>" in prompt and prompt.endswith("<interests>")
    metrics = model.tally.metrics()
    assert metrics["malformed"] == {"no_behaviors": 2}
    assert (metrics["prompts"], metrics["prompts_cut"], metrics["lists"]) == (2, 1, 3)
    assert metrics["duplicates"] == 1
    assert "50.0% of 2 prompts cut" in model.tally.summary()


def test_each_variant_has_its_own_class(home, publish_tiny, publish_think):
    think = publish_think(home)
    direct = publish_tiny(home)
    assert isinstance(open_list_model(direct, "vllm", None), DirectModel)
    with pytest.raises(
        UserError, match=r"think@v1 is of variant 'think', but this needs .*'direct'"
    ):
        DirectModel(think, "vllm", None)
    with pytest.raises(UserError, match="direct@v1 is of variant 'direct'"):
        ThinkModel(direct, "vllm", None)


def test_lists_for_evaluation(shop, publish_think, engine, aigq, rows_of):
    publish_think(shop)
    result = aigq("generate", "lists", "--model", "think", "--lists", "2", "--instances", "3")
    assert "lists generated" in result.output
    rows = rows_of(shop, "SELECT * FROM lake.eval.generated_lists ORDER BY instance_id, list_index,"
                   " position")  # fmt: skip
    draws = rows_of(shop, "SELECT error FROM lake.eval.list_draws WHERE model = 'think'")
    assert len(draws) == 6
    assert {row["model"] for row in rows} == {"think"}
    sound = [draw for draw in draws if draw["error"] is None]
    assert sound
    assert [row["query_text"] for row in rows] == ["thing 9", "big thing", "tea"] * len(sound)


def test_nearline_lists_are_directs(shop, publish_think, aigq):
    publish_think(shop)
    result = aigq("generate", "u2q", "--all", "--model", "think", code=1)
    assert "is of variant 'think'" in result.output
