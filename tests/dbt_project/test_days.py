"""Day by day: whatever order rows arrive in, the tables are those of a build from scratch."""

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import dbt_reference as reference
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aigq import warehouse

# Three days before a day that has two midnights in Havana, and before one that has none.
FIRST_DAYS = (date(2020, 10, 29), date(2021, 3, 11))
# It says how a build went about it.
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
        name: sorted(map(repr, rows_of(home, reference.as_built(name))))
        for name in sorted(built)
        if name
        not in {"eval.generated_lists", "eval.list_draws", "eval.metrics", "eval.comparisons"}
    }


@dataclass
class Arrivals:
    """The rows of raw and job tables, by schema and table, in the batches that they arrive in, and
    what is built by itself before everything is (None: nothing)."""

    seed: int
    zone: str
    batches: list[dict] = field(repr=False)
    parts: list[str | None]


PARTS = ("stg_events", "+stg_hint_candidates", "label_lists+")


@st.composite
def arrivals(draw, most_batches, parts=(None, *PARTS), first_days=FIRST_DAYS, hints=(True, False)):
    """A random log and job tables, cut into batches. ``parts``: what may be built before each."""
    seed = draw(st.integers(0, 2**32))
    rng = random.Random(seed)
    zone = draw(st.sampled_from(["America/Havana", "Asia/Kolkata", "UTC"]))
    first = draw(st.sampled_from(first_days))
    raw = reference.random_shop(rng.random(), zone, first, days=6, users=8)
    if draw(st.booleans()):
        closed = first + timedelta(days=draw(st.integers(1, 4)))
        for table, moment in (("events", "occurred_at"), ("hint_requests", "requested_at")):
            raw[table] = [
                r for r in raw[table] if r[moment].astimezone(ZoneInfo(zone)).date() != closed
            ]
    jobs = reference.random_job_rows(raw, rng.random(), zone)
    if not draw(st.sampled_from(hints)):
        raw.pop("hint_requests"), raw.pop("hint_candidates")
    else:
        # Some are never logged, but what was scored for them is.
        raw["hint_requests"] = [r for r in raw["hint_requests"] if rng.random() < 0.9]
    number = draw(st.integers(2, most_batches))
    # Mostly day after day, as logs come; some rows late, some before what they refer to.
    late_share = draw(st.sampled_from([0.0, 0.1, 1.0]))
    days = sorted({e["occurred_at"].date() for e in raw["events"]})
    dates = {r["request_id"]: r["requested_at"].date() for r in raw.get("hint_requests", [])}
    first_event = min(raw["events"], key=lambda e: e["occurred_at"])
    first_request = raw.get("hint_requests", [None])[0]
    batches = [defaultdict(list) for _ in range(number)]
    for table, rows in raw.items():
        for row in rows:
            moment = row.get("occurred_at") or row.get("requested_at")
            day = moment.date() if moment else dates.get(row.get("request_id"), days[0])
            batch = min(days.index(day) if day in days else 0, len(days) - 1) * number // len(days)
            if rng.random() < late_share:
                batch = rng.randrange(number)
            # An earlier first day, and the first requests, ask for a full refresh.
            if row in (first_event, first_request):
                batch = 0
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
    for table, rows in jobs["serving"].items():
        for row in rows:
            batches[rng.randrange(number)]["serving", table].append(row)
    batches[0].update({("items", table): rows for table, rows in jobs["items"].items()})
    built = draw(st.lists(st.sampled_from(parts), min_size=number, max_size=number))
    return Arrivals(seed, zone, batches, [None, *built[1:]])


def assert_exported(rows_of, home) -> None:
    """Whether a file is the lake's own or a copy, it has the table's rows."""
    files = sorted(home.features.glob("*.parquet"))
    assert len(files) > 5
    for path in files:
        table = rows_of(home, f"from features.{path.stem}")
        exported = rows_of(home, f"from '{path}'")
        assert sorted(map(repr, exported)) == sorted(map(repr, table)), path.name


def label_candidates(home) -> str:
    """Their query, as the latest run compiled it."""
    compiled = home.root / "target" / "compiled" / "aigq" / "dbt_project" / "models" / "labels"
    return (compiled / "label_candidates.sql").read_text()


