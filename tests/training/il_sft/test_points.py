"""Which rationales become a Think target, and in what order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aigq.think import parse_think, point_fault, render_think
from training.il_sft.points import COUNTED, Shown, interest_points


def point(number, triggers, queries, rationale="Why."):
    return {
        "point_index": number,
        "triggers": triggers,
        "queries": queries,
        "rationale": rationale,
    }


def points_of(labels, points, shown=None, behaviors=5):
    row = {"session_id": "s", "behaviors": [{}] * behaviors, "labels": labels, "points": points}
    counts = Counter()
    found = interest_points(row, shown or Shown(behaviors, behaviors), counts)
    return [(p.triggers, p.queries) for p in found], {k: v for k, v in counts.items() if v}


def test_points_and_queries_stand_in_the_order_of_the_labels():
    found, counts = points_of(
        ["c", "a", "d", "b"],
        [point(0, [2], ["b", "a"]), point(1, [5, 3, 3], ["d", "x", "c"])],
    )
    assert found == [((3, 5), ("c", "d")), ((2,), ("a", "b"))]
    assert counts == {}


def test_a_query_belongs_to_the_first_point_that_holds_it():
    found, counts = points_of(["b", "a"], [point(0, [1], ["a", "b"]), point(1, [2], ["b", "b"])])
    assert found == [((1,), ("b", "a"))]
    assert counts == {"points_without_label": 1}


def test_what_is_left_out_is_counted():
    found, counts = points_of(
        ["a", "b", "c", "d"],
        [
            point(0, [1], ["x"]),
            point(1, [1, 4], ["a"]),
            point(2, [1, 2], ["b"]),
            point(3, [5], ["c"], "x" * 1000),
            point(4, [5], ["d"], None),
            point(5, [], ["d"]),
            point(6, [5, 4], ["d"]),
        ],
        shown=Shown(5, 3),  # behaviours 3, 4, 5 are lines 1, 2, 3
    )
    assert found == [((2, 3), ("d",))]
    assert counts == {
        "points_without_label": 1,
        "points_not_shown": 2,
        "points_without_trigger": 1,
        "points_unwritable": 2,
        "labels_without_point": 3,
    }
    assert counts.keys() <= set(COUNTED)


def test_lines_of_a_context_cut_at_both_ends():
    # Of eight behaviours the day's start dropped the newest two, the budget the oldest three.
    shown = Shown(6, 3)
    assert [shown.line(n) for n in range(1, 9)] == [None, None, None, 1, 2, 3, None, None]


@given(
    labels=st.lists(st.sampled_from("abcdefg"), unique=True, min_size=1),
    points=st.lists(
        st.tuples(
            st.lists(st.integers(1, 6), min_size=1),
            st.lists(st.sampled_from("abcdefgxyz"), min_size=1),
        ),
        max_size=5,
    ),
    kept=st.integers(0, 6),
)
def test_every_target_can_be_read_back(labels, points, kept):
    rows = [point(n, triggers, queries) for n, (triggers, queries) in enumerate(points)]
    row = {"session_id": "s", "behaviors": [{}] * 6, "labels": labels, "points": rows}
    found = interest_points(row, Shown(6, kept), Counter())
    assert all(point_fault(p, behaviors=kept) is None for p in found)
    if found:
        parsed = parse_think(render_think(found), finished=True, behaviors=kept)
        assert parsed.points == tuple(found)
        assert parsed.duplicates == 0
        assert set(parsed.queries) <= set(labels)
        best = [min(labels.index(q) for q in p.queries) for p in found]
        assert best == sorted(best)
