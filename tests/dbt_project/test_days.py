"""Day by day: whatever order rows arrive in, the tables are those of a build from scratch."""

import random
from collections import defaultdict
from datetime import UTC, datetime

import dbt_reference as reference
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FIRST_DAY = datetime(2020, 10, 29, tzinfo=UTC).date()
# What a table holds of the run that made it, and what says how a build went about it.
NOT_COMPARED = {"staging.changed_user_days"}


def tables(rows_of, home) -> dict[str, list]:
    """Every table that dbt builds, in an order of its own."""
    names = rows_of(
        home,
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_catalog = 'lake' and table_type = 'BASE TABLE'"
        " and table_schema not in ('raw', 'think')",
    )
    written = {"meta.runs", "items.query_neighbors", "items.generated_texts", "serving.u2q_runs"}
    built = {row["name"] for row in names} - written - NOT_COMPARED
    return {
        name: sorted(map(repr, rows_of(home, f"from {name}")))
        for name in sorted(built)
        if name not in {"eval.generated_lists", "eval.list_draws", "eval.metrics"}
    }


@st.composite
def arrivals(draw, most_batches):
    """A random log and job tables, cut into the batches that the rows arrive in."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    zone = draw(st.sampled_from(["America/Havana", "Asia/Kolkata", "UTC"]))
    raw = reference.random_shop(rng.random(), zone, FIRST_DAY, days=6, users=8)
    jobs = reference.random_job_rows(raw, rng.random(), zone)
    if draw(st.booleans()):
        raw.pop("hint_requests"), raw.pop("hint_candidates")
    number = draw(st.integers(2, most_batches))
    # Mostly day after day, as logs come; some rows late, some before what they refer to.
    late_share = draw(st.sampled_from([0.0, 0.1, 1.0]))
    days = sorted({e["occurred_at"].date() for e in raw["events"]})
    dates = {r["request_id"]: r["requested_at"].date() for r in raw.get("hint_requests", [])}
    batches = [defaultdict(list) for _ in range(number)]
    for table, rows in raw.items():
        for row in rows:
            moment = row.get("occurred_at") or row.get("requested_at")
            day = moment.date() if moment else dates.get(row.get("request_id"), days[0])
            batch = min(days.index(day) if day in days else 0, len(days) - 1) * number // len(days)
            if rng.random() < late_share:
                batch = rng.randrange(number)
            batches[batch]["raw", table].append(row)
    # A teacher's first run over a session is news whenever it comes.
    newest = {}
    for row in jobs["think"]["llm_candidates"] + jobs["think"]["alignments"]:
        newest[row["session_id"]] = max(row["run_id"], newest.get(row["session_id"], ""))
    when = {session: rng.randrange(number) for session in sorted(newest)}
    for table, rows in jobs["think"].items():
        for row in rows:
            if row["run_id"] == newest[row["session_id"]]:
                batches[when[row["session_id"]]]["think", table].append(row)
    batches[0]["items", "generated_texts"] = jobs["items"]["generated_texts"]
    return zone, batches


@pytest.fixture
def compare(tmp_path_factory, make_home, insert_raw, run_dbt, rows_of):
    def compare(arriving) -> None:
        zone, batches = arriving
        variables = {
            "shop_timezone": zone,
            "max_behaviors": 5,
            "direct_list_length": 4,
            "think_list_length": 6,
            "train_days": 3,
            "feature_days": 2,
        }
        by_day = make_home(tmp_path_factory.mktemp("by_day"))
        at_once = make_home(tmp_path_factory.mktemp("at_once"))
        for batch in batches:
            for (schema, table), rows in batch.items():
                insert_raw(by_day, schema, **{table: rows})
                insert_raw(at_once, schema, **{table: rows})
            run_dbt(by_day, "run", variables=variables)
        run_dbt(at_once, "run", variables=variables)
        expected, found = tables(rows_of, at_once), tables(rows_of, by_day)
        assert len(expected) > 25
        assert found.keys() == expected.keys()
        for name, rows in expected.items():
            assert found[name] == rows, name

    return compare


_SETTINGS = settings(
    deadline=None,
    database=None,
    # A smaller example costs as many builds as a large one.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@given(arrivals(most_batches=2))
@settings(_SETTINGS, max_examples=1, derandomize=True)
def test_a_build_by_days_is_a_build_at_once(compare, arriving):
    compare(arriving)


@pytest.mark.slow
@given(arrivals(most_batches=4))
@settings(_SETTINGS, max_examples=12)
def test_any_order_of_arrival_ends_in_the_same_tables(compare, arriving):
    compare(arriving)