@pytest.fixture
def compare(tmp_path_factory, make_home, insert_raw, run_dbt, rows_of, joins_row_by_row):
    def compare(arriving: Arrivals) -> None:
        variables = {
            "shop_timezone": arriving.zone,
            "max_behaviors": 5,
            "direct_list_length": 4,
            "think_list_length": 6,
            "train_days": 3,
            "feature_days": 2,
        }
        by_day = make_home(tmp_path_factory.mktemp("by_day"))
        at_once = make_home(tmp_path_factory.mktemp("at_once"))
        last = len(arriving.batches) - 1
        for number, (batch, part) in enumerate(zip(arriving.batches, arriving.parts, strict=True)):
            # Somebody takes these out again; some are all that their file holds.
            strays = [
                row | {"event_id": f"stray-{row['event_id']}"} for row in batch["raw", "events"]
            ]
            insert_raw(by_day, events=strays[::2])
            for (schema, table), rows in batch.items():
                among = strays[1::2] if table == "events" else []
                insert_raw(by_day, schema, **{table: rows + among})
                insert_raw(at_once, schema, **{table: rows})
            gone = "DELETE FROM lake.raw.events WHERE event_id LIKE 'stray-%'"
            warehouse.write(by_day, lambda lake, gone=gone: lake.execute(gone))
            if part:
                # A shorter window drops what the next build has to bring back.
                shorter = variables | {"feature_days": 1}
                run_dbt(by_day, "run", "-s", part, "user_behaviors", variables=shorter)
            run_dbt(by_day, "build" if number == last else "run", variables=variables)
        assert joins_row_by_row(by_day) == []
        run_dbt(at_once, "run", variables=variables)
        expected, found = tables(rows_of, at_once), tables(rows_of, by_day)
        assert len(expected) > 25
        assert found.keys() == expected.keys()
        for name, rows in expected.items():
            assert found[name] == rows, name
        for home in (by_day, at_once):
            assert_exported(rows_of, home)
        # To give every query there is a number is for builds from scratch.
        assert "stg_query_texts" in label_candidates(at_once)
        assert "stg_query_texts" not in label_candidates(by_day)
        held_against_the_rules(rows_of, by_day, arriving, variables)

    return compare


def held_against_the_rules(rows_of, home, arriving: Arrivals, variables: dict) -> None:
    """The same tables by the plain Python of dbt_reference."""
    raw, written = defaultdict(list), defaultdict(lambda: defaultdict(list))
    for batch in arriving.batches:
        for (schema, table), rows in batch.items():
            (raw if schema == "raw" else written[schema])[table].extend(rows)
    rules = reference.Reference(raw, variables, written)

    def table(name: str, key: str) -> dict:
        return {row[key]: row for row in rows_of(home, f"from {name}")}

    assert table("samples.samples_think", "session_id") == rules.think_samples()
    categories = table("items.query_categories", "query_text")
    assert {
        query: (row["leaf_category_id"], row["support"]) for query, row in categories.items()
    } == rules.query_categories()
    fates = reference.fates(rows_of(home, "from labels.label_candidates"))
    if raw["hint_requests"]:
        assert fates == rules.label_candidates()
        assert table("samples.samples_direct", "session_id") == rules.samples()
        user_days = rows_of(home, "select * exclude session_start_at from samples.test_user_days")
        assert {row["instance_id"]: row for row in user_days} == rules.test_user_days()
    days = rows_of(home, "select session_date, session_start_at from samples.test_user_days")
    assert days
    for row in days:
        midnight = datetime.combine(row["session_date"], time.min, ZoneInfo(arriving.zone))
        assert row["session_start_at"] == midnight.astimezone(UTC), row


