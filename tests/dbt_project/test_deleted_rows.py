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
    came."""
    day = datetime(2026, 3, 1, 9, tzinfo=UTC)
    click = {"action": "item_click", "occurred_at": day}
    pairs = [("ann", "lamp"), ("bob", "tent"), ("cem", "sofa"), ("dan", "rope")]
    insert_raw(
        home,
        events=[
            click | {"event_id": f"e-{user}", "user_id": user, "item_id": item}
            for user, item in pairs
        ],
        users=[{"user_id": "dan", "region": "North"}],
        items=[{"item_id": "rope", "title": "a rope"}],
    )
    run_dbt(home, "run")
    insert_raw(
        home,
        users=[{"user_id": "ann", "region": "North"}],
        items=[{"item_id": "tent", "title": "a tnet"}],
    )
    insert_raw(
        home,
        "think",
        llm_candidates=[{"session_id": "cem:2026-03-01", "query_text": "sofa", "run_id": "run"}],
    )
    for change in (
        "raw.users SET region = 'South'",
        "raw.items SET title = 'a tent'",
        "think.llm_candidates SET query_text = 'red sofa'",
    ):
        warehouse.write(home, lambda lake, change=change: lake.execute(f"UPDATE lake.{change}"))
    run_dbt(home, "run")
    found = rows_of(
        home, "SELECT user_id, is_logged, is_new_user FROM staging.changed_user_days ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in found] == [
        ("ann", False, True),
        ("bob", True, False),
        ("cem", False, False),
    ], "dan and the rope were known"
