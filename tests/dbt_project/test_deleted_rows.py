"""Rows that somebody takes out of the log by hand."""

from datetime import UTC, datetime

import pytest

from aigq import expire, jobs, warehouse


@pytest.mark.slow
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
        message = f"1 rows of raw.{table} that days may be built from were deleted or changed"
        assert f"{message}, that of '{key}' among" in " ".join(result.stdout.split())

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
    with jobs.job(home, "expire", {}) as run:
        expire.expire(run, datetime.now(UTC))
    assert run.metrics["files_merged"]
    lake("DELETE FROM lake.raw.events WHERE event_id = 'e2'")
    refused_over("events", "e2")
    run_dbt(home, "run", "--full-refresh")
    assert built() == ["e1", "e3", "e4"]

    # Only a test has seen these.
    insert_raw(home, events=[search(5), search(6)])
    run_dbt(home, "test", "-s", "stg_users")
    lake("DELETE FROM lake.raw.events WHERE event_id = 'e5'")
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

    insert_raw(home, events=[search(7)])
    lake("UPDATE lake.raw.events SET query_text = 'tent' WHERE event_id = 'e7'")
    refused_over("events", "e7")
    run_dbt(home, "run", "--full-refresh")
    run_dbt(home, "run")
