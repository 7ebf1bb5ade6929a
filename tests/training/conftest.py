"""A hand-made shop of 50 users, as the tables that training reads."""

import json
from pathlib import Path

import pytest

from aigq import warehouse
from aigq.settings import Home

COLORS = ["red", "blue", "green", "black", "white"]
THINGS = ["shoes", "lamp", "kettle", "scarf", "chair", "phone case", "backpack", "camera"]

_BEHAVIORS = "STRUCT(days_ago INTEGER, action VARCHAR, content_text VARCHAR, content_key VARCHAR)[]"


def build_shop(root: Path, users: int = 50) -> Home:
    """Every user searches the same two things day after day and clicks an item of each.

    Training days end with day 9; each user has two training samples (days 7 and 8) and a test
    sample (day 10), of both variants. The label list is the two queries, latest first, then a
    popular one; in the order free of interest it is the other way round. A teacher has explained
    the Think samples of all users but u0: what was searched twice before leads to itself.
    """
    home = Home(root)
    behaviors, samples, rationales = [], [], []
    queries = [f"{color} {thing}" for color in COLORS for thing in THINGS]
    for user in range(users):
        own = [queries[user % 40], queries[(7 * user + 3) % 40]]
        history = []
        for day in range(1, 11):
            query = own[day % 2]
            item = f"i{queries.index(query)}"
            for minute, (action, key, text) in enumerate(
                [
                    ("search", f"query:{query}", query),
                    ("item_click", f"item:{item}", f"{query} classic model"),
                ]
            ):
                history.append((day, action, key, text))
                behaviors.append(
                    [f"u{user}", f"2026-03-{day:02} 10:{minute:02}:00+00", action, key, text]
                )
        for day in (7, 8, 10):
            context = [
                {"days_ago": day - d, "action": a, "content_text": t, "content_key": k}
                for d, a, k, t in history
                if d <= day
            ]
            latest = own[day % 2]
            other = own[(day + 1) % 2]
            samples.append(
                [
                    f"r{user}-{day}",
                    f"u{user}",
                    f"2026-03-{day:02} 12:00:00+00",
                    f"2026-03-{day:02}",
                    "test" if day == 10 else "train",
                    context,
                    list(dict.fromkeys([latest, other, "gift card"])),
                ]
            )
            for number, query in enumerate(dict.fromkeys([other, latest])):
                lines = [i + 1 for i, b in enumerate(context) if b["content_text"] == query]
                if user and day < 10:
                    why = f"Searched for {query} on {len(lines)} days."
                    more = ["gift card"] if number else []
                    rationales.append(
                        [f"u{user}:2026-03-{day:02}", number, lines[-2:], [query, *more], why]
                    )

    def fill(con) -> None:
        for schema in ("behavior", "items", "samples", "meta"):
            con.execute(f"CREATE SCHEMA IF NOT EXISTS lake.{schema}")
        con.execute(
            "CREATE TABLE lake.meta.shop AS SELECT 'UTC' AS shop_timezone, 50 AS max_behaviors,"
            " 10 AS direct_list_length, 9 AS train_days, DATE '2026-03-01' AS first_date,"
            " DATE '2026-03-09' AS train_end_date,"
            " TIMESTAMPTZ '2026-03-10 00:00:00+00' AS train_end_at,"
            " TIMESTAMPTZ '2026-03-10 12:00:00+00' AS last_event_at, false AS is_replayed"
        )
        con.execute(
            "CREATE TABLE lake.behavior.behaviors (user_id VARCHAR, occurred_at TIMESTAMPTZ,"
            " action VARCHAR, content_key VARCHAR, content_text VARCHAR, leaf_category VARCHAR)"
        )
        con.execute(
            "INSERT INTO lake.behavior.behaviors SELECT unnest(x).user_id,"
            " unnest(x).occurred_at::TIMESTAMPTZ, unnest(x).action, unnest(x).content_key,"
            " unnest(x).content_text, NULL FROM (SELECT from_json(?,"
            ' \'[{"user_id": "VARCHAR", "occurred_at": "VARCHAR", "action": "VARCHAR",'
            ' "content_key": "VARCHAR", "content_text": "VARCHAR"}]\') AS x)',
            [
                json.dumps(
                    [
                        dict(
                            zip(
                                ["user_id", "occurred_at", "action", "content_key", "content_text"],
                                row,
                                strict=True,
                            )
                        )
                        for row in behaviors
                    ]
                )
            ],
        )
        con.execute(
            "INSERT INTO lake.raw.users SELECT 'u' || i, '25-34', 'f', 'north', now()"
            f" FROM range({users}) t(i)"
        )
        con.execute(
            "CREATE TABLE lake.items.item_texts AS SELECT DISTINCT"
            " substr(content_key, 6) AS item_id, content_text AS item_text, 'rule' AS source,"
            " NULL::VARCHAR AS model_version FROM lake.behavior.behaviors"
            " WHERE content_key LIKE 'item:%'"
        )
        con.execute(
            "CREATE TABLE lake.samples.item_queries AS SELECT item_id,"
            " replace(item_text, ' classic model', '') AS query_text, 5 AS support"
            " FROM lake.items.item_texts"
        )
        for table in ("samples_direct", "samples_think"):
            con.execute(
                f"CREATE TABLE lake.samples.{table} (session_id VARCHAR, user_id VARCHAR,"
                " session_start_at TIMESTAMPTZ, session_date DATE, split VARCHAR,"
                " age_band VARCHAR, gender VARCHAR, region VARCHAR,"
                f" behaviors {_BEHAVIORS}, labels VARCHAR[], log_labels VARCHAR[],"
                " is_replayed BOOLEAN)"
            )
            con.executemany(
                f"INSERT INTO lake.samples.{table} VALUES"
                " (?, ?, ?, ?, ?, '25-34', 'f', 'north', ?, ?, ?, false)",
                [
                    [
                        row[0] if table == "samples_direct" else f"{row[1]}:{row[3]}",
                        *row[1:7],
                        row[6][::-1],
                    ]
                    for row in samples
                ],
            )
        con.executemany(
            "INSERT INTO lake.think.rationales (session_id, point_index, triggers, queries,"
            " rationale, run_id) VALUES (?, ?, ?, ?, ?, 'teacher-1')",
            rationales,
        )

    warehouse.write(home, fill)
    return home


@pytest.fixture(scope="session")
def shop_home(tmp_path_factory) -> Home:
    """A read-only copy shared by tests that only publish models of their own names."""
    return build_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def own_home(tmp_path) -> Home:
    """A shop that the test may change."""
    return build_shop(tmp_path / "shop")


TINY_BASE = """
    train base --vocab-size 500 --steps 20 --batch-tokens 512 --hidden-size 32 --layers 2
    --heads 2 --head-dim 16 --intermediate-size 64
"""


@pytest.fixture(scope="session")
def based_shop(tmp_path_factory) -> Path:
    """A shop with a base model (trained for seconds); copy it before changing it."""
    from click.testing import CliRunner

    from aigq.cli import main

    root = tmp_path_factory.mktemp("based") / "shop"
    build_shop(root)
    result = CliRunner(env={"AIGQ_HOME": str(root)}).invoke(
        main, TINY_BASE.split(), catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return root
