"""What a hint request shows, and to whom."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from rich.cells import cell_len

from aigq import features
from aigq.context import Behavior


@pytest.fixture
def reads(monkeypatch):
    """Counts online reads."""
    calls = []
    original = features.read_online_rows

    def read(*arguments):
        calls.append(arguments[1])
        return original(*arguments)

    monkeypatch.setattr(features, "read_online_rows", read)
    return calls


@pytest.fixture
def listed(shop, aigq, monkeypatch):
    """u1 has a list."""

    class Engine:
        name = "scripted"

        def generate(self, requests, _sampling):
            from inference.engines import Completion

            return [Completion("desk lamp\nred shoes\ntea\nmug", True, 9) for _ in requests]

        def close(self):
            pass

    monkeypatch.setattr("inference.list_model.open_engine", lambda *_, **__: Engine())
    aigq("generate", "u2q", "--users", "u1")


@pytest.fixture
def ranked(shop, monkeypatch):
    """A CTR model that likes what is in its table is published; returns what it was asked."""

    class Scorer:
        asked: ClassVar[list] = []
        likes: ClassVar[dict] = {"scarf": 0.25, "tea pot": 0.125, "desk lamp": 0.0625}

        def score(self, contexts, queries):
            self.asked.append((contexts, queries))
            return [np.array([self.likes.get(q, 0.01) for q in of]) for of in queries]

    folder = shop.models / "ctr" / "c1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    loaded = []
    Scorer.asked = []

    def load(_home, reference):
        loaded.append(reference)
        return Scorer()

    monkeypatch.setitem(sys.modules, "aigq.ctr", SimpleNamespace(load=load))
    monkeypatch.setattr("aigq.ctr", sys.modules["aigq.ctr"], raising=False)
    yield Scorer.asked
    assert loaded in ([], ["ctr@c1"])


@pytest.mark.torch
def test_a_list_written_for_a_later_moment_is_left_out(listed, aigq):
    page = aigq("hints", "u1", "--now", "2026-03-06T08:59:59").stdout
    assert "  u2q        0  left out: written as of 2026-03-06 09:00, after this moment" in page
    assert "desk lamp" not in page
    assert (
        "  u2q        4  written by v1" in aigq("hints", "u1", "--now", "2026-03-06T09:00").stdout
    )


def test_a_moment_before_all_that_is_kept_says_so(shop, aigq):
    page = aigq("hints", "u1", "--now", "2026-02-01T00:00:00").stdout
    assert "no behaviours known before that: the online store has the newest 12\n" in page


@pytest.mark.torch
def test_a_user_with_a_list(listed, aigq, reads):
    """Without a CTR model: u2q, x2q by score, popular; each query once."""
    page = aigq("hints", "u1").stdout
    assert reads == ["hint_recall", "x2q_recall"]
    lines = page.splitlines()
    # Newest first; the newest event is the feature store's clock.
    assert lines[0] == "user u1, as of 2026-03-06 09:00 UTC"
    assert lines[2] == "recent behaviours (newest 10 of 12):"
    assert lines[3] == "  2026-03-06 09:00        just now  item_click  Kettle 2000, Kettle"
    assert lines[13:18] == [
        "",
        "hints, by source: no ctr model is published",
        "  u2q        4  written by v1 as of 2026-03-06 09:00",
        "  x2q        6  4 of 7 triggers lead somewhere",
        "  popular    7",
    ]
    assert lines[19:-2] == [
        "        hint       source           from",
        "  *  1  desk lamp  u2q",
        "  *  2  red shoes  u2q+x2q+popular  item Kettle 2000, Kettle",
        "          why: Tea is made in a kettle.",
        "  *  3  tea        u2q",
        "     4  mug        u2q",
        "     5  scarf      x2q              query red shoes",
        "          why: Tea is made in a kettle.",
        "     6  tea pot    x2q              item Kettle 2000, Kettle",
        "          why: Tea is made in a kettle.",
        "     7  blue lamp  popular",
        "     8  scarf u1   popular",
        "     9  scarf u2   popular",
        "    10  scarf u3   popular",
    ]
    assert lines[-1].startswith("* displayed; milliseconds: recall ")


@pytest.mark.torch
def test_ranked_by_the_ctr_model(listed, aigq, ranked, reads):
    """The page's columns stay in line; the model sees what the user did, in the shop's days."""
    lines = aigq("hints", "u1").stdout.splitlines()
    assert len(reads) == 2
    assert "hints, ranked by ctr@c1" in lines
    start = lines.index("        hint       p(click)  source           from")
    assert lines[start + 1 : start + 6] == [
        "  *  1  scarf        25.00%  x2q              query red shoes",
        "          why: Tea is made in a kettle.",
        "  *  2  tea pot      12.50%  x2q              item Kettle 2000, Kettle",
        "          why: Tea is made in a kettle.",
        "  *  3  desk lamp     6.25%  u2q",
    ]
    (((context,), (queries,)),) = ranked
    assert context.profile == ("25-34", "f", "north")
    assert context.behaviors[-1] == Behavior(0, "item_click", "Kettle 2000, Kettle")
    assert context.behaviors[0].days_ago == 5
    assert len(queries) == len(set(queries)) == 12


def test_a_click_that_no_build_has_seen(shop, aigq, ranked, reads):
    """Of u5 only a profile is known: what they have just clicked is all there is to go by."""
    lines = aigq("hints", "u5", "--clicked", "i0").stdout.splitlines()
    assert reads == ["clicked_recall", "x2q_recall"]
    assert lines[2:4] == [
        "recent behaviours (newest 1 of 1):",
        "  2026-03-06 09:00       --clicked  item_click  Kettle 2000, Kettle",
    ]
    assert "  *  1  tea pot      12.50%  x2q          clicked Kettle 2000, Kettle" in lines
    (((context,), _),) = ranked
    assert context.behaviors == (Behavior(0, "item_click", "Kettle 2000, Kettle"),)


def test_an_unknown_item_is_an_error(shop, aigq):
    with pytest.raises(AssertionError, match="--clicked: the online store knows no item 'i9'"):
        aigq("hints", "u1", "--clicked", "i9")


@pytest.mark.torch
def test_json_and_count(listed, aigq):
    found = json.loads(aigq("hints", "u1", "--count", "2", "--json", "--clicked", "i1").stdout)
    assert found["displayed"] == ["desk lamp", "red shoes"]
    assert [h["query"] for h in found["hints"][:4]] == ["desk lamp", "red shoes", "tea", "mug"]
    assert found["hints"][1]["sources"] == ["u2q", "x2q", "popular"]
    assert found["hints"][1]["why"]["trigger"] == "item:i0"
    assert found["hints"][1]["why"]["rationale"] == "Tea is made in a kettle."
    assert found["hints"][0]["why"] is None and found["hints"][0]["p_click"] is None
    assert found["recalled"] == {"u2q": 4, "x2q": 6, "popular": 7} and found["distinct"] == 12
    assert found["behaviors"][0]["key"] == "item:i1" == found["triggers"][0]
    assert found["clicked"] == "i1" and found["stale_triggers"] == []
    assert found["step_ms"]["recall"] > 0


def test_an_unknown_user_gets_the_popular_ones_and_is_told(shop, aigq, reads):
    page = aigq("hints", "nobody").stdout
    assert reads == ["hint_recall"]
    lines = page.splitlines()
    assert "no behaviours known" in lines
    assert "  u2q        0  no list; the online store knows nothing of this user" in lines
    assert "  x2q        0  no triggers without behaviours" in lines
    assert "  *  1  blue lamp  popular" in lines and "  *  2  red shoes  popular" in lines


def test_a_user_without_a_list_is_told_from_a_stranger(shop, aigq):
    assert "  u2q        0  no list was generated for this user" in aigq("hints", "u2").stdout
    assert json.loads(aigq("hints", "u2", "--json").stdout)["is_known"] is True
    assert json.loads(aigq("hints", "nobody", "--json").stdout)["is_known"] is False


def test_ages_count_from_the_moment_asked_for(shop, aigq):
    lines = aigq("hints", "u2", "--now", "2026-03-08T08:00:00+00:00").stdout.splitlines()
    assert "  2026-03-06 08:00      2 days ago  search      red shoes" in lines
    # Only behaviours before it are seen.
    page = aigq("hints", "u2", "--now", "2026-03-02T00:00:00").stdout
    assert "newest 2 of 2" in page and "red shoes" not in page.split("hints,")[0]


def test_nothing_is_wider_than_the_page(shop, aigq, ranked, monkeypatch):
    """Long texts and those of double width end in an ellipsis."""
    from inference.hints import page
    from inference.serve.chain import HintChain
    from inference.serve.recall import Candidate, Request, Why

    hints = HintChain.open(shop)(Request("u1"))
    why = Why("item:i0", "水筒 " * 40, "because " * 60, 0.5, "t1")
    wide = [Candidate("茶" * 50, "x2q", 1, why, ("x2q",), 0.5), *hints.ranked]
    for line in page(replace(hints, ranked=tuple(wide)), 3, 100):
        assert cell_len(line) <= 100
    lines = page(replace(hints, ranked=tuple(wide)), 3, 100)
    header = next(line for line in lines if line.startswith("        hint"))
    row = next(line for line in lines if line.startswith("  *  1"))
    column = header.index("source")
    assert "…" in row and row.endswith("…")
    assert cell_len(row[: row.index("x2q")]) == column


def test_hints_need_no_lake(shop, aigq):
    (shop.root / "lake").rename(shop.root / "lake-is-away")
    assert "blue lamp" in aigq("hints", "u2").stdout


def test_a_store_that_was_not_materialised(shop, aigq):
    import sqlite3

    with sqlite3.connect(shop.online / "online_store.db") as con:
        con.execute("DELETE FROM aigq_popular_queries")
    with pytest.raises(AssertionError, match="holds no popular queries: run `feast materialize`"):
        aigq("hints", "nobody")
