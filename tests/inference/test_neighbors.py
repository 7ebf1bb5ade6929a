"""``aigq generate neighbors`` on a lake made by hand, with embeddings that are random by text."""

import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

from aigq import embeddings, jobs, warehouse
from aigq.cli import main
from inference.neighbors import generate_neighbors

PLACED = [f"placed {i}" for i in range(30)]
UNPLACED = [f"query {i}" for i in range(23)]
ROWS = "SELECT query_text, neighbor_text, similarity FROM items.query_neighbors ORDER BY query_text"


def embed(texts, **_):
    seeds = [int.from_bytes(hashlib.md5(t.encode()).digest()[:4], "big") for t in texts]
    rows = np.stack([np.random.default_rng(s).normal(size=embeddings.DIMENSIONS) for s in seeds])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def shop(home, monkeypatch):
    """30 queries placed by clicks, 23 unplaced; one of these has a borrowed category."""

    def build(con):
        con.execute("CREATE TABLE lake.items.queries (query_text VARCHAR)")
        con.execute("CREATE TABLE lake.items.query_categories (query_text VARCHAR, source VARCHAR)")
        con.executemany("INSERT INTO lake.items.queries VALUES (?)", [[q] for q in QUERIES])
        con.executemany(
            "INSERT INTO lake.items.query_categories VALUES (?, ?)",
            [[q, "clicks"] for q in PLACED] + [["query 3", "neighbor"]],
        )

    QUERIES = PLACED + UNPLACED
    warehouse.write(home, build)
    monkeypatch.setattr(embeddings, "embed", embed)
    return home


def generate(home, batch=5):
    with jobs.job(home, "generate neighbors", {}) as run:
        generate_neighbors(run, batch=batch)
    return run


def expected(placed=PLACED, queries=UNPLACED):
    known = embed(placed).astype(float)
    found = {}
    for query in queries:
        scores = known @ embed([query])[0].astype(float)
        found[query] = (placed[int(scores.argmax())], float(scores.max()))
    return found


def stored(home, rows_of):
    return {r["query_text"]: (r["neighbor_text"], r["similarity"]) for r in rows_of(home, ROWS)}


def test_every_unplaced_query_gets_its_nearest(shop, rows_of):
    run = generate(shop)
    found = stored(shop, rows_of)
    assert found.keys() == set(UNPLACED)
    for query, (neighbor, similarity) in expected().items():
        assert found[query] == (neighbor, pytest.approx(similarity, abs=1e-5))
    assert run.metrics == {"placed": 30, "missing": 23, "written": 23}
    (recorded,) = rows_of(shop, "SELECT job, status FROM meta.runs")
    assert recorded == {"job": "generate neighbors", "status": "succeeded"}


def test_a_killed_run_goes_on_where_it_stopped(shop, rows_of, monkeypatch):
    generate(shop, batch=100)
    whole = rows_of(shop, ROWS)
    warehouse.write(shop, lambda con: con.execute("DELETE FROM lake.items.query_neighbors"))
    calls = []

    def dies(texts, **_):
        calls.append(texts)
        if len(calls) == 9:  # six batches of placed queries, two of the others
            raise KeyboardInterrupt
        return embed(texts)

    monkeypatch.setattr(embeddings, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        generate(shop)
    assert len(rows_of(shop, ROWS)) == 10
    monkeypatch.setattr(embeddings, "embed", embed)
    assert generate(shop).metrics["missing"] == 13
    assert rows_of(shop, ROWS) == whole


def test_rows_stay_until_their_neighbour_is_no_longer_placed(shop, rows_of):
    generate(shop)
    before = stored(shop, rows_of)
    assert generate(shop).metrics["written"] == 0
    gone = before["query 7"][0]

    def move_on(con):
        con.execute("DELETE FROM lake.items.query_categories WHERE query_text = ?", [gone])
        con.execute("INSERT INTO lake.items.query_categories VALUES ('query 5', 'clicks')")

    warehouse.write(shop, move_on)
    generate(shop)
    now = stored(shop, rows_of)
    lost = {q for q, (neighbor, _) in before.items() if neighbor == gone} - {"query 5"}
    # The query that is no longer placed needs a neighbour itself now.
    assert now.keys() == before.keys() | {gone}
    placed = sorted({*PLACED, "query 5"} - {gone})
    for query, (neighbor, _) in expected(placed, [*lost, gone]).items():
        assert now[query][0] == neighbor
    for query in before.keys() - lost:
        assert now[query] == before[query]


def test_without_clicks_or_a_build(shop, home, rows_of):
    warehouse.write(shop, lambda con: con.execute("DELETE FROM lake.items.query_categories"))
    assert generate(shop).metrics == {"placed": 0, "missing": 53, "written": 0}
    warehouse.write(shop, lambda con: con.execute("DROP TABLE lake.items.queries"))
    result = CliRunner().invoke(main, ["generate", "neighbors"])
    assert result.exit_code == 1
    assert "the lake has no items.queries: run `dbt build` first" in result.output
