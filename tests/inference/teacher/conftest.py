"""A shop of five training sessions, written by hand into the tables that teachers read."""

import hashlib
from datetime import date

import numpy as np
import pytest

from aigq import embeddings, warehouse

BEHAVIOR = "STRUCT(days_ago INTEGER, action VARCHAR, content_text VARCHAR, content_key VARCHAR)"

# Session -> behaviours (days_ago, action, content text, key), then labels by tier.
SESSIONS = {
    "ann:2026-03-03": (
        [
            (2, "search", "water hose", "query:water hose"),
            (2, "item_click", "garden hose, hose", "item:hose"),
            (1, "search", "paint brush", "query:paint brush"),
            (0, "cart", "artist brush, brush", "item:brush"),
        ],
        {"search": ["garden water hose"], "rank": ["artist paint brush", "gift card"]},
    ),
    "bob:2026-03-03": (
        [(1, "search", "tent", "query:tent")],
        {"click": ["tent pegs"], "rank": ["wine"]},
    ),
    "cat:2026-03-03": ([], {"search": ["sofa"], "rank": ["wine", "sofa bed"]}),
    "dan:2026-03-03": ([], {"rank": ["wine"]}),
    "eve:2026-03-03": ([(0, "search", "wine", "query:wine")], {"search": ["red wine"]}),
}
# A test session, which no teacher sees unless its day is asked for.
TEST = "ann:2026-03-09"
# Content, query, users. A single time is chance.
CO_SEARCHES = [
    ("query:tent", "camping stove", 3),
    ("query:tent", "water hose", 1),
    ("item:hose", "hose nozzle", 2),
    ("query:wine", "corkscrew", 2),
]
SEARCHED = ["camping stove", "tent", "hose nozzle", "corkscrew", "water hose", "typo"]


def embed(texts, **_):
    """Bags of words: the cosine of two texts grows with the words they share."""
    rows = np.zeros((len(texts), embeddings.DIMENSIONS), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.replace(",", "").split():
            seed = int.from_bytes(hashlib.md5(word.encode()).digest()[:4], "big")
            row += np.random.default_rng(seed).normal(size=embeddings.DIMENSIONS)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def shop(home, monkeypatch):
    """The home with these tables, and embeddings by word."""

    def build(con) -> None:
        con.execute(
            "CREATE TABLE lake.samples.samples_think (session_id VARCHAR, split VARCHAR,"
            f" age_band VARCHAR, gender VARCHAR, region VARCHAR, behaviors {BEHAVIOR}[],"
            " labels VARCHAR[], session_date DATE)"
        )
        con.execute(
            "CREATE TABLE lake.labels.label_candidates (session_id VARCHAR, variant VARCHAR,"
            " query_text VARCHAR, tier VARCHAR)"
        )
        con.execute(
            "CREATE TABLE lake.behavior.co_searches (content_key VARCHAR, query_text VARCHAR,"
            " shop_date DATE, users BIGINT)"
        )
        con.execute(
            "CREATE TABLE lake.items.query_days (query_text VARCHAR, stat_date DATE,"
            " page_views BIGINT)"
        )
        con.execute("CREATE TABLE lake.meta.shop AS SELECT DATE '2026-03-08' AS train_end_date")
        for session, (behaviors, tiers) in {**SESSIONS, TEST: SESSIONS["ann:2026-03-03"]}.items():
            labels = [query for queries in tiers.values() for query in queries]
            names = ("days_ago", "action", "content_text", "content_key")
            con.execute(
                "INSERT INTO lake.samples.samples_think VALUES (?, ?, '25-34', 'f', NULL, ?, ?, ?)",
                [
                    session,
                    "test" if session == TEST else "train",
                    [dict(zip(names, b, strict=True)) for b in behaviors],
                    labels,
                    session.partition(":")[2],
                ],
            )
            for tier, queries in tiers.items():
                for query in queries:
                    con.execute(
                        "INSERT INTO lake.labels.label_candidates VALUES (?, 'think', ?, ?)",
                        [session, query, tier],
                    )
        # A clicked candidate was scored, too.
        con.execute(
            "INSERT INTO lake.labels.label_candidates VALUES"
            " ('bob:2026-03-03', 'think', 'tent pegs', 'rank'),"
            " ('bob:2026-03-03', 'direct', 'never', 'rank')"
        )
        con.executemany(
            "INSERT INTO lake.behavior.co_searches VALUES (?, ?, DATE '2026-03-02', ?)",
            CO_SEARCHES,
        )
        # Of a test day.
        con.execute(
            "INSERT INTO lake.behavior.co_searches VALUES"
            " ('query:tent', 'hose nozzle', DATE '2026-03-09', 50)"
        )
        for query in SEARCHED:
            views = 1 if query == "typo" else 5
            con.execute(
                "INSERT INTO lake.items.query_days VALUES (?, ?, ?)",
                [query, date(2026, 3, 1), views],
            )
        # Of a test day: not known yet.
        con.execute("INSERT INTO lake.items.query_days VALUES ('tent lamp', DATE '2026-03-09', 9)")

    warehouse.write(home, build)
    monkeypatch.setattr(embeddings, "embed", embed)
    return home
