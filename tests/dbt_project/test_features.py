"""The feature tables and the parquet files that Feast reads."""

import itertools
import random
import shutil
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd
import pytest
from click.testing import CliRunner

from aigq import features, warehouse
from aigq.cli import main
from aigq.settings import Home
from aigq.text import normalize_query

MICROSECOND = timedelta(microseconds=1)
ONLINE = "later in each later build"


@pytest.mark.parametrize(
    "name",
    [
        "user_profile",
        "user_behaviors",
        "item_profile",
        "query_stats",
        "popular_queries",
        "u2q",
        "x2q",
    ],
)
def test_the_exported_file_is_the_table(random_shop, rows_of, name):
    home, _ = random_shop
    path = home.features / f"{name}.parquet"
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    exported = con.sql(f"select * from '{path}' order by all").to_arrow_table().to_pylist()
    assert exported and exported == rows_of(home, f"select * from features.{name} order by all")
    if name == "user_behaviors":
        assert path.stat().st_nlink == 2, "built from scratch, it is the lake's own file"
    assert {p.name for p in home.features.iterdir()} == {
        "user_profile.parquet",
        "user_behaviors.parquet",
        "item_profile.parquet",
        "query_stats.parquet",
        "popular_queries.parquet",
        "u2q.parquet",
        "x2q.parquet",
    }


def test_rows_that_replace_as_many_are_exported(home, insert_raw, run_dbt, rows_of):
    """Ann's late search makes her as many rows as she had: a lake that may keep a few rows in its
    catalog keeps them, and which of before are gone, beside the file, which still has as many."""

    def search(user: str, day: int, text: str) -> dict:
        row = {"event_id": f"{user}{text}", "user_id": user, "action": "search", "query_text": text}
        return row | {"occurred_at": datetime(2026, 3, day, 9, tzinfo=UTC)}

    users = [f"u{number:02}" for number in range(30)]
    events = [search(user, day, f"lamp {day}") for user in ["ann", *users] for day in (1, 20)]
    # With hints of its own no day of the shop is replayed, which would make all rows anew.
    request = {"request_id": "r1", "user_id": "u01"}
    insert_raw(
        home,
        events=events,
        hint_requests=[request | {"requested_at": datetime(2026, 3, 1, 8, tzinfo=UTC)}],
    )
    warehouse.write(
        home, lambda lake: lake.execute("CALL lake.set_option('data_inlining_row_limit', '10')")
    )
    path = home.features / "user_behaviors.parquet"
    of_ann = "where user_id = 'ann' order by event_timestamp"
    run_dbt(home, "run")
    before = rows_of(home, f"from '{path}' {of_ann}")
    assert path.stat().st_nlink == 2
    insert_raw(home, events=[search("ann", 2, "rope")])
    run_dbt(home, "run")
    after = rows_of(home, f"from '{path}' {of_ann}")
    assert len(after) == len(before) == 3
    assert [row["content_texts"][-1] for row in after] == ["rope", "lamp 20", "lamp 20"]
    everyone = "order by user_id, event_timestamp"
    assert rows_of(home, f"from '{path}' {everyone}") == rows_of(
        home, f"from features.user_behaviors {everyone}"
    )


def test_a_merged_file_is_not_exported_as_it_is(random_shop, run_dbt, rows_of, tmp_path):
    """DuckLake keeps a column of its own in it, which Feast would take for a feature."""
    original, reference = random_shop
    shutil.copytree(original.root / "lake", tmp_path / "lake")
    home = Home(tmp_path)
    table = "lake.features.user_behaviors"
    rows = f"FROM {table} AT (VERSION => {{}}) WHERE user_id {{}} 'u3'"
    with warehouse.connect(home, read_only=True) as con:
        newest = warehouse.current_snapshot(con)
    warehouse.write(home, lambda lake: lake.execute(f"DELETE FROM {table}"))
    for part in ("<", ">="):
        insert = f"INSERT INTO {table} {rows.format(newest, part)}"
        warehouse.write(home, lambda lake, sql=insert: lake.execute(sql))
    merge = "CALL ducklake_merge_adjacent_files('lake')"
    assert warehouse.write(home, lambda lake: lake.execute(merge).fetchall())
    run_dbt(home, "run", "-s", "user_behaviors", variables=reference.variables)
    exported = home.features / "user_behaviors.parquet"
    columns = duckdb.sql(f"DESCRIBE FROM '{exported}'").fetchall()
    described = rows_of(home, "DESCRIBE FROM features.user_behaviors")
    assert [name for name, *_ in columns] == [row["column_name"] for row in described]


