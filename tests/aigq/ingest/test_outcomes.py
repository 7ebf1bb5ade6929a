"""Every outcome that architecture.md lists, on rows a person can check by eye."""

import gzip
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from aigq.contract import TABLES
from aigq.tables import RAW_TABLES

ENDINGS = ("csv", "csv.gz", "jsonl", "jsonl.gz", "parquet", "parquet.gz")


def test_contract_is_what_the_lake_stores():
    for name, table in TABLES.items():
        ddl = ", ".join(f"{column.name} {column.type}" for column in table.columns)
        assert " ".join(RAW_TABLES[f"raw.{name}"].split()) == ddl


def test_a_shop_is_loaded_and_loaded_again_without_effect(shop):
    shop.put_shop()
    first = shop.counts(shop.ingest())
    assert first == {
        "users": (2, 2, 0, 0, 0),
        "items": (2, 2, 0, 0, 0),
        "events": (5, 5, 0, 0, 0),
        "hint_requests": (1, 1, 0, 0, 0),
        "hint_candidates": (2, 2, 0, 0, 0),
    }
    once = shop.tables()
    again = shop.counts(shop.ingest())
    assert again == {t: (c[0], 0, 0, 0, c[0]) for t, c in first.items()}
    assert shop.tables() == once
    runs = shop.query("SELECT job, status, metrics FROM meta.runs ORDER BY started_at")
    assert [run[:2] for run in runs] == [("ingest", "succeeded")] * 2
    assert json.loads(runs[0][2])["events"]["new"] == 5


def test_values_arrive_as_they_were_meant(shop):
    shop.put_shop()
    shop.ingest()
    assert shop.query("SELECT * FROM raw.items ORDER BY item_id") == [
        ("i1", 'Red "mug", 2 l', "c1", "mugs", "home > mugs", "Ačme",
         {"color": "red", "size": None}, ["new", "sale"], 9.5),
        ("i2", "茶壶", "c2", "pots", None, None, None, None, None),
    ]  # fmt: skip
    # A time without a zone is UTC; the query stays as typed.
    assert shop.query(
        "SELECT epoch_ms(occurred_at), query_text FROM raw.events WHERE event_id IN ('e1', 'e2')"
        " ORDER BY event_id"
    ) == [(1706774400000, None), (1706774400250, " Red  MUG\u00a0")]
    assert shop.query("SELECT rank, rank_score, displayed, position FROM raw.hint_candidates") == [
        (1, 0.75, True, 1),
        (2, -0.001, False, None),
    ]


@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_every_format_gives_the_same_tables(shop, ending):
    shop.put_shop()
    shop.ingest()
    from_csv = shop.tables()
    for path in shop.landing.iterdir():
        path.unlink()
    shop.put_shop(ending)
    # Not merely the same tables: each row equals the one that CSV gave.
    assert all(c[4] == c[0] > 0 for c in shop.counts(shop.ingest()).values())
    assert shop.tables() == from_csv


def test_a_folder_of_files_of_several_formats(shop, rows, encoded):
    events = rows["events"]
    shop.put("events/day=2024-02-01/a[1].csv", encoded(events[:2], "events", "csv"))
    shop.put("events/day=2024-02-02/b.jsonl.gz", encoded(events[2:4], "events", "jsonl.gz"))
    shop.put("events/day=2024-02-02/c*.parquet", encoded(events[4:], "events", "parquet"))
    shop.put("events/_SUCCESS", "")
    shop.put("events/.part.crc", "x")
    shop.put("README.md", "not data")
    result = shop.ingest()
    assert shop.counts(result) == {"events": (5, 5, 0, 0, 0)}
    assert "README.md: not a data file, ignored" in result.output


def test_users_and_items_are_replaced_by_newer_content(shop, rows):
    shop.put_shop()
    shop.ingest()
    rows["users"][0]["region"] = "east"
    rows["items"][1]["title"] = "tea pot"
    shop.put_shop(**rows)
    counts = shop.counts(shop.ingest())
    assert counts["users"] == (2, 0, 1, 0, 1)
    assert counts["items"] == (2, 0, 1, 0, 1)
    assert shop.query("SELECT user_id, region FROM raw.users ORDER BY ALL") == [
        ("u1", "east"),
        ("u2", "südwest"),
    ]
    assert shop.query("SELECT title FROM raw.items WHERE item_id = 'i2'") == [("tea pot",)]
    assert shop.quarantine() == []


