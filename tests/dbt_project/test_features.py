"""The feature tables and the parquet files that Feast reads."""

from datetime import timedelta

import duckdb
import pytest

MICROSECOND = timedelta(microseconds=1)


@pytest.mark.parametrize("name", ["user_profile", "user_behaviors", "popular_queries", "u2q"])
def test_the_exported_file_is_the_table(random_shop, rows_of, name):
    home, _ = random_shop
    path = home.features / f"{name}.parquet"
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    exported = con.sql(f"select * from '{path}' order by all").to_arrow_table()
    assert exported.to_pylist() == rows_of(home, f"select * from features.{name} order by all")
    assert {p.name for p in home.features.iterdir()} == {
        "user_profile.parquet",
        "user_behaviors.parquet",
        "popular_queries.parquet",
        "u2q.parquet",
    }


def test_user_behaviors_are_the_newest_at_each_moment(random_shop, rows_of):
    home, reference = random_shop
    last_day = max(reference.day(e["occurred_at"]) for e in reference.raw["events"])
    expected = {}
    for user, own in reference.behaviors().items():
        moments = sorted({b["occurred_at"] for b in own})
        window = [m for m in moments if reference.day(m) > last_day - timedelta(days=2)]
        before = [m for m in moments if m not in window]
        for moment in [*before[-1:], *window]:
            past = [b for b in own if b["occurred_at"] <= moment][-7:]
            expected[user, moment + MICROSECOND] = [
                (b["content_key"], b["content_text"], b["action"], b["occurred_at"]) for b in past
            ]
    found = {
        (r["user_id"], r["event_timestamp"]): list(
            zip(r["content_keys"], r["content_texts"], r["actions"], r["moments"], strict=True)
        )
        for r in rows_of(
            home,
            "select *, list_transform(occurred_at_us, lambda us: make_timestamptz(us)) as moments"
            " from features.user_behaviors",
        )
    }
    assert found == expected


def test_profiles_hold_everyone_who_was_seen(random_shop, rows_of):
    """A user without a profile row has nulls, from the first event on."""
    home, reference = random_shop
    found = {r["user_id"]: r for r in rows_of(home, "from features.user_profile")}
    seen = {e["user_id"] for e in reference.raw["events"]}
    assert found.keys() == seen | {u["user_id"] for u in reference.raw["users"]}
    for user in seen:
        first = min(e["occurred_at"] for e in reference.raw["events"] if e["user_id"] == user)
        assert found[user]["event_timestamp"] == first
        assert found[user]["age_band"] == reference.profile(user)["age_band"]


def test_popular_queries_of_the_last_week(random_shop, rows_of):
    home, reference = random_shop
    (row,) = rows_of(home, "from features.popular_queries")
    last = max(e["occurred_at"] for e in reference.raw["events"])
    first_day = min(reference.day(e["occurred_at"]) for e in reference.raw["events"])
    assert reference.day(last) - first_day >= timedelta(days=7), "else the week is the whole log"
    week = reference.day(last) - timedelta(days=7)
    users = {}
    for user, own in reference.behaviors().items():
        for b in own:
            if b["action"] == "search" and reference.day(b["occurred_at"]) > week:
                users.setdefault(b["content_text"], set()).add(user)
    assert row["queries"] == sorted(users, key=lambda q: (-len(users[q]), q))[:30]
    assert row["event_timestamp"] == last + MICROSECOND
