"""Recall from a real online store: two reads, the freshest triggers, nothing stale."""

from datetime import UTC, datetime, timedelta

import pytest

from aigq import features
from aigq.context import Behavior
from inference.serve.recall import Request, Seen, freshest_triggers, recall

NOON = datetime(2026, 3, 6, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def store(served_shop):
    return features.open_store(served_shop)


@pytest.fixture
def reads(monkeypatch):
    """Services and number of keys of each online read."""
    calls = []
    original = features.read_online_rows

    def read(store, service, keys):
        calls.append((service, len(keys)))
        return original(store, service, keys)

    monkeypatch.setattr(features, "read_online_rows", read)
    return calls


def seen(minute, key, category=""):
    return Seen(NOON + timedelta(minutes=minute), "item_click", key, key, category)


def test_the_newest_distinct_behaviours_then_their_categories():
    behaviors = [seen(0, "item:old", "c0")] + [
        seen(n + 1, key, category)
        for n, (key, category) in enumerate(
            [
                ("item:a", "c1"),
                ("query:b", ""),
                ("item:c", "c2"),
                ("item:a", "c1"),
                ("item:d", "c1"),
            ]
        )
    ]
    expected = ("item:d", "item:a", "item:c", "query:b", "item:old")
    assert freshest_triggers(behaviors) == (*expected, "category:c1", "category:c2", "category:c0")
    many = [seen(n, f"query:{n}") for n in range(20)]
    assert freshest_triggers(many) == tuple(f"query:{n}" for n in range(19, 11, -1))
    assert freshest_triggers([]) == ()


def test_what_a_users_behaviours_lead_to(store, reads):
    found = recall(store, Request("u2"))
    # u2's newest: i0 (category c0) and "red shoes", which Think read in u1's day.
    assert found.triggers[:2] == ("item:i0", "query:red shoes")
    assert {"category:c0", "category:c1"} < set(found.triggers)
    assert reads == [("hint_recall", 1), ("x2q_recall", 1 + len(found.triggers))]
    x2q = found.lists["x2q"]
    assert [c.place for c in x2q] == list(range(1, len(x2q) + 1))
    scores = [c.why.score for c in x2q]
    assert scores == sorted(scores, reverse=True)
    by_query = {(c.query, c.why.trigger): c.why for c in x2q}
    pot = by_query["tea pot", "item:i0"]
    assert pot.trigger_text == "Kettle 2000, Kettle"
    assert pot.rationale == "Tea is made in a kettle." and pot.model_version == "think-1"
    # Of one score the fresher trigger comes first: the item before its category.
    pots = [c.why.trigger for c in x2q if c.query == "tea pot"]
    assert pots == ["item:i0", "category:c0"]
    assert found.lists["u2q"] == ()
    assert [c.query for c in found.lists["popular"]][:2] == ["blue lamp", "red shoes"]
    assert found.stale == () and found.is_known


def test_a_click_comes_first_and_into_the_context(store, reads):
    found = recall(store, Request("nobody", clicked="i0"))
    assert reads[0] == ("clicked_recall", 1) and len(reads) == 2
    assert found.triggers == ("item:i0", "category:c0")
    assert found.clicked_text == "Kettle 2000, Kettle"
    assert found.lists["x2q"][0].why.trigger == "item:i0"
    context = found.context()
    assert context.behaviors == (Behavior(0, "item_click", "Kettle 2000, Kettle"),)
    found = recall(store, Request("u1", clicked="i1"))
    assert found.triggers[:2] == ("item:i1", "item:i0")
    context = found.context()
    assert context.profile == ("25-34", "f", "north")
    assert context.behaviors[-2:] == (
        Behavior(0, "item_click", "Kettle 2000, Kettle"),
        Behavior(0, "item_click", "Chair 2000, Chair"),
    )


def test_days_are_those_of_the_shop(store):
    """Tokyo is nine hours ahead: 16:00 UTC on the 6th is the 7th there, so that the behaviours of
    the 6th, 18:00 in Tokyo, were yesterday."""
    found = recall(store, Request("u1", now=datetime(2026, 3, 6, 16, tzinfo=UTC)))
    days = [b.days_ago for b in found.context().behaviors]
    assert days == [6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1]
    found = recall(store, Request("u1", now=datetime(2026, 3, 3, 9, tzinfo=UTC)))
    # Behaviours at the moment itself, or later, are not seen.
    assert [b.days_ago for b in found.context().behaviors] == [2, 2, 1, 1]


def test_who_is_known(store, reads):
    found = recall(store, Request("nobody"))
    assert not found.is_known and found.behaviors == () and found.triggers == ()
    assert reads == [("hint_recall", 1)], "nothing can be a trigger"
    assert recall(store, Request("u6")).is_known
    assert recall(store, Request("u5")).is_known, "by a profile alone"
    unknown = recall(store, Request("nobody", clicked="i9"))
    assert unknown.clicked_text is None and unknown.triggers == ("item:i9",)


def rows_of_view(view, rows):
    """A feature row of ``x2q``, as the store gives it."""
    names = ("trigger_text", "queries", "scores", "rationales", "sources", "built_at_us")
    return [
        {f"{view}__{name}": row.get(name) for name in names}
        | {f"{view}__queries__ts": NOON if row else None}
        for row in rows
    ]


@pytest.mark.parametrize("built_at", [100, None])
def test_a_trigger_that_left_the_index_is_not_used(store, monkeypatch, built_at):
    """Its last row stays online: of an older index than the newest, or of before there was a row
    that tells."""

    def entry(query, built_at):
        return {
            "trigger_text": "t",
            "queries": [query],
            "scores": [0.5],
            "rationales": [""],
            "sources": ["v"],
            "built_at_us": built_at,
        }

    rows = {
        "index:newest": {"built_at_us": built_at},
        "item:i0": entry("new", 100),
        "query:red shoes": entry("old", 99),
        "item:i1": entry("unmarked", None),
    }
    original = features.read_online_rows

    def read(store, service, keys):
        if service != "x2q_recall":
            return original(store, service, keys)
        return rows_of_view("x2q", [rows.get(k["trigger"], {}) for k in keys])

    monkeypatch.setattr(features, "read_online_rows", read)
    found = recall(store, Request("u2"))
    if built_at is None:
        assert found.lists["x2q"] == ()
        assert set(found.stale) == {"item:i0", "query:red shoes", "item:i1"}
    else:
        assert [c.query for c in found.lists["x2q"]] == ["new"]
        assert set(found.stale) == {"query:red shoes", "item:i1"}