def test_events_and_hints_keep_what_was_loaded_first(shop, rows):
    shop.put_shop()
    shop.ingest()
    once = shop.tables()
    rows["events"][1]["query_text"] = "something else"
    rows["hint_requests"][0]["user_id"] = "u2"
    rows["hint_candidates"][1]["rank_score"] = "0.5"
    shop.put_shop(**rows)
    counts = shop.counts(shop.ingest())
    assert counts["events"] == (5, 0, 0, 1, 4)
    assert counts["hint_requests"] == (1, 0, 0, 1, 0)
    assert counts["hint_candidates"] == (2, 0, 0, 1, 1)
    again = shop.tables()
    assert again | {"quarantine": []} == once
    assert shop.quarantine() == [
        ("events", "another row with the same event_id was loaded before"),
        ("hint_candidates", "another row with the same request_id, rank was loaded before"),
        ("hint_requests", "another row with the same request_id was loaded before"),
    ]
    row = json.loads(shop.query("SELECT row_json FROM raw.quarantine ORDER BY ALL LIMIT 1")[0][0])
    assert (row["event_id"], row["query_text"]) == ("e2", "something else")


def test_within_one_file_rows_count_one_after_the_other(shop, rows):
    a = rows["users"][0]
    b = a | {"region": "east"}
    shop.put_rows("users", [a, a, b, a, b, b])
    e = rows["events"][0]
    f = e | {"user_id": "u2"}
    shop.put_rows("events", [e, f, e, f])
    counts = shop.counts(shop.ingest())
    assert counts["users"] == (6, 1, 3, 0, 2)
    assert counts["events"] == (4, 1, 0, 2, 1)
    assert shop.query("SELECT region FROM raw.users") == [("east",)]
    assert shop.query("SELECT user_id FROM raw.events") == [("u1",)]
    # Twice the same broken row is two rows quarantined, stored once.
    assert len(shop.quarantine()) == 1


def test_a_row_already_in_quarantine_is_not_stored_twice(shop, rows):
    rows["events"][0]["action"] = "dance"
    shop.put_shop(**rows)
    shop.ingest()
    first = shop.query("SELECT * FROM raw.quarantine")
    assert shop.counts(shop.ingest())["events"] == (5, 0, 0, 1, 4)
    assert shop.query("SELECT * FROM raw.quarantine") == first
    table, reason, row, source, _, run_id, _ = first[0]
    assert (table, reason) == ("events", "unknown action dance")
    assert json.loads(row)["action"] == "dance"
    assert source.endswith("events.csv")
    assert run_id == shop.query("SELECT min(run_id) FROM meta.runs")[0][0]


# table, changed values, reason: each is one broken row among the good ones.
BROKEN_ROWS = [
    ("users", {"user_id": None}, "user_id is null"),
    ("users", {"registered_at": "soon"}, "registered_at is not a time"),
    ("users", {"registered_at": "{future}"}, "registered_at is later than now + 1 day"),
    ("items", {"title": None}, "title is null"),
    ("items", {"leaf_category_id": None}, "leaf_category_id is null"),
    ("items", {"price": "cheap"}, "price is not a finite number"),
    ("items", {"price": "nan"}, "price is not a finite number"),
    ("items", {"attributes": "color=red"}, "attributes is not a JSON object"),
    ("items", {"attributes": "[1]"}, "attributes is not a JSON object"),
    ("items", {"attributes": '{"a": 1, "a": 2}'}, "attributes is not a JSON object"),
    ("items", {"tags": "new,sale"}, "tags is not a JSON list"),
    ("events", {"event_id": None}, "event_id is null"),
    ("events", {"user_id": ""}, "user_id is null"),
    ("events", {"occurred_at": "2024-02-30 00:00:00"}, "occurred_at is not a time"),
    ("events", {"occurred_at": "1706774400"}, "occurred_at is not a time"),
    ("events", {"occurred_at": "infinity"}, "occurred_at is not a time"),
    ("events", {"occurred_at": "{future}"}, "occurred_at is later than now + 1 day"),
    ("events", {"occurred_at": "0001-01-01"}, "occurred_at is before 2000-01-02"),
    ("events", {"occurred_at": "2000-01-02 00:59:00+01"}, "occurred_at is before 2000-01-02"),
    ("events", {"occurred_at": "0044-03-15 (BC)"}, "occurred_at is before 2000-01-02"),
    ("events", {"action": "click"}, "unknown action click"),
    ("events", {"action": None}, "action is null"),
    ("events", {"action": "search", "query_text": None}, "search without query_text"),
    (
        "events",
        {"action": "search", "query_text": " \u3000\u00a0"},
        "query_text is empty after normalisation",
    ),
    ("events", {"action": "item_click", "item_id": None}, "item_click without item_id"),
    ("events", {"action": "cart", "item_id": None}, "cart without item_id"),
    ("events", {"action": "order", "item_id": None}, "order without item_id"),
    ("events", {"quantity": "1.5"}, "quantity is not a whole number"),
    ("events", {"quantity": "99999999999"}, "quantity is not a whole number"),
    ("events", {"quantity": "0"}, "quantity is below 1"),
    ("events", {"price": "-0.01"}, "price is below 0"),
    ("items", {"price": "-1"}, "price is below 0"),
    ("hint_candidates", {"rank": "0"}, "rank is below 1"),
    ("hint_candidates", {"position": "0"}, "position is below 1"),
    ("hint_requests", {"requested_at": None}, "requested_at is null"),
    ("hint_requests", {"requested_at": "1677-09-20"}, "requested_at is before 2000-01-02"),
    ("hint_candidates", {"clicked_at": "1970-01-01"}, "clicked_at is before 2000-01-02"),
    ("hint_candidates", {"rank": None}, "rank is null"),
    ("hint_candidates", {"rank_score": "inf"}, "rank_score is not a finite number"),
    ("hint_candidates", {"query_text": "\u2003"}, "query_text is empty after normalisation"),
    ("hint_candidates", {"displayed": "maybe"}, "displayed is not true or false"),
    ("hint_candidates", {"displayed": "false"}, "clicked_at on a candidate not displayed"),
    ("hint_candidates", {"clicked_at": "{future}"}, "clicked_at is later than now + 1 day"),
    (
        "hint_candidates",
        {"query_text": None, "rank": "x"},
        "rank is not a whole number; query_text is null",
    ),
]