def known_at(row):
    """The event time of a row of user_behaviors; ONLINE for the row that online stores get."""
    after = row["event_timestamp"] - row["moments"][-1]
    assert MICROSECOND <= after < timedelta(seconds=1)
    return row["event_timestamp"] if after == MICROSECOND else ONLINE


def test_user_behaviors_are_the_newest_at_each_moment(random_shop, rows_of):
    home, reference = random_shop
    last_day = max(reference.day(e["occurred_at"]) for e in reference.raw["events"])
    leaves = {f"item:{i['item_id']}": i["leaf_category_id"] or "" for i in reference.raw["items"]}
    expected = {}
    for user, own in reference.behaviors().items():
        moments = sorted({b["occurred_at"] for b in own})
        window = [m for m in moments if reference.day(m) > last_day - timedelta(days=2)]
        before = [m for m in moments if m not in window]
        for moment in [*before[-1:], *window]:
            past = [b for b in own if b["occurred_at"] <= moment][-7:]
            context = [
                (
                    b["content_key"],
                    b["content_text"],
                    leaves.get(b["content_key"], ""),
                    b["action"],
                    b["occurred_at"],
                )
                for b in past
            ]
            # The user's newest has a row for online stores, and in the window one of its time.
            if moment in window or moment != moments[-1]:
                expected[user, moment + MICROSECOND] = context
            if moment == moments[-1]:
                expected[user, ONLINE] = context
    found = {
        (r["user_id"], known_at(r)): list(
            zip(
                r["content_keys"],
                r["content_texts"],
                r["leaf_category_ids"],
                r["actions"],
                r["moments"],
                strict=True,
            )
        )
        for r in rows_of(
            home,
            "select *, list_transform(occurred_at_us, lambda us: make_timestamptz(us)) as moments"
            " from features.user_behaviors",
        )
    }
    assert found == expected


def test_items_are_as_the_newest_build_knows_them(random_shop, rows_of):
    home, reference = random_shop
    texts = reference.item_texts()
    found = {r["item_id"]: r for r in rows_of(home, "from features.item_profile")}
    assert found.keys() == {i["item_id"] for i in reference.raw["items"]}
    newest = max(e["occurred_at"] for e in reference.raw["events"])
    for item in reference.raw["items"]:
        row = found[item["item_id"]]
        assert row["item_text"] == texts[item["item_id"]]
        assert row["leaf_category_id"] == item["leaf_category_id"]
        assert MICROSECOND < row["event_timestamp"] - newest < timedelta(seconds=1)


# What each table has a newest row of.
KEYS = {
    "user_profile": "user_id",
    "user_behaviors": "user_id",
    "item_profile": "item_id",
    "query_stats": "query_text",
    "popular_queries": "surface",
    "x2q": "trigger",
}