@pytest.mark.slow
def test_history_is_rewritten_only_when_asked(home, insert_raw, run_dbt, rows_of):
    """What was known when a day was built stays in it: texts, profiles, a teacher's lists."""
    items = [{"item_id": f"i{n}", "title": f"Lamp {n}", "leaf_category": "Lamps"} for n in (1, 2)]
    insert_raw(home, items=items, users=[{"user_id": "ann", "region": "north"}])
    variables = {"train_days": 1}

    def day(number: int) -> None:
        """Ann opens the search at 9:00, searches, and clicks item 1."""
        actions = [("search_entry", None, None), ("search", f"lamp {number}", None)]
        actions += [("item_click", None, "i1")]
        insert_raw(
            home,
            events=[
                {
                    "event_id": f"e{number}-{place}",
                    "user_id": "ann",
                    "occurred_at": datetime(2026, 3, number, 9, place, tzinfo=UTC),
                    "action": action,
                    "query_text": query,
                    "item_id": item,
                }
                for place, (action, query, item) in enumerate(actions)
            ],
        )

    def teach(run_id: str, query: str, date: str) -> None:
        row = {"session_id": f"ann:{date}", "query_text": query, "teacher_rank": 1}
        insert_raw(home, "think", llm_candidates=[row | {"run_id": run_id}])

    def samples() -> dict[int, tuple]:
        """By day of March: region, labels, texts of the items in the context."""
        return {
            row["session_date"].day: (
                row["region"],
                row["labels"],
                [b["content_text"] for b in row["behaviors"] if b["action"] == "item_click"],
            )
            for row in rows_of(home, "from samples.samples_think")
        }

    def change(statement: str) -> None:
        warehouse.write(home, lambda lake: lake.execute(statement))

    rule = "Lamp 1, Lamps"
    day(1), day(2)
    run_dbt(home, "run", variables=variables)
    assert samples() == {1: ("north", ["lamp 1"], []), 2: ("north", ["lamp 2"], [rule])}

    # A teacher's first word on a day belongs to it; the texts of the day are those of that build.
    teach("20260302T000000-a", "torch", "2026-03-02")
    run_dbt(home, "run", variables=variables)
    assert samples()[2] == ("north", ["lamp 2", "torch"], [rule])

    # A second word, a text in place of the rule's and a moved user are for the days to come, and
    # for the first day, of which a teacher speaks for the first time.
    teach("20260303T000000-b", "candle", "2026-03-02")
    teach("20260303T000000-b", "axe", "2026-03-01")
    text = {"item_id": "i1", "item_text": "bright lamp", "run_id": "20260303T000000-c"}
    insert_raw(home, "items", generated_texts=[text])
    change("UPDATE lake.raw.users SET region = 'south'")
    day(3)
    run_dbt(home, "run", variables=variables)
    assert samples() == {
        1: ("south", ["lamp 1", "axe"], []),
        2: ("north", ["lamp 2", "torch"], [rule]),
        3: ("south", ["lamp 3"], ["bright lamp"] * 2),
    }
    contexts = rows_of(home, "select behaviors from samples.test_user_days order by session_date")
    texts = [[b["content_text"] for b in row["behaviors"]] for row in contexts]
    assert texts[0] == ["lamp 1", rule]
    assert texts[1] == ["lamp 1", "bright lamp", "lamp 2", "bright lamp"]

    # One day needs no brackets.
    asked = variables | {"rebuild_days": "2026-03-02"}
    run_dbt(home, "run", variables=asked)
    assert samples()[2] == ("south", ["lamp 2", "candle"], ["bright lamp"])
    (run,) = rows_of(home, "from meta.runs order by started_at desc limit 1")
    assert json.loads(run["parameters"])["vars"]["rebuild_days"] == ["2026-03-02"]

    others = variables | {"rebuild_days": ["2026-03-01", "2026-02-28", "2026-03-04"]}
    result = run_dbt(home, "run", variables=others, check=False)
    assert result.returncode != 0
    refused = "holds 2026-02-28, 2026-03-04; the shop's days are 2026-03-01 to 2026-03-03"
    assert refused in " ".join(result.stdout.split())