def test_broken_rows_are_quarantined_and_their_neighbours_load(shop, rows):
    future = f"{datetime.now(UTC) + timedelta(days=1, minutes=5):%Y-%m-%d %H:%M:%S}"
    good_rows = {table: dict(first[0]) for table, first in rows.items()}
    expected = {}
    for number, (table, change, reason) in enumerate(BROKEN_ROWS):
        key = TABLES[table].key[-1]
        row = good_rows[table] | {key: str(number)}
        row |= {k: v and v.replace("{future}", future) for k, v in change.items()}
        rows[table].insert(1, row)
        expected[table, json.dumps({k: v or None for k, v in row.items()})] = reason
    shop.put_shop(**rows)
    result = shop.ingest()
    counts = shop.counts(result)
    for table in TABLES:
        broken = sum(t == table for t, _, _ in BROKEN_ROWS)
        good = len(rows[table]) - broken
        assert counts[table] == (good + broken, good, 0, broken, 0)
    found = {
        (table, json.dumps(json.loads(row))): reason
        for table, row, reason in shop.query(
            "SELECT table_name, row_json, reason FROM raw.quarantine"
        )
    }
    assert found == expected
    file = shop.landing / "users.csv"
    assert f"quarantined users: 1 x user_id is null (first: {file}, row 4)\n" in result.output
    assert result.stdout.endswith("what is quarantined: aigq sql 'FROM raw.quarantine'\n")


