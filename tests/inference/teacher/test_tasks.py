"""What counts as an answer: by hand, and for any answer the schema allows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.teacher import Evidence, Session
from inference.teacher.tasks import (
    ALIGNMENTS,
    CANDIDATES,
    MAX_RATIONALE,
    MAX_REASON,
    MAX_TRIGGERS,
    RATIONALES,
    InvalidAnswer,
)

SESSION = Session(
    "ann:2026-03-03",
    "key",
    "behaviors",
    ("25-34", None, "north"),
    (
        Evidence(2, "search", "water hose", "query:water hose"),
        Evidence(1, "item_click", "brush\nset", "item:i1"),
        Evidence(0, "order", "tent", "item:i2"),
    ),
    ("garden hose", "paint", "camping stove"),
    ("rope",),
)


def point(triggers, queries, rationale="because"):
    return {"rationale": rationale, "triggers": triggers, "queries": queries}


def test_the_question_numbers_behaviours_and_labels():
    assert RATIONALES.question(SESSION) == (
        "Shopper: age band 25-34, region north\n"
        "Behaviours, oldest first, as number | days ago | action | content:\n"
        "1 | 2 | search | water hose\n"
        "2 | 1 | item click | brush set\n"
        "3 | 0 | order | tent\n"
        "In the session they then searched or clicked: rope\n"
        "Labels, as number | query:\n"
        "1 | garden hose\n"
        "2 | paint\n"
        "3 | camping stove"
    )


def test_candidates_are_normalised_and_new():
    answer = {"queries": ["Garden  HOSE", "WATER hose", "garden hose", "Ｔent"]}
    assert CANDIDATES.parse(SESSION, json.dumps(answer)) == [
        {"query_text": "garden hose", "teacher_rank": 1},
        {"query_text": "tent", "teacher_rank": 2},
    ]


def test_points_come_in_order_of_their_best_label():
    answer = {"points": [point([3, 1, 3], [3, 2], " two  of it "), point([2], [1])]}
    assert RATIONALES.parse(SESSION, json.dumps(answer)) == [
        {"point_index": 0, "triggers": [2], "queries": ["garden hose"], "rationale": "because"},
        {
            "point_index": 1,
            "triggers": [1, 3],
            "queries": ["paint", "camping stove"],
            "rationale": "two of it",
        },
    ]


def test_judgements_come_whole_and_facts_without_a_teacher():
    judged = [{"candidate": c, "reason": f"r{c}", "keep": c != 2} for c in (3, 1, 2)]
    assert ALIGNMENTS.parse(SESSION, json.dumps({"judgements": judged})) == [
        {"query_text": "garden hose", "is_aligned": True, "reason": "r1"},
        {"query_text": "paint", "is_aligned": False, "reason": "r2"},
        {"query_text": "camping stove", "is_aligned": True, "reason": "r3"},
    ]
    assert [(r["query_text"], r["is_aligned"]) for r in ALIGNMENTS.known(SESSION)] == [
        ("rope", True)
    ]


@pytest.mark.parametrize(
    ("task", "answer", "error"),
    [
        (CANDIDATES, "tent, hose", "no_json"),
        (CANDIDATES, '{"queries": ["tent"', "no_json"),
        (CANDIDATES, [], "wrong_fields"),
        (CANDIDATES, {"queries": "tent"}, "wrong_type"),
        (CANDIDATES, {"queries": ["q"] * 11}, "too_many"),
        (CANDIDATES, {"queries": [" "]}, "invalid_text"),
        (CANDIDATES, {"queries": ["w" * 101]}, "invalid_query"),
        (CANDIDATES, {"queries": ["tent"], "why": ""}, "wrong_fields"),
        (RATIONALES, {"points": [point([0], [1])]}, "out_of_range"),
        (RATIONALES, {"points": [point([4], [1])]}, "out_of_range"),
        (RATIONALES, {"points": [point([1], [4])]}, "out_of_range"),
        (RATIONALES, {"points": [point([True], [1])]}, "wrong_type"),
        (RATIONALES, {"points": [point([1.0], [1])]}, "wrong_type"),
        (RATIONALES, {"points": [point([], [1])]}, "empty"),
        (RATIONALES, {"points": [point([1], [])]}, "empty"),
        (RATIONALES, {"points": [point([1], [1]), point([2], [2, 1])]}, "explained_twice"),
        (RATIONALES, {"points": [point([1], [1], "")]}, "invalid_text"),
        (RATIONALES, {"points": [point([1], [1], "a\u0007b")]}, "invalid_text"),
        (RATIONALES, {"points": [point([1], [1], "x" * (MAX_RATIONALE + 1))]}, "invalid_text"),
        (ALIGNMENTS, {"judgements": []}, "not_judged"),
        (
            ALIGNMENTS,
            {"judgements": [{"candidate": 1, "reason": "r", "keep": True}] * 2},
            "judged_twice",
        ),
        (ALIGNMENTS, {"judgements": [{"candidate": 1, "reason": "r", "keep": "no"}]}, "wrong_type"),
    ],
)
def test_what_is_no_answer(task, answer, error):
    with pytest.raises(InvalidAnswer) as found:
        task.parse(SESSION, answer if isinstance(answer, str) else json.dumps(answer))
    assert found.value.error == error


TEXT = st.text(max_size=60)
NUMBERS = st.lists(st.integers(-1, 5), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
POINTS = st.fixed_dictionaries(
    {"points": st.lists(st.builds(point, NUMBERS, NUMBERS, TEXT), max_size=4)}
)
JUDGEMENTS = st.fixed_dictionaries(
    {
        "judgements": st.lists(
            st.fixed_dictionaries(
                {"candidate": st.integers(0, 4), "reason": TEXT, "keep": st.booleans()}
            ),
            max_size=4,
        )
    }
)


@given(st.one_of(JSON, POINTS))
def test_whatever_is_accepted_as_rationales_keeps_the_contract(answer):
    try:
        rows = RATIONALES.parse(SESSION, json.dumps(answer))
    except InvalidAnswer:
        return
    queries = [query for row in rows for query in row["queries"]]
    assert len(queries) == len(set(queries)) and set(queries) <= set(SESSION.queries)
    firsts = [SESSION.queries.index(row["queries"][0]) for row in rows]
    assert firsts == sorted(firsts)
    for index, row in enumerate(rows):
        assert row["point_index"] == index
        assert row["triggers"] == sorted(set(row["triggers"]))
        assert 1 <= len(row["triggers"]) <= MAX_TRIGGERS
        assert set(row["triggers"]) <= set(range(1, len(SESSION.behaviors) + 1))
        assert 0 < len(row["rationale"]) <= MAX_RATIONALE
        assert row["rationale"] == " ".join(row["rationale"].split())


@given(st.one_of(JSON, JUDGEMENTS))
def test_whatever_is_accepted_as_judgements_judges_each_candidate_once(answer):
    try:
        rows = ALIGNMENTS.parse(SESSION, json.dumps(answer))
    except InvalidAnswer:
        return
    assert [row["query_text"] for row in rows] == list(SESSION.queries)
    assert all(0 < len(row["reason"]) <= MAX_REASON for row in rows)


@given(st.one_of(JSON, st.fixed_dictionaries({"queries": st.lists(TEXT, max_size=11)})))
def test_whatever_is_accepted_as_candidates_is_new_and_ranked(answer):
    try:
        rows = CANDIDATES.parse(SESSION, json.dumps(answer))
    except InvalidAnswer:
        return
    queries = [row["query_text"] for row in rows]
    assert len(queries) == len(set(queries)) and "water hose" not in queries
    assert [row["teacher_rank"] for row in rows] == list(range(1, len(rows) + 1))