@pytest.mark.slow
def test_a_build_after_one_that_nobody_can_go_on_from_begins_anew(
    home, insert_raw, run_dbt, rows_of
):
    """Days cut in the wrong zone by a first build that was stopped, or by a killed full refresh."""

    def late_event(number: int) -> dict:
        at = datetime(2026, 3, number, 20, tzinfo=UTC)
        row = {"event_id": f"e{number}", "user_id": "ann", "action": "search", "occurred_at": at}
        return row | {"query_text": "lamp"}

    def dates() -> list[int]:
        return [r["event_date"].day for r in rows_of(home, "from staging.stg_events order by 4")]

    insert_raw(home, events=[late_event(1), late_event(2)])
    run_dbt(home, "run", "-s", "+stg_events")
    assert dates() == [1, 2]
    variables = {"shop_timezone": "Asia/Tokyo", "train_days": 1}
    run_dbt(home, "run", variables=variables)
    assert dates() == [2, 3]

    def killed(run_id: str, **arguments) -> None:
        """Begun before all others, its turn to write came after theirs."""
        with warehouse.connect(home, read_only=True) as con:
            read = warehouse.current_snapshot(con)
        run = {"run_id": run_id, "job": "dbt run", "status": "running", "snapshot_read": read}
        run["parameters"] = json.dumps({"arguments": {"full_refresh": True, **arguments}})
        insert_raw(home, "meta", runs=[run | {"started_at": datetime(2026, 3, 1, tzinfo=UTC)}])

    change = "UPDATE lake.staging.stg_events SET event_date = event_date - 1"
    warehouse.write(home, lambda lake: lake.execute(change))
    # Of a part: all days are still what they were built from, by the same variables.
    killed("part", select=["x2q_index"])
    refused = run_dbt(home, "run", check=False)
    assert "shop_timezone was Asia/Tokyo and is now UTC" in " ".join(refused.stdout.split())
    run_dbt(home, "run", variables=variables)
    assert dates() == [1, 2]
    killed("all")
    run_dbt(home, "run", variables=variables)
    assert dates() == [2, 3]

    request = {
        "request_id": "r1",
        "user_id": "ann",
        "requested_at": datetime(2026, 3, 2, tzinfo=UTC),
    }
    insert_raw(home, hint_requests=[request])
    refused = run_dbt(home, "run", variables=variables, check=False)
    said = " ".join(refused.stdout.split())
    assert "the first hint requests have come, and take the place of the replayed ones" in said
    run_dbt(home, "run", "--full-refresh", variables=variables)

    insert_raw(home, events=[late_event(9) | {"occurred_at": datetime(2026, 2, 1, tzinfo=UTC)}])
    refused = run_dbt(home, "run", variables=variables, check=False)
    said = " ".join(refused.stdout.split())
    assert "an event of 2026-02-01 has come ('e9'), before the first day 2026-03-02" in said
    assert dates() == [2, 3]
    # The last begun is not the last: others had their turn while it waited.
    (read,) = rows_of(home, "select max(snapshot_read) as last from meta.runs")
    waited = {"run_id": "waited", "job": "dbt run", "status": "succeeded"}
    waited |= {"started_at": datetime.now(UTC), "snapshot_read": read["last"] - 1}
    waited["metrics"] = json.dumps({"is_complete": True})
    waited["parameters"] = json.dumps({"vars": {"shop_timezone": "UTC"}})
    insert_raw(home, "meta", runs=[waited])
    gone = "DELETE FROM lake.raw.events WHERE event_id = 'e9'"
    warehouse.write(home, lambda lake: lake.execute(gone))
    run_dbt(home, "run", variables=variables)
    assert dates() == [2, 3]


@pytest.mark.slow
def test_the_first_events_say_which_days_train(home, insert_raw, run_dbt, rows_of):
    """Hints of a shop whose events have not come yet count as test days; built anew with them, as
    what they are."""
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    hint = {"request_id": "r1", "rank": 1, "rank_score": 0.5, "query_text": "lamp"}
    insert_raw(
        home,
        hint_requests=[{"request_id": "r1", "user_id": "ann", "requested_at": at}],
        hint_candidates=[hint | {"displayed": True, "clicked_at": at}],
    )
    splits = "select split from samples.samples_direct"
    run_dbt(home, "run")
    assert rows_of(home, splits) == [{"split": "test"}]
    run_dbt(home, "run")

    event = {"event_id": "e1", "user_id": "ann", "action": "search", "query_text": "lamp"}
    insert_raw(home, events=[event | {"occurred_at": at}])
    refused = run_dbt(home, "run", check=False)
    assert "the first events have come, and say which days train" in " ".join(
        refused.stdout.split()
    )
    run_dbt(home, "run", "--full-refresh")
    assert rows_of(home, splits) == [{"split": "train"}]