def test_a_load_counts_whoever_reads_its_report(shop, rows):
    """`aigq ingest | head` loaded the rows and said that it had failed."""
    shop.put_shop()
    reader, writer = os.pipe()
    os.close(reader)
    command = [
        sys.executable,
        "-c",
        "from aigq import cli; cli.main()",
        "ingest",
        str(shop.landing),
    ]
    home = {"AIGQ_HOME": str(shop.home.root)}
    subprocess.run(command, env=os.environ | home, stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    assert shop.query("SELECT status FROM meta.runs") == [("succeeded",)]
    assert len(shop.tables()["events"]) == len(rows["events"])


def test_where_a_broken_row_stands_is_said_and_kept(shop, rows, encoded):
    """Its file, and its row there; the reason as it is kept."""
    good, *_ = rows["events"]
    broken, other = good | {"event_id": "b1", "action": "dance"}, good | {"action": "app_exit"}
    for name, those in (
        ("a.csv", [good]),
        ("b.jsonl", [good | {"event_id": "e7"}, other, broken]),
        ("c.parquet", [broken | {"event_id": "b2"}, good | {"event_id": "e8"}]),
    ):
        shop.put(f"events/{name}", encoded(those, "events", name.split(".")[1]))
    conflict = "another row with the same event_id was loaded before"
    output = shop.ingest().stdout
    folder = shop.landing / "events"
    first = f"(first: {folder / 'b.jsonl'}, row"
    assert f"quarantined events: 2 x unknown action dance {first} 3)\n" in output
    assert f"quarantined events: 1 x {conflict} {first} 2)\n" in output
    assert shop.query(
        "SELECT reason, row_json->>'event_id', source_file, source_row FROM raw.quarantine"
        " ORDER BY source_file, source_row"
    ) == [
        (conflict, "e1", str(folder / "b.jsonl"), 2),
        ("unknown action dance", "b1", str(folder / "b.jsonl"), 3),
        ("unknown action dance", "b2", str(folder / "c.parquet"), 1),
    ]


def test_of_many_reasons_the_first_are_said_and_how_many_others(shop, rows):
    good, *_ = rows["events"]
    shop.put_rows(
        "events",
        [good | {"event_id": f"b{i}", "action": f"action{i:02}"} for i in range(12)] + [good],
    )
    output = shop.ingest().stdout
    assert "1 x unknown action action09" in output and "action10" not in output
    assert "quarantined events: 2 more reasons\n" in output


def test_rows_keep_their_number_in_a_file_of_many(shop, rows):
    """However many threads read it."""
    good, *_ = rows["events"]
    many = [good | {"event_id": f"e{i}"} for i in range(400_000)]
    for number in (3, 123_456, 399_999):
        many[number]["action"] = f"number {number + 1}"
    shop.put_rows("events", many)
    shop.ingest()
    found = shop.query("SELECT reason, source_row FROM raw.quarantine ORDER BY source_row")
    assert found == [(f"unknown action number {n}", n) for n in (4, 123_457, 400_000)]


def test_a_time_within_a_day_of_now_is_welcome(shop, rows):
    soon = f"{datetime.now(UTC) + timedelta(hours=23):%Y-%m-%dT%H:%M:%SZ}"
    rows["events"][0]["occurred_at"] = soon
    shop.put_rows("events", rows["events"])
    assert shop.counts(shop.ingest())["events"] == (5, 5, 0, 0, 0)


def test_the_earliest_time_is_welcome(shop, rows):
    rows["events"][0]["occurred_at"] = "2000-01-02 00:00:00Z"
    shop.put_rows("events", rows["events"])
    assert shop.counts(shop.ingest())["events"] == (5, 5, 0, 0, 0)


def test_a_user_may_have_registered_long_ago(shop, rows):
    rows["users"][0]["registered_at"] = "1970-01-01 00:00:00Z"
    shop.put_rows("users", rows["users"])
    total = len(rows["users"])
    assert shop.counts(shop.ingest())["users"] == (total, total, 0, 0, 0)


def test_an_event_of_an_unknown_item_is_loaded(shop):
    shop.put_shop()
    shop.ingest()
    assert shop.query(
        "SELECT item_id FROM raw.events WHERE item_id NOT IN (SELECT item_id FROM raw.items)"
    ) == [("unknown item",)]


def test_users_and_hints_may_be_absent_and_a_day_may_hold_events_only(shop, rows):
    shop.put_rows("events", rows["events"])
    shop.put_rows("items", rows["items"])
    assert set(shop.counts(shop.ingest())) == {"events", "items"}
    assert shop.query("SELECT count(*) FROM raw.users") == [(0,)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_file_is_zero_rows(shop, rows, ending):
    shop.put_shop()
    shop.put("users.csv", "")
    (shop.landing / "users.csv").rename(shop.landing / f"users.{ending}")
    result = shop.ingest()
    assert shop.counts(result)["users"] == (0, 0, 0, 0, 0)
    assert f"users.{ending}: empty, no rows of users\n" in result.output


@pytest.mark.parametrize("content", ["user_id,age_band,gender,region,registered_at\n", "\n\n", "﻿"])
def test_a_csv_file_without_rows_is_zero_rows(shop, content):
    shop.put("users.csv", content)
    assert shop.counts(shop.ingest())["users"] == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_jsonl_file_of_blank_lines_is_zero_rows(shop, ending):
    shop.put_shop()
    (shop.landing / "users.csv").unlink()
    content = b"\n \n\r\n"
    shop.put(f"users.{ending}", gzip.compress(content) if ending.endswith("gz") else content)
    assert shop.counts(shop.ingest())["users"] == (0, 0, 0, 0, 0)


def test_extra_columns_are_ignored_and_named(shop, rows):
    shop.put_rows("users", [row | {"shoe_size": "42"} for row in rows["users"]])
    result = shop.ingest()
    assert shop.counts(result)["users"] == (2, 2, 0, 0, 0)
    assert "users.csv: column 'shoe_size' is not in table users, ignored" in result.output


def test_attributes_are_the_same_content_in_any_order(shop, rows):
    item = rows["items"][0]
    shop.put_rows("items", [item, item | {"attributes": '{"size": null, "color": "red"}'}])
    assert shop.counts(shop.ingest())["items"] == (2, 1, 0, 0, 1)
