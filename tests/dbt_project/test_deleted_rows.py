"""Rows that somebody takes out of the log, or changes, by hand."""

from datetime import UTC, datetime

import pytest

from aigq import expire, jobs, warehouse

pytestmark = pytest.mark.slow


def test_rows_that_are_deleted(home, insert_raw, run_dbt, rows_of):
    """What no build has seen leaves nothing behind; what one has, be it a part's, asks for a full
    refresh."""

    def search(number: int) -> dict:
        at = datetime(2026, 3, number, 9, tzinfo=UTC)
        row = {"event_id": f"e{number}", "user_id": "ann", "action": "search", "occurred_at": at}
        return row | {"query_text": "lamp"}

    def lake(change: str) -> None:
        warehouse.write(home, lambda lake: lake.execute(change))

    def built() -> list[str]:
        return [row["event_id"] for row in rows_of(home, "from staging.stg_events order by ALL")]

    def refused_over(table: str, key: str) -> None:
        result = run_dbt(home, "run", check=False)
        message = f"rows of raw.{table} that days may be built from were deleted or changed: 1"
        assert f"{message}, that of '{key}' among" in " ".join(result.stdout.split())

    def files_of_events() -> int:
        files = "FROM ducklake_list_files('lake', 'events', schema => 'raw')"
        with warehouse.connect(home, read_only=True) as con:
            return len(con.execute(files).fetchall())

    request = {"request_id": "r1", "user_id": "ann"}
    candidates = [{"request_id": f"r{n}", "rank": 1, "query_text": "lamp"} for n in (1, 2)]
    insert_raw(
        home,
        events=[search(1)],
        hint_requests=[request | {"requested_at": datetime(2026, 3, 1, tzinfo=UTC)}],
        hint_candidates=candidates,
    )
    run_dbt(home, "run")

    # A run of a part has seen it; then its file and another are merged.
    insert_raw(home, events=[search(2), search(3)])
    insert_raw(home, events=[search(4)])
    run_dbt(home, "run", "-s", "stg_events")
    assert files_of_events() == 3
    with jobs.job(home, "expire", {}) as run:
        expire.expire(run, datetime.now(UTC))
    assert files_of_events() == 1
    lake("DELETE FROM lake.raw.events WHERE event_id = 'e2'")
    refused_over("events", "e2")
    run_dbt(home, "run", "--full-refresh")
    assert built() == ["e1", "e3", "e4"]

    # Only a test has seen these; e9 is all that its file holds.
    insert_raw(home, events=[search(5), search(6)])
    insert_raw(home, events=[search(9)])
    run_dbt(home, "test", "-s", "stg_users")
    lake("DELETE FROM lake.raw.events WHERE event_id IN ('e5', 'e9')")
    run_dbt(home, "run")
    assert built() == ["e1", "e3", "e4", "e6"]

    # It comes again.
    insert_raw(home, events=[search(5)])
    run_dbt(home, "run")
    assert built() == ["e1", "e3", "e4", "e5", "e6"]

    lake("DELETE FROM lake.raw.hint_candidates WHERE request_id = 'r2'")
    refused_over("hint_candidates", "r2")
    insert_raw(home, hint_candidates=candidates[1:])
    refused_over("hint_candidates", "r2")
    run_dbt(home, "run", "--full-refresh")
    ranked = "SELECT request_id FROM staging.stg_hint_candidates ORDER BY ALL"
    assert [row["request_id"] for row in rows_of(home, ranked)] == ["r1", "r2"]

    # The whole of a file that a run of a part has seen.
    insert_raw(home, events=[search(8)])
    run_dbt(home, "run", "-s", "stg_events")
    lake("DELETE FROM lake.raw.events WHERE event_id = 'e8'")
    refused_over("events", "e8")
    run_dbt(home, "run", "--full-refresh")
    assert built() == ["e1", "e3", "e4", "e5", "e6"]

    insert_raw(home, events=[search(7)])
    lake("UPDATE lake.raw.events SET query_text = 'tent' WHERE event_id = 'e7'")
    refused_over("events", "e7")
    run_dbt(home, "run", "--full-refresh")
    run_dbt(home, "run")


def test_rows_that_are_changed_before_they_are_built(home, insert_raw, run_dbt, rows_of):
    """What a build takes for new is that a user, an item or a session is known, not how its row
    came, and if only a part of the tables knew it."""
    users = ["ann", "bob", "cem", "dan", "eva", "fay"]
    items = ["lamp", "tent", "sofa", "rope", "bowl", "door"]
    insert_raw(
        home,
        events=[
            {
                "event_id": f"{user}-{place}",
                "user_id": user,
                "occurred_at": datetime(2026, 3, 1, 9, place, tzinfo=UTC),
                "action": action,
                "query_text": "gift" if action == "search" else None,
                "item_id": item if action == "item_click" else None,
            }
            for user, item in zip(users, items, strict=True)
            for place, action in enumerate(["search_entry", "search", "item_click"])
        ],
        users=[{"user_id": "dan", "region": "North"}],
        items=[{"item_id": "rope", "title": "a rope"}],
    )
    run_dbt(home, "run")

    def teach(user: str, query: str) -> None:
        row = {"session_id": f"{user}:2026-03-01", "query_text": query, "teacher_rank": 1}
        insert_raw(home, "think", llm_candidates=[row | {"run_id": "20260302T000000-a"}])

    def lake(change: str) -> None:
        warehouse.write(home, lambda lake: lake.execute(change))

    teach("eva", "net")
    insert_raw(home, items=[{"item_id": "door", "title": "a door"}])
    run_dbt(home, "run", "-s", "+behavior_events", "+label_candidates")
    lake("DELETE FROM lake.raw.items WHERE item_id = 'door'")
    lake("DELETE FROM lake.think.llm_candidates")
    insert_raw(home, users=[{"user_id": "ann", "region": "North"}])
    insert_raw(home, items=[{"item_id": "tent", "title": "a tnet"}])
    teach("cem", "sofa")
    lake("UPDATE lake.raw.users SET region = 'South'")
    lake("UPDATE lake.raw.items SET title = 'a tent' WHERE item_id = 'tent'")
    lake("UPDATE lake.think.llm_candidates SET query_text = 'red sofa'")

    def built() -> list[list[dict]]:
        kept = "from behavior.behavior_events order by all"
        labels = "from labels.label_candidates order by all"
        return [rows_of(home, query) for query in (kept, labels)]

    run_dbt(home, "run")
    found = rows_of(
        home, "select user_id, is_logged, is_new_user from staging.changed_user_days order by all"
    )
    assert [tuple(row.values()) for row in found] == [
        ("ann", False, True),
        ("bob", True, False),
        ("cem", False, False),
        ("eva", False, False),
        ("fay", True, False),
    ], "dan and the rope were known"
    by_days = built()
    taught = [row["query_text"] for row in by_days[1] if row["tier"] == "llm"]
    assert taught == ["red sofa"]
    run_dbt(home, "run", "--full-refresh")
    assert built() == by_days