@pytest.mark.slow
def test_a_click_whose_request_came_late_is_not_lost(
    make_home, tmp_path, insert_raw, run_dbt, rows_of
):
    """It was clicked after midnight, on a day of which nothing else is new, and the run that places
    it with its request builds a part of the tables."""

    def at(day: int, hour: int, minute: int = 0) -> datetime:
        return datetime(2026, 3, day, hour, minute, tzinfo=UTC)

    search = {"event_id": "e1", "user_id": "ann", "action": "search", "query_text": "lamp"}
    hint = {"rank": 1, "rank_score": 0.5, "displayed": True, "position": 1}
    early = {
        "events": [search | {"occurred_at": at(1, 9)}],
        "hint_requests": [{"request_id": "r0", "user_id": "ann", "requested_at": at(1, 8)}],
        "hint_candidates": [
            hint | {"request_id": "r0", "query_text": "lamp", "clicked_at": at(1, 9)},
            hint | {"request_id": "r1", "query_text": "tent", "clicked_at": at(3, 0, 10)},
            hint | {"request_id": "r2", "query_text": "rope", "clicked_at": at(3, 0, 10)},
        ],
    }
    late = {
        "hint_requests": [
            {"request_id": "r1", "user_id": "ann", "requested_at": at(2, 23, 50)},
            {"request_id": "r2", "user_id": "ann", "requested_at": at(3, 0, 20)},
        ]
    }
    by_day, at_once = (make_home(tmp_path / name) for name in ("by_day", "at_once"))
    variables = {"train_days": 1}
    insert_raw(by_day, **early)
    said = run_dbt(by_day, "build", variables=variables).stdout
    for request in ("r1", "r2"):
        assert f"request_id {request}, fault there is no such request, candidates 1" in said
    insert_raw(by_day, **late)
    run_dbt(by_day, "run", "-s", "+query_categories", variables=variables)
    said = run_dbt(by_day, "build", variables=variables).stdout
    assert "request_id r2, fault clicked before it was asked for, candidates 1" in said
    assert "request_id r1," not in said
    assert "r2, fault" not in run_dbt(by_day, "build", variables=variables).stdout
    insert_raw(at_once, **early)
    insert_raw(at_once, **late)
    run_dbt(at_once, "run", variables=variables)
    clicks = "from items.query_days where query_text = 'tent' and hint_clicks > 0"
    assert [row["stat_date"].day for row in rows_of(at_once, clicks)] == [3]
    found, expected = tables(rows_of, by_day), tables(rows_of, at_once)
    for name, rows in expected.items():
        assert found[name] == rows, name


@pytest.mark.slow
def test_a_text_that_a_run_of_a_part_did_not_know_is_looked_up_again(
    home, insert_raw, run_dbt, rows_of
):
    def search(number: int, text: str) -> dict:
        at = datetime(2026, 3, number, 9, tzinfo=UTC)
        return {
            "event_id": f"e{number}",
            "user_id": "ann",
            "occurred_at": at,
            "action": "search",
            "query_text": text,
        }

    def texts() -> list:
        return [row["query_text"] for row in rows_of(home, "from staging.stg_events order by all")]

    insert_raw(home, events=[search(1, "Lamp")])
    run_dbt(home, "run", variables={"train_days": 1})
    insert_raw(home, events=[search(2, "Tent"), search(3, " ")])
    run_dbt(home, "run", "-s", "stg_events", variables={"train_days": 1})
    assert texts() == ["lamp", None, None]
    run_dbt(home, "run", variables={"train_days": 1})
    assert texts() == ["lamp", "tent", None]


