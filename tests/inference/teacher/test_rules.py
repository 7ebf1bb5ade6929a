"""The rules teacher on sessions that a person can check by eye (conftest)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigq import warehouse
from inference.teacher import Evidence
from inference.teacher.rules import clusters, sentence


@pytest.fixture
def table(shop, aigq, rows_of):
    """``table("alignments")``: the rows after `aigq generate` with the rules, by session."""

    def run(task, name):
        aigq("generate", task)
        found = {}
        for row in rows_of(shop, f"FROM think.{name} ORDER BY ALL"):
            found.setdefault(row["session_id"].split(":")[0], []).append(row)
        return found

    return run


def test_candidates_are_near_known_and_new(table):
    """Bob's tent brings the stove it is searched with, not itself, nor "tent lamp", which nobody
    searched before the test days, nor what was typed once; Cat and Dan did nothing."""
    found = table("candidates", "llm_candidates")
    assert found.keys() == {"ann", "bob", "eve"}
    queries = {user: [r["query_text"] for r in rows] for user, rows in found.items()}
    assert queries["bob"] == ["camping stove"]
    assert queries["eve"] == ["corkscrew"]
    assert queries["ann"][0] == "hose nozzle"
    assert "water hose" not in queries["ann"]
    assert [r["teacher_rank"] for r in found["ann"]] == list(range(1, len(found["ann"]) + 1))


def test_judged_by_the_past_and_by_what_was_done(table):
    found = table("alignments", "alignments")
    kept = {(u, r["query_text"]): r["is_aligned"] for u, rows in found.items() for r in rows}
    assert kept == {
        ("ann", "garden water hose"): True,  # searched
        ("ann", "artist paint brush"): True,  # shares words with both brushes
        ("ann", "gift card"): False,
        ("bob", "tent pegs"): True,  # clicked
        ("bob", "wine"): False,
        ("cat", "sofa"): True,
        ("cat", "sofa bed"): True,  # near to the search of the session
        ("cat", "wine"): False,
        ("eve", "red wine"): True,
    }  # of Dan nothing is known
    (reason,) = [r["reason"] for r in found["cat"] if r["query_text"] == "sofa"]
    assert reason == "searched or clicked in the session"
    (reason,) = [r["reason"] for r in found["cat"] if r["query_text"] == "sofa bed"]
    assert reason.endswith("near to sofa")


def test_interest_points_are_clusters_with_their_labels(table):
    """Ann's hoses and brushes are two interests; no behaviour explains the gift card."""
    found = table("rationales", "rationales")
    assert [(r["point_index"], r["triggers"], r["queries"]) for r in found["ann"]] == [
        (0, [1, 2], ["garden water hose"]),
        (1, [3, 4], ["artist paint brush"]),
    ]
    first, second = (r["rationale"] for r in found["ann"])
    assert "garden hose, hose" in first and "garden water hose" in first
    assert "artist brush, brush" in second and "paint brush" in second
    assert [(r["triggers"], r["queries"]) for r in found["bob"]] == [([1], ["tent pegs"])]
    assert "cat" not in found and "dan" not in found


def test_days_asked_for_are_explained_whatever_their_split(shop, aigq, rows_of):
    """For a policy that goes on with a day after the training days."""

    def explained() -> set[str]:
        rows = rows_of(shop, "SELECT session_id FROM think.rationales")
        return {row["session_id"] for row in rows}

    aigq("generate", "rationales", "--days", "2026-03-09..2026-03-09")
    assert explained() == {"ann:2026-03-09"}
    said = aigq("generate", "rationales", "--days", "2026-03-10..", code=1).output
    assert "samples.samples_think has no row of the days 2026-03-10.." in said
    aigq("generate", "rationales")
    assert explained() > {"ann:2026-03-09", "ann:2026-03-03"}


def test_a_past_state_is_what_is_read(shop, aigq, rows_of):
    (then,) = rows_of(shop, "SELECT max(snapshot_id) AS id FROM ducklake_snapshots('lake')")

    def change(con):
        con.execute("DELETE FROM lake.samples.samples_think WHERE session_id LIKE 'bob%'")
        con.execute("DELETE FROM lake.behavior.co_searches WHERE content_key = 'query:wine'")

    warehouse.write(shop, change)
    aigq("generate", "candidates", "--as-of", str(then["id"]))
    found = rows_of(shop, "SELECT session_id, query_text FROM think.llm_candidates")
    assert {"session_id": "bob:2026-03-03", "query_text": "camping stove"} in found
    assert {"session_id": "eve:2026-03-03", "query_text": "corkscrew"} in found


def test_clusters_join_what_is_near():
    nearness = np.eye(4)
    nearness[0, 1] = nearness[1, 0] = 0.9
    nearness[2, 3] = nearness[3, 2] = 0.2
    found = clusters(nearness)
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 3
    assert clusters(np.eye(1)).tolist() == [1]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6), st.text(max_size=300))
def test_a_sentence_is_a_rationale_whatever_the_shop_writes(texts, query):
    from inference.teacher import Session
    from inference.teacher.tasks import RATIONALES

    behaviors = tuple(Evidence(0, "cart", text, f"item:{i}") for i, text in enumerate(texts))
    session = Session("s", "k", "b", (None,) * 3, behaviors, (query,))
    written = sentence(behaviors, [query])
    point = {"rationale": written, "triggers": [1], "queries": [1]}
    (row,) = RATIONALES.rows(session, {"points": [point]})
    assert row["rationale"] == " ".join(written.split())
