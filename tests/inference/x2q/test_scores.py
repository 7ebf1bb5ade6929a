"""Relevance and predicted CTR of what Think proposed: by hand, and only what is missing."""

import json
import random

import numpy as np
import pytest

from aigq import models, warehouse
from aigq.context import Behavior
from inference.x2q import scores

SCORES = "FROM serving.x2q_scores ORDER BY run_id, trigger, query_text"
GENERATE = ("generate", "x2q_scores")

# Unit vectors at these angles (degrees); their cosines are easy to tell.
ANGLES = {"kettle": 0, "tea pot": 60, "tea is brewed": 0, "boats float": 180, "sail": 180}


class Embedder:
    def __init__(self, angles=None):
        self.angles, self.texts = angles, []

    def __call__(self, texts, **_):
        self.texts += texts
        if self.angles is not None:
            radians = np.radians([self.angles[text] for text in texts])
            return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)
        draws = [random.Random(text).random() for text in texts]
        return np.array([[1 - d, (1 - (1 - d) ** 2) ** 0.5] for d in draws], dtype=np.float32)


class Scorer:
    """Longer queries are likelier; remembers the contexts."""

    def __init__(self):
        self.contexts = []

    def score(self, contexts, queries):
        self.contexts += contexts
        return [np.array([len(q) / 100 for q in of], dtype=np.float32) for of in queries]


@pytest.fixture
def embedder(monkeypatch):
    def install(angles=None):
        embed = Embedder(angles)
        monkeypatch.setattr("aigq.embeddings.embed", embed)
        return embed

    return install


@pytest.fixture
def publish_ctr(monkeypatch):
    """``publish_ctr(home, version)``: a CTR model named so is there, and is a :class:`Scorer`."""

    def publish(home, version):
        folder = home.models / "ctr" / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        scorer = Scorer()
        loaded = []

        def load(_home, model: models.Model):
            loaded.append(model.version)
            return scorer

        monkeypatch.setattr("inference.x2q.scores._load", load)
        return scorer, loaded

    return publish


def propose(home, *triples, run_id="20260306T100000-x2q"):
    """Rows of (session, index, triggers, queries, rationale)."""

    def insert(con):
        for session, index, triggers, queries, rationale in triples:
            con.execute(
                "INSERT INTO lake.serving.x2q_triples VALUES (?, ?, ?, ?, ?, ?, 't1')",
                [run_id, session, index, triggers, rationale, queries],
            )

    warehouse.write(home, insert)


@pytest.mark.parametrize(
    ("row", "relevance"),
    [
        # cos 60° = 1/2; cos 60° again by the rationale; 1 of 1 point: 1/2.
        (("kettle", "tea pot", ["tea is brewed"], 1, 1), (0.5 + 0.5 + 0.5) / 3),
        # Two reasons, cosines 1/2 and -1/2, which counts as 0; 2 of 3 points.
        (("kettle", "tea pot", ["tea is brewed", "boats float"], 2, 3), (0.5 + 0.25 + 0.5) / 3),
        # Nothing in common, and nothing said.
        (("kettle", "sail", [], 1, 9), 0.1 / 3),
        # The trigger itself, well reasoned, by all of 99 points.
        (("sail", "sail", ["boats float"], 99, 99), (1 + 1 + 0.99) / 3),
    ],
)
def test_relevance_by_hand(embedder, row, relevance):
    embedder(ANGLES)
    names = ("trigger_text", "query_text", "rationales", "linking", "points")
    (found,) = scores.relevances([dict(zip(names, row, strict=True))], scores._Vectors())
    assert found == pytest.approx(relevance, abs=1e-6)


def test_texts_are_embedded_once_and_kept_while_there_is_room(embedder, monkeypatch):
    embed = embedder()
    vectors = scores._Vectors()
    vectors.add({"a", "b"})
    vectors.add({"b", "c"})
    assert sorted(embed.texts) == ["a", "b", "c"]
    monkeypatch.setattr(scores, "_VECTORS_KEPT", 3)
    vectors.add({"c", "d"})
    vectors.add({"a"})
    assert sorted(embed.texts) == ["a", "a", "b", "c", "d"]
    assert vectors["a"].shape == (2,)


def test_a_pair_is_scored_from_all_its_points(shop, aigq, embedder, rows_of):
    kettle = "Kettle 2000, Kettle"
    texts = {kettle: 0, "tea pot": 60, "he brews": 0, "she brews": 90, "red shoes": 90, "mug": 60}
    embedder(texts)
    propose(
        shop,
        ("u1:2026-03-06", 0, ["item:i0", "query:red shoes"], ["tea pot", "mug"], "he brews"),
        ("u2:2026-03-06", 0, ["item:i0"], ["tea pot"], "she brews"),
        ("u3:2026-03-06", 0, ["item:gone"], ["tea pot"], "he brews"),
    )
    out = aigq(*GENERATE).stderr
    found = {(r["trigger"], r["query_text"]): r for r in rows_of(shop, SCORES)}
    sine = 3**0.5 / 2
    expected = {
        ("item:i0", "tea pot"): (0.5 + (0.5 + sine) / 2 + 2 / 3) / 3,
        ("item:i0", "mug"): (0.5 + 0.5 + 1 / 3) / 3,
        ("query:red shoes", "tea pot"): (sine + 0.5 + 1 / 2) / 3,
        ("query:red shoes", "mug"): (sine + 0.5 + 1 / 2) / 3,
    }
    assert {k: r["relevance"] for k, r in found.items()} == pytest.approx(expected, abs=1e-6)
    assert {r["predicted_ctr"] for r in found.values()} == {None}
    assert "no model 'ctr' is published: predicted CTR stays null" in out
    assert "1 pairs left out: their item is no longer in the shop" in out