@pytest.mark.slow
def test_a_profile_that_comes_late_counts_among_its_kind(
    make_home, tmp_path, insert_raw, run_dbt, rows_of
):
    """Ann's search is of nobody known until her row comes; then it is what users like Cy search,
    whose test day was built before."""

    def search(user: str, day: int, text: str) -> dict:
        row = {"event_id": user, "user_id": user, "action": "search", "query_text": text}
        return row | {"occurred_at": datetime(2026, 3, day, 9, tzinfo=UTC)}

    def user(name: str) -> dict:
        return {"user_id": name, "gender": "f", "age_band": "25-34", "region": "north"}

    events = [search("bob", 1, "tent"), search("ann", 1, "zip"), search("cy", 2, "axe")]
    by_day, at_once = (make_home(tmp_path / name) for name in ("by_day", "at_once"))
    variables = {"train_days": 1}
    of_cy = "from eval.baseline_lists where model = 'popularity_profile' order by position"
    insert_raw(by_day, events=events, users=[user("cy")])
    run_dbt(by_day, "run", variables=variables)
    assert [row["query_text"] for row in rows_of(by_day, of_cy)] == ["tent", "zip"]
    insert_raw(by_day, users=[user("ann")])
    run_dbt(by_day, "run", variables=variables)
    assert [row["query_text"] for row in rows_of(by_day, of_cy)] == ["zip", "tent"]
    insert_raw(at_once, events=events, users=[user("cy"), user("ann")])
    run_dbt(at_once, "run", variables=variables)
    found, expected = tables(rows_of, by_day), tables(rows_of, at_once)
    for name, rows in expected.items():
        assert found[name] == rows, name


_SETTINGS = settings(
    deadline=None,
    database=None,
    # A smaller example costs as many builds as a large one.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_who_has_nothing_new_on_a_changed_day_keeps_the_past(
    make_home, tmp_path, insert_raw, run_dbt, rows_of
):
    """A day with a late search is built anew for everyone: for Ann, who searched late, and for Bob,
    of whom all has been known."""

    def search(user: str, day: int, text: str) -> dict:
        row = {"event_id": f"{user}{text}", "user_id": user, "action": "search", "query_text": text}
        return row | {"occurred_at": datetime(2026, 3, day, 9, tzinfo=UTC)}

    early = [search(user, day, f"lamp {day}") for user in ("ann", "bob") for day in (1, 2, 3)]
    entry = {"event_id": "entry", "user_id": "bob", "action": "search_entry"}
    early.append(entry | {"occurred_at": datetime(2026, 3, 3, 8, tzinfo=UTC)})
    asked_at = {
        "r1": datetime(2026, 3, 2, 10, tzinfo=UTC),
        "r2": datetime(2026, 3, 3, 10, tzinfo=UTC),
    }
    requests = [{"request_id": r, "user_id": "bob", "requested_at": t} for r, t in asked_at.items()]
    hint = {"query_text": "tent", "displayed": True, "rank": 1, "rank_score": 0.5}
    hints = [hint | {"request_id": r, "clicked_at": t} for r, t in asked_at.items()]
    by_day, at_once = (make_home(tmp_path / name) for name in ("by_day", "at_once"))
    variables = {"train_days": 2}
    for home in (by_day, at_once):
        insert_raw(home, events=early, hint_requests=requests, hint_candidates=hints)
    run_dbt(by_day, "run", variables=variables)
    for home in (by_day, at_once):
        insert_raw(home, events=[search("ann", 3, "rope")])
        run_dbt(home, "run", variables=variables)
    for table in ("samples_direct", "samples_think", "samples_ctr", "test_user_days"):
        of_bob = "where user_id = 'bob' and session_date = '2026-03-03'"
        (row,) = rows_of(by_day, f"from samples.{table} {of_bob}")
        assert [b["content_text"] for b in row["behaviors"]][:2] == ["lamp 1", "lamp 2"], table
    found, expected = tables(rows_of, by_day), tables(rows_of, at_once)
    for name, rows in expected.items():
        assert found[name] == rows, name


@given(arrivals(most_batches=2, parts=PARTS, first_days=FIRST_DAYS[1:], hints=(True,)))
@settings(_SETTINGS, max_examples=1, derandomize=True)
def test_a_build_by_days_is_a_build_at_once(compare, arriving):
    compare(arriving)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(arrivals(most_batches=4))
@settings(_SETTINGS, max_examples=12)
def test_any_order_of_arrival_ends_in_the_same_tables(compare, arriving):
    compare(arriving)
