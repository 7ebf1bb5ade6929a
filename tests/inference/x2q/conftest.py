"""A Think model that writes what it is told."""

import json

import pytest

from aigq import models
from inference.engines import Completion


class Scripted:
    """An engine that writes ``answer(prompt)``; ``prompts``: the texts it was given."""

    name = "scripted"

    def __init__(self, answer, tokenizer):
        self._answer, self._tokenizer = answer, tokenizer
        self.prompts = []

    def generate(self, requests, _sampling):
        found = []
        for request in requests:
            self.prompts.append(self._tokenizer.decode(request.prompt))
            found.append(Completion(*self._answer(self.prompts[-1]), 7))
        return found

    def close(self):
        pass


@pytest.fixture
def script(monkeypatch):
    """``script(answer)``: from now on engines write ``answer(prompt)``, text and whether it ended
    by itself; returns a list of those that have started."""

    def install(answer):
        started = []

        def open_engine(_name, _path, tokenizer, **_options):
            started.append(Scripted(answer, tokenizer))
            return started[-1]

        monkeypatch.setattr("inference.list_model.open_engine", open_engine)
        return started

    return install


@pytest.fixture
def publish_think(publish_tiny):
    """``publish_think(home, version="t1", **settings)``: the tiny checkpoint as model ``think``,
    with room for a whole context of the served shop."""

    def publish(home, version="t1", **settings):
        direct = publish_tiny(home, version, **{"max_prompt_tokens": 400} | settings)
        manifest = direct.manifest | {"name": "think", "variant": "think"}
        (direct.path / "manifest.json").write_text(json.dumps(manifest))
        target = home.models / "think" / version
        target.parent.mkdir(exist_ok=True)
        direct.path.rename(target)
        return models.Model("think", version, target)

    return publish


@pytest.fixture
def shop(shop, publish_think):
    """The served shop with a Think model, and without what Think had said there."""
    from aigq import warehouse

    publish_think(shop)

    def forget(con):
        for table in ("x2q_triples", "x2q_scores"):
            con.execute(f"DELETE FROM lake.serving.{table}")

    warehouse.write(shop, forget)
    return shop