def test_only_what_changed_is_scored_again(shop, aigq, embedder, rows_of, publish_ctr):
    embed = embedder()
    first = ("u1:2026-03-06", 0, ["item:i0", "query:red shoes"], ["tea pot", "mug"], "he brews")
    propose(shop, first)
    aigq(*GENERATE)
    before = rows_of(shop, SCORES)
    assert len(before) == 4
    # Nothing is new.
    embed.texts.clear()
    aigq(*GENERATE)
    assert rows_of(shop, SCORES) == before and not embed.texts
    # A point of another user-day rests on i0: both pairs of i0 have another share, one a new
    # reason; those of the query are as they were.
    propose(shop, ("u2:2026-03-06", 0, ["item:i0"], ["tea pot"], "she brews"))
    aigq(*GENERATE)
    added = [r for r in rows_of(shop, SCORES) if r not in before]
    assert [(r["trigger"], r["query_text"]) for r in added] == [
        ("item:i0", "mug"),
        ("item:i0", "tea pot"),
    ]
    # A CTR model comes: all pairs get its prediction and keep their relevance.
    newest = {(r["trigger"], r["query_text"]): r["relevance"] for r in [*before, *added]}
    embed.texts.clear()
    scorer, loaded = publish_ctr(shop, "c1")
    aigq(*GENERATE)
    assert loaded == ["c1"] and not embed.texts
    scored = rows_of(shop, "FROM staging.stg_x2q_scores")
    assert {(r["trigger"], r["query_text"]): r["relevance"] for r in scored} == newest
    assert {r["query_text"]: r["predicted_ctr"] for r in scored} == pytest.approx(
        {"tea pot": 0.07, "mug": 0.03}
    )
    assert [c.behaviors for c in scorer.contexts] == [
        (Behavior(0, "item_click", "Kettle 2000, Kettle"),),
        (Behavior(0, "search", "red shoes"),),
    ]
    rows = rows_of(shop, SCORES)
    aigq(*GENERATE)
    assert rows_of(shop, SCORES) == rows and loaded == ["c1"]
    publish_ctr(shop, "c2")
    aigq(*GENERATE)
    versions = rows_of(shop, "SELECT ctr_version, count(*) AS n FROM serving.x2q_scores GROUP BY 1")
    assert {r["ctr_version"]: r["n"] for r in versions} == {None: 6, "c1": 4, "c2": 4}


def test_a_killed_job_goes_on(shop, aigq, embedder, rows_of, monkeypatch):
    draw = random.Random(0)
    points = [
        (
            f"u{n % 4 + 1}:2026-03-0{n % 6 + 1}",
            n,
            draw.sample(["item:i0", "item:i1", "query:scarf u1", "query:red shoes"], 2),
            draw.sample(["tea", "mug", "desk", "lamp", "rope"], 3),
            f"reason {n}",
        )
        for n in range(8)
    ]
    propose(shop, *points)
    monkeypatch.setattr(scores, "_CHUNK", 4)
    embedder()
    columns = "trigger, query_text, relevance, predicted_ctr, evidence_key, ctr_version"
    newest = f"SELECT {columns} FROM serving.x2q_scores ORDER BY ALL"
    aigq(*GENERATE)
    whole = rows_of(shop, newest)
    assert len(whole) > 12
    warehouse.write(shop, lambda con: con.execute("DELETE FROM lake.serving.x2q_scores"))
    calls = []
    original = scores.relevances

    def killed(rows, vectors):
        calls.append(len(rows))
        if len(calls) == 3:
            raise SystemExit(137)
        return original(rows, vectors)

    monkeypatch.setattr(scores, "relevances", killed)
    aigq(*GENERATE, code=137)
    assert len(rows_of(shop, newest)) == 8
    aigq(*GENERATE)
    assert rows_of(shop, newest) == whole
    (run,) = rows_of(
        shop,
        "SELECT metrics FROM meta.runs WHERE job = 'generate x2q_scores' ORDER BY run_id DESC"
        " LIMIT 1",
    )
    metrics = json.loads(run["metrics"])
    assert metrics["pairs_scored_before"] == 8 and metrics["pairs"] == len(whole)


def test_real_embeddings_tell_what_belongs_together(shop, aigq, rows_of):
    """MiniLM, a shop's own words: of two proposals the one that has to do with the trigger."""
    reason = "Somebody who buys a kettle will want to brew tea."
    propose(shop, ("u1:2026-03-06", 0, ["item:i0"], ["tea pot", "car tyres"], reason))
    aigq(*GENERATE)
    found = {r["query_text"]: r["relevance"] for r in rows_of(shop, SCORES)}
    assert 0 < found["car tyres"] + 0.1 < found["tea pot"] < 1


def test_a_lake_without_the_view_says_what_to_do(home, aigq):
    with pytest.raises(AssertionError, match=r"no serving.x2q_proposals: run `dbt build` first"):
        aigq(*GENERATE)
