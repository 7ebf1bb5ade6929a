"""What a hint request shows, and to whom."""

import json

import pytest

from aigq import features


@pytest.fixture
def reads(monkeypatch):
    """Counts online reads."""
    calls = []
    original = features.read_online

    def read(*arguments):
        calls.append(arguments[1:])
        return original(*arguments)

    monkeypatch.setattr(features, "read_online", read)
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

    monkeypatch.setattr("inference.direct.open_engine", lambda *_, **__: Engine())
    aigq("generate", "u2q", "--users", "u1")


@pytest.mark.torch
def test_a_user_with_a_list(listed, aigq, reads):
    page = aigq("hints", "u1").stdout
    assert len(reads) == 1
    lines = page.splitlines()
    # Newest first; the newest event is the feature store's clock.
    assert lines[0] == "user u1, as of 2026-03-06 09:00 UTC"
    assert lines[2] == "recent behaviours (newest 10 of 12):"
    assert lines[3].startswith("  2026-03-06 09:00     just now  item_click")
    assert "search" in page and "red shoes" in page
    assert "hints: written by v1 as of 2026-03-06 09:00 UTC" in page
    ranked = [line for line in lines if line.endswith(("desk lamp", "  red shoes", "tea", "mug"))]
    assert ranked[-4:] == ["  *  1  desk lamp", "  *  2  red shoes", "  *  3  tea", "     4  mug"]
    assert "     5  blue lamp  (popular)" in lines
    assert "one online read took" in lines[-1]


@pytest.mark.torch
def test_json_and_count(listed, aigq):
    found = json.loads(aigq("hints", "u1", "--count", "2", "--json").stdout)
    assert found["source"] == "u2q" and found["reason"] is None
    own = ["desk lamp", "red shoes", "tea", "mug"]
    assert found["own"] == 4 and found["queries"][:4] == own
    # Filled up with what is popular: "red shoes" is, too, and stands there once.
    assert found["queries"][4] == "blue lamp" and found["queries"].count("red shoes") == 1
    assert found["displayed"] == ["desk lamp", "red shoes"]
    assert found["behaviors"][0][1:] == ["item_click", found["behaviors"][0][2]]
    assert found["read_ms"] > 0


def test_an_unknown_user_gets_the_popular_ones_and_is_told(shop, aigq, reads):
    page = aigq("hints", "nobody").stdout
    assert len(reads) == 1
    assert "no list and no behaviours for this user (unknown to hint recall), so these are" in page
    assert "no behaviours known" in page
    assert "  *  1  blue lamp" in page and "  *  2  red shoes" in page


def test_a_user_with_nothing_but_a_profile_is_not_called_a_stranger(shop, aigq):
    page = aigq("hints", "u5").stdout
    assert "unknown user" not in page
    assert "no list and no behaviours for this user" in page
    assert json.loads(aigq("hints", "u5", "--json").stdout)["reason"] == "unknown_user"


def test_a_user_without_list_gets_the_popular_ones_and_is_told(shop, aigq):
    page = aigq("hints", "u2", "--now", "2026-03-08T08:00:00+00:00").stdout
    assert "no list was generated for this user, so these are the popular queries" in page
    assert "2026-03-06 08:00   2 days ago  search      red shoes" in page
    assert "  *  1  blue lamp" in page


def test_hints_need_no_lake(shop, aigq):
    (shop.root / "lake").rename(shop.root / "lake-is-away")
    assert "blue lamp" in aigq("hints", "u2").stdout


def test_a_store_that_was_not_materialised(shop, aigq):
    import sqlite3

    with sqlite3.connect(shop.online / "online_store.db") as con:
        con.execute("DELETE FROM aigq_popular_queries")
    with pytest.raises(AssertionError, match="holds no popular queries: run `feast materialize`"):
        aigq("hints", "nobody")
