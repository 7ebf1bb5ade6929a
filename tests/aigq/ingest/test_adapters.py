"""Adapters: the shipped ones on hand-written logs and, where it is there, on a real one."""

import gzip
import re

import pytest

from aigq.settings import PROJECT_ROOT

CLICKS = """user,sku,category,query,click_time,query_time,title
ann,1,games,"red, mug",2011-08-11 04:00:17.021,2011-08-11 03:59:04.27,Mug
ann,2,games,"red, mug",2011-08-11 04:01:00,2011-08-11 03:59:04.27,
bob,2,games,Mug,2011-08-12 00:00:01,2011-08-12 00:00:00,Tea pot
bob,3,games,*,2011-08-12 00:01:00,2011-08-12 00:00:30,
cem,,games,mug,2011-08-12 00:01:00,2011-08-12 00:00:30,Mug
"""

LOG = """ts,visitor,type,search_term,product,product_name,category,brand,price,amount
2024-05-01 10:00:00,ann,home,,,,,,,
2024-05-01 10:00:05,ann,query,Red mug,,,,,,
2024-05-01 10:00:09,ann,view,,7,Red mug 2 l,mugs,Acme,9.50,
2024-05-01 10:01:00,ann,basket,,7,Red mug 2 l,mugs,Acme,9.50,1
2024-05-01 10:02:00,ann,purchase,,7,Red mug 2 l,mugs,Acme,9.50,1
2024-05-01 10:03:00,ann,close,,,,,,,
2024-05-01 10:04:00,ann,sneeze,,,,,,,
"""


def test_bestbuy_collapses_searches_and_keeps_clicks(shop):
    log = shop.put("clicks.csv.gz", gzip.compress(CLICKS.encode()))
    result = shop.ingest(str(log), "--adapter", "bestbuy")
    # Four searches with an entry each, five clicks; the one of no item is broken.
    assert shop.counts(result) == {"items": (3, 3, 0, 0, 0), "events": (13, 12, 0, 1, 0)}
    assert shop.quarantine() == [("events", "item_click without item_id")]
    assert shop.query(
        "SELECT user_id, strftime(occurred_at, '%d %H:%M:%S'), action, query_text, item_id"
        " FROM raw.events WHERE user_id = 'ann' ORDER BY occurred_at, event_id"
    ) == [
        ("ann", "11 03:59:04", "search_entry", None, None),
        ("ann", "11 03:59:04", "search", "red, mug", None),
        ("ann", "11 04:00:17", "item_click", None, "1"),
        ("ann", "11 04:01:00", "item_click", None, "2"),
    ]
    assert shop.query(
        "SELECT item_id, title, leaf_category_id, leaf_category FROM raw.items ORDER BY item_id"
    ) == [
        ("1", "Mug", "games", "games"),
        ("2", "Tea pot", "games", "games"),
        ("3", "3", "games", "games"),
    ]
    again = shop.counts(shop.ingest(str(log), "--adapter", "bestbuy"))
    assert again == {"items": (3, 0, 0, 0, 3), "events": (13, 0, 0, 1, 12)}


def test_bestbuy_in_two_files_is_bestbuy_in_one(shop):
    lines = CLICKS.splitlines(keepends=True)
    one = shop.put("one.csv", "".join(lines[:3]))
    two = shop.put("two.csv", lines[0] + "".join(lines[3:]))
    result = shop.ingest(str(one), str(two), "--adapter", "bestbuy")
    assert shop.counts(result)["events"] == (13, 12, 0, 1, 0)


def test_template_runs_as_it_is(shop):
    log = shop.put("log.csv", LOG)
    result = shop.ingest(str(log), "--adapter", "template")
    assert shop.counts(result) == {"items": (1, 1, 0, 0, 0), "events": (7, 6, 0, 1, 0)}
    # Rows of a query have no place in a file.
    query = PROJECT_ROOT / "aigq" / "adapters" / "template" / "events.sql"
    assert f"events: 1 x unknown action sneeze (first: {query})\n" in result.stdout
    assert shop.query("SELECT reason, source_file, source_row FROM raw.quarantine") == [
        ("unknown action sneeze", str(query), None)
    ]
    assert shop.query("SELECT action, query_text, item_id, quantity, price FROM raw.events"
                      " ORDER BY occurred_at") == [
        ("search_entry", None, None, None, None),
        ("search", "Red mug", None, None, None),
        ("item_click", None, "7", None, None),
        ("cart", None, "7", 1, None),
        ("order", None, "7", 1, 9.5),
        ("app_exit", None, None, None, None),
    ]  # fmt: skip
    assert shop.query("SELECT title, price FROM raw.items") == [("Red mug 2 l", 9.5)]
    again = shop.counts(shop.ingest(str(log), "--adapter", "template"))
    assert again == {"items": (1, 0, 0, 0, 1), "events": (7, 0, 0, 1, 6)}