@pytest.mark.slow
def test_of_two_builds_of_the_same_events_the_later_counts_online(
    home, insert_raw, run_dbt, rows_of
):
    """Between them a job may have described items anew, or proposed what triggers lead to, a user
    may have moved, and behaviours may have come late; stores keep the first of two rows of one
    moment."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    event = {"event_id": "e1", "user_id": "ann", "action": "search", "query_text": "lamp"}
    item = {"item_id": "i1", "title": "Lamp", "leaf_category_id": "c1", "leaf_category": "Lamps"}
    insert_raw(
        home,
        users=[{"user_id": "ann", "region": "north"}],
        events=[event | {"occurred_at": at}],
        items=[item],
    )

    def newest_rows():
        run_dbt(home, "run", "-s", *(f"+{table}" for table in KEYS))
        return {
            (table, row[key]): row
            for table, key in KEYS.items()
            for row in rows_of(home, f"from features.{table} order by event_timestamp")
        }

    first = newest_rows()
    assert {table for table, _ in first} == KEYS.keys()
    insert_raw(home, events=[event | {"event_id": "e0", "occurred_at": at - timedelta(hours=1)}])
    warehouse.write(home, lambda lake: lake.execute("UPDATE lake.raw.users SET region = 'south'"))
    second = newest_rows()
    assert second["user_profile", "ann"]["region"] == "south"
    assert second["user_behaviors", "ann"]["content_keys"] == ["query:lamp"] * 2
    assert second["query_stats", "lamp"]["page_views_1d"] == 2
    assert first.keys() == second.keys()
    for row, later in ((first[key], second[key]) for key in first):
        assert timedelta() < later["event_timestamp"] - row["event_timestamp"] < MICROSECOND * 1000
        assert row["created_at"] < later["created_at"]


def test_profiles_hold_everyone_who_was_seen(random_shop, rows_of):
    """A user without a profile row has nulls."""
    home, reference = random_shop
    found = {r["user_id"]: r for r in rows_of(home, "from features.user_profile")}
    seen = {e["user_id"] for e in reference.raw["events"]}
    assert found.keys() == seen | {u["user_id"] for u in reference.raw["users"]}
    for user in seen:
        since = found[user]["event_timestamp"] - datetime(2000, 1, 1, tzinfo=UTC)
        assert timedelta() < since < timedelta(seconds=1)
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
    assert row["shop_timezone"] == reference.variables["shop_timezone"]
    assert row["queries"] == sorted(users, key=lambda q: (-len(users[q]), q))[:30]
    assert MICROSECOND < row["event_timestamp"] - last < timedelta(seconds=1)


def test_query_stats_are_counts_of_days(random_shop, rows_of):
    """Counted again from the raw log; the shop is too young for the window of 30 days to end."""
    home, reference = random_shop
    requested = {r["request_id"]: r["requested_at"] for r in reference.raw["hint_requests"]}
    views, shown, clicked = Counter(), Counter(), Counter()
    for e in reference.raw["events"]:
        if e["action"] == "search":
            views[normalize_query(e["query_text"]), reference.day(e["occurred_at"])] += 1
    for c in reference.raw["hint_candidates"]:
        if c["displayed"]:
            key = normalize_query(c["query_text"]), reference.day(requested[c["request_id"]])
            shown[key] += 1
            if c["clicked_at"]:
                clicked[key[0], reference.day(c["clicked_at"])] += 1
    last_event = max(e["occurred_at"] for e in reference.raw["events"])
    last_day = reference.day(last_event)
    clicks = [c["clicked_at"] for c in reference.raw["hint_candidates"] if c["clicked_at"]]
    newest = max(last_event, *requested.values(), *clicks)
    zone = ZoneInfo(reference.variables["shop_timezone"])
    expected = {}
    for day in (last_day - timedelta(days=1), last_day):
        midnight = datetime.combine(day + timedelta(days=1), time(), zone)
        known_at = min(midnight, newest + MICROSECOND)
        for query in {q for q, d in views | shown | clicked if d <= day}:
            row = expected[query, known_at] = {}
            for window in (1, 7, 30):
                for name, counts in (
                    ("page_views", views),
                    ("hint_impressions", shown),
                    ("hint_clicks", clicked),
                ):
                    row[f"{name}_{window}d"] = sum(
                        n
                        for (q, d), n in counts.items()
                        if q == query and day - timedelta(days=window) < d <= day
                    )
    rows = rows_of(home, "from features.query_stats")
    build = max(r["event_timestamp"] for r in rows) - max(at for _, at in expected)
    assert timedelta() < build < timedelta(seconds=1)
    found = {(r["query_text"], r["event_timestamp"] - build): r for r in rows}
    assert found.keys() == expected.keys() and len(found) > 8
    for key, row in expected.items():
        assert row == {name: found[key][name] for name in row}


def assert_historical_features_are(home, samples, zone):
    """Feast's context of each user and moment of ``samples`` is the one in the row."""
    wanted = pd.DataFrame(
        {
            "user_id": [row["user_id"] for row in samples],
            "event_timestamp": pd.to_datetime([row["session_start_at"] for row in samples]),
            "place": range(len(samples)),
        }
    )
    store = features.open_store(home)
    found = store.get_historical_features(
        entity_df=wanted, features=store.get_feature_service("direct_context")
    ).to_df()
    assert sorted(found["place"]) == list(range(len(samples)))
    for row in found.to_dict("records"):
        sample = samples[row["place"]]
        keys = row["content_keys"]
        context = [] if keys is None or keys is pd.NA else list(keys)
        assert context == [b["content_key"] for b in sample["behaviors"]]
        if context:
            assert list(row["content_texts"]) == [b["content_text"] for b in sample["behaviors"]]
            assert list(row["actions"]) == [b["action"] for b in sample["behaviors"]]
            days = [
                datetime.fromtimestamp(int(us) // 1_000_000, ZoneInfo(zone)).date()
                for us in row["occurred_at_us"]
            ]
            assert [(sample["session_date"] - day).days for day in days] == [
                b["days_ago"] for b in sample["behaviors"]
            ]
        for name in ("age_band", "gender", "region"):
            known = row[name] if isinstance(row[name], str) else None
            assert known == sample[name]


def assert_features_as_of(home, view, keys, moments, known):
    """All of Feast's features of each key and moment are those of an as-of join in SQL over the
    query ``known``. Returns the number of different rows of each key, none included."""
    store = features.open_store(home)
    definition = store.get_feature_view(view)
    (key,) = (column.name for column in definition.entity_columns)
    names = [field.name for field in definition.features]
    wanted = pd.DataFrame(
        itertools.product(sorted(keys), sorted(moments)), columns=[key, "event_timestamp"]
    )
    wanted["place"] = range(len(wanted))
    with closing(warehouse.connect(home, read_only=True)) as con:
        con.register("wanted", wanted)
        expected = con.sql(
            f"select place, {', '.join(f'known.{name}' for name in names)} from wanted"
            f" asof left join ({known}) as known on wanted.{key} = known.{key}"
            " and wanted.event_timestamp >= known.event_timestamp order by place"
        ).to_arrow_table()
    found = store.get_historical_features(
        entity_df=wanted, features=[f"{view}:{name}" for name in names]
    ).to_arrow()
    found = found.select(["place", *names]).sort_by("place").to_pylist()
    assert found == expected.to_pylist()
    different = defaultdict(set)
    for of_key, row in zip(wanted[key], found, strict=True):
        different[of_key].add(str([row[name] for name in names]))
    return {of_key: len(rows) for of_key, rows in different.items()}


def around(moments):
    """Just before, at and just after each, and long after all."""
    near = {moment + n * MICROSECOND for moment in moments for n in (-1, 0, 1)}
    return near | {max(moments) + timedelta(days=90)}


def test_historical_features_are_the_contexts_that_sql_made(random_shop, rows_of, run_feast):
    """Point in time: Feast joins by time alone, the samples were made by SQL from the log."""
    home, reference = random_shop
    run_feast(home, "apply")
    last_day = max(reference.day(e["occurred_at"]) for e in reference.raw["events"])
    samples = [
        row
        for table in ("samples_direct", "samples_think", "samples_ctr", "test_user_days")
        for row in rows_of(home, f"from samples.{table}")
        if row["session_date"] > last_day - timedelta(days=2)
    ]
    assert len(samples) > 30
    assert_historical_features_are(home, samples, reference.variables["shop_timezone"])
    rows = rows_of(home, "from features.query_stats")
    found = assert_features_as_of(
        home,
        "query_stats",
        {row["query_text"] for row in rows},
        around({row["event_timestamp"] for row in rows}),
        "from features.query_stats",
    )
    # None, and one of each of two days.
    assert Counter(found.values())[3] > 4


def test_historical_features_of_two_builds_of_the_index(
    random_shop, insert_raw, run_dbt, rows_of, run_feast, tmp_path
):
    """The file of a build has the rows of that build, so nothing is known before them. Beside those
    of the build before, each moment has its own, and a trigger that left the index keeps its last
    one."""
    original, reference = random_shop
    for name in ("lake", "features"):
        shutil.copytree(original.root / name, tmp_path / name)
    home = Home(tmp_path)
    exported = home.features / "x2q.parquet"
    run_feast(home, "apply")
    with closing(warehouse.connect(home, read_only=True)) as con:
        first_build = warehouse.current_snapshot(con)
    first = {row["trigger"]: row for row in rows_of(home, "from features.x2q")}
    earlier = exported.rename(tmp_path / "earlier.parquet")

    # What was relevant no longer is, and nobody leads from boots to anything.
    left, run = "query:boots", {"run_id": "20200103T000000-c"}
    triples = reference.newest_run("serving", "x2q_triples", "session_id").values()
    scores = reference.newest_run("serving", "x2q_scores", "trigger", "query_text").values()
    insert_raw(
        home,
        "serving",
        x2q_triples=[
            point | run | {"triggers": [t for t in point["triggers"] if t != left]}
            for points in triples
            for point in points
        ],
        x2q_scores=[row | run | {"relevance": 1 - row["relevance"]} for (row,) in scores],
    )
    run_dbt(home, "run", "-s", "x2q_index", "features.x2q", variables=reference.variables)
    second = {row["trigger"]: row for row in rows_of(home, "from features.x2q")}
    assert first.keys() - second.keys() == {left}
    stayed = first.keys() & second.keys()
    assert sum(first[trigger]["queries"] != second[trigger]["queries"] for trigger in stayed) > 5
    moments = {row["event_timestamp"] for build in (first, second) for row in build.values()}
    assert len(moments) == 2

    alone = assert_features_as_of(home, "x2q", first, around(moments), "from features.x2q")
    assert alone == dict.fromkeys(stayed, 2) | {left: 1}
    both = tmp_path / "both.parquet"
    duckdb.execute(f"copy (from '{earlier}' union all from '{exported}') to '{both}'")
    both.replace(exported)
    found = assert_features_as_of(
        home,
        "x2q",
        first,
        around(moments),
        f"from features.x2q at (version => {first_build}) union all from features.x2q",
    )
    # None, that of the first build, that of the second.
    assert found == dict.fromkeys(stayed, 3) | {left: 2}


@pytest.mark.slow
def test_historical_features_of_a_larger_shop(home, rows_of, run_dbt, run_feast):
    """500 users of a simulated shop whose days end where neither the simulator's nor UTC's do."""
    landing = str(home.landing)
    for arguments in (
        ("simulate", "--users", "2000", "--days", "20", "--seed", "3", "--out", landing),
        ("ingest", landing),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    zone = "America/New_York"
    variables = {"shop_timezone": zone, "train_days": 17, "feature_days": 5}
    tables = ["samples_direct", "samples_think", "test_user_days"]
    selected = [*tables, "path:dbt_project/models/features"]
    run_dbt(home, "run", "-s", *(f"+{name}" for name in selected), variables=variables)
    run_feast(home, "apply")
    (shop,) = rows_of(home, "from meta.shop")
    last_day = shop["last_event_at"].astimezone(ZoneInfo(zone)).date()
    samples = [
        row
        for table in tables
        for row in rows_of(home, f"from samples.{table}")
        if row["session_date"] > last_day - timedelta(days=5)
    ]
    users = set(random.Random(3).sample(sorted({row["user_id"] for row in samples}), 500))
    samples = [row for row in samples if row["user_id"] in users]
    assert sum(len(row["behaviors"]) == 50 for row in samples) > 100
    assert_historical_features_are(home, samples, zone)
    rows = rows_of(home, "select query_text, event_timestamp from features.query_stats")
    queries = random.Random(3).sample(sorted({row["query_text"] for row in rows}), 200)
    moments = {row["event_timestamp"] for row in rows}
    assert len(moments) == 5
    found = assert_features_as_of(
        home, "query_stats", queries, around(moments), "from features.query_stats"
    )
    # None, and one of each of five days.
    assert Counter(found.values())[6] > 100