def _adapter(shop, **queries: str) -> str:
    folder = shop.root / "adapter"
    folder.mkdir()
    for table, query in queries.items():
        (folder / f"{table}.sql").write_text(query)
    return str(folder)


_USERS = "SELECT who AS user_id, NULL AS age_band, NULL AS gender, NULL AS region,"


def test_an_own_folder_over_json_lines_with_nested_values(shop):
    log = shop.put("log.jsonl", '{"who": "ann", "at/when": {"day": "2024-01-01"}}\n{"who": 5}\n')
    folder = _adapter(
        shop, users=f"""{_USERS} "at/when"->>'day' AS registered_at FROM input -- c\n;"""
    )
    assert shop.counts(shop.ingest(str(log), "--adapter", folder))["users"] == (2, 2, 0, 0, 0)
    assert shop.query(
        "SELECT user_id, registered_at::DATE::VARCHAR FROM raw.users ORDER BY ALL"
    ) == [("5", None), ("ann", "2024-01-01")]


BROKEN_ADAPTERS = {
    "column it does not have": ({"users": f"{_USERS} when_ AS registered_at FROM input"},
                                'users.sql: .*"when_" not found'),
    "syntax": ({"users": "SELEC 1"}, "users.sql: Parser Error"),
    "missing column": ({"users": "SELECT who AS user_id FROM input"},
                       "users.sql: missing column 'age_band' of table users"),
    "two statements": ({"users": "SELECT 1; SELECT 2"}, "users.sql: expected one SELECT"),
    "no SELECT": ({"users": "DROP TABLE input"}, "users.sql: expected one SELECT"),
    "cast that fails": ({"users": f"{_USERS} who::TIMESTAMP AS registered_at FROM input"},
                        "users.sql: Conversion Error"),
    "unknown table": ({"user": "SELECT 1"}, "unknown table 'user'; did you mean 'users'"),
    "empty folder": ({}, "no <table>.sql there"),
}  # fmt: skip


@pytest.mark.parametrize(("queries", "message"), BROKEN_ADAPTERS.values(), ids=BROKEN_ADAPTERS)
def test_a_broken_adapter_is_an_error_and_nothing_is_written(shop, queries, message):
    log = shop.put("log.csv", "who\nann\n")
    result = shop.ingest(str(log), "--adapter", _adapter(shop, **queries))
    assert result.exit_code == 1
    assert re.search(message, result.stderr), result.stderr
    if shop.home.catalog.exists():
        assert not any(shop.tables().values())


def test_an_unknown_adapter_names_the_shipped_ones(shop):
    log = shop.put("log.csv", "who\nann\n")
    result = shop.ingest(str(log), "--adapter", "bestbye")
    assert result.exit_code == 1
    assert "no adapter 'bestbye'" in result.stderr
    assert "bestbuy, template" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.xlsx", "x", "expected a .parquet, .csv or .jsonl file"),
        ("log.csv", "", "no rows for the adapter to read"),
        ("log.csv.gz", "who\n", "log.csv.gz: broken gzip file"),
        ("log.csv", "who,x\nann\n", "log.csv: broken file"),
    ],
)
def test_a_log_that_cannot_be_read(shop, name, content, message):
    result = shop.ingest(str(shop.put(name, content)), "--adapter", "template")
    assert result.exit_code == 1
    assert message in result.stderr


REAL = PROJECT_ROOT.parent / "shared" / "data" / "bestbuy" / "clicks.csv.gz"


@pytest.mark.skipif(not REAL.exists(), reason="the Best Buy click log is not on this machine")
def test_a_cut_of_the_real_log(shop):
    with gzip.open(REAL, "rt", encoding="utf-8") as lines:
        log = shop.put(
            "clicks.csv", "".join(line for _, line in zip(range(3001), lines, strict=False))
        )
    counts = shop.counts(shop.ingest(str(log), "--adapter", "bestbuy"))
    searches, clicks, unlike = shop.query(
        "SELECT count(*) FILTER (action = 'search'), count(*) FILTER (action = 'item_click'),"
        " count(*) FILTER (action = 'search') - count(*) FILTER (action = 'search_entry')"
        " FROM raw.events"
    )[0]
    assert clicks == 3000
    assert unlike == 0
    assert (
        searches
        == shop.query(
            f"SELECT count(DISTINCT (\"user\", query, query_time)) FROM read_csv('{log}')"
        )[0][0]
    )
    assert counts["events"] == (2 * searches + clicks, 2 * searches + clicks, 0, 0, 0)
    assert shop.query(
        "SELECT count(*) FROM raw.events WHERE action = 'item_click'"
        " AND item_id NOT IN (SELECT item_id FROM raw.items)"
    ) == [(0,)]
    again = shop.counts(shop.ingest(str(log), "--adapter", "bestbuy"))
    assert again["events"] == (2 * searches + clicks, 0, 0, 0, 2 * searches + clicks)
