"""Rich traces to triples: what Think is shown, what is kept of its answers, and after kills."""

import hashlib
import json
import re

import pytest

from aigq import warehouse
from aigq.think import InterestPoint, render_think
from inference.x2q.job import trigger_keys

pytestmark = pytest.mark.torch
GENERATE = ("generate", "x2q", "--engine", "transformers")
TRIPLES = "SELECT * EXCLUDE run_id FROM serving.x2q_triples ORDER BY ALL"
DRAWS = "SELECT * EXCLUDE run_id FROM serving.x2q_draws ORDER BY ALL"


def answer(*points):
    return render_think([InterestPoint(*p) for p in points]), True


def some_answer(prompt):
    """Well formed, and another for each prompt."""
    lines = prompt.count("\n") - 1
    digest = hashlib.md5(prompt.encode()).digest()
    points = [((lines,), (f"query {digest[0]}", "tea"), "Newest first.")]
    if digest[1] % 2:
        points.append(((1, lines - 1), (f"query {digest[2]}",), "Twice seen."))
    return answer(*points)


def last_metrics(home, rows_of):
    rows = rows_of(home, "SELECT metrics FROM meta.runs WHERE job = 'generate x2q' ORDER BY run_id")
    return json.loads(rows[-1]["metrics"])


def test_triggers_are_the_behaviours_that_the_prompt_numbered(shop, aigq, script, rows_of):
    """u1's newest: query "scarf u1" and i1 on day 5, "red shoes" and i0 on day 6."""
    started = script(
        lambda _: answer(
            ((12, 11), ("tea pot", "mug"), "Looks at kettles."),
            ((10, 12, 8, 2), ("desk",), "Chairs want a desk."),
        )
    )
    aigq(*GENERATE, "--users", "u1", "--max-tokens", "30")
    (engine,) = started
    (prompt,) = engine.prompts
    lines = prompt.split("\n")
    # The day is over: what was done on it is a day ago.
    assert lines[0].replace(" ", "") == "25-34|f|north"
    assert re.fullmatch(r"11\|.*<1_day_ago>.*<search>.*red shoes", lines[11])
    assert re.fullmatch(r"12\|.*<1_day_ago>.*<click>.*Kettle 2000.*", lines[12])
    assert re.fullmatch(r"10\|.*<2_day_ago>.*<click>.*Chair 2000.*", lines[10])
    first, second = rows_of(shop, "FROM serving.x2q_triples ORDER BY point_index")
    assert first["session_id"] == "u1:2026-03-06" and first["model_version"] == "t1"
    assert first["triggers"] == ["item:i0", "query:red shoes"]
    assert first["rationale"] == "Looks at kettles." and first["queries"] == ["tea pot", "mug"]
    # Lines 10 and 2 are i1, lines 12 and 8 are i0: once each, in the point's order.
    assert second["triggers"] == ["item:i1", "item:i0"] and second["point_index"] == 1


def test_numbers_count_from_what_the_prompt_kept():
    behaviors = [{"content_key": f"item:{n}"} for n in range(5)]
    point = InterestPoint((1, 3), ("q",), "r")
    assert trigger_keys(point, behaviors, 5) == ["item:0", "item:2"]
    assert trigger_keys(point, behaviors, 3) == ["item:2", "item:4"]


def test_a_cut_prompt_still_names_the_right_behaviours(shop, aigq, script, rows_of, publish_think):
    publish_think(shop, "t2", max_prompt_tokens=60)
    started = script(lambda _: answer(((1,), ("tea",), "The first that is left.")))
    aigq(*GENERATE, "--users", "u1")
    (prompt,) = started[0].prompts
    shown = prompt.split("\n")[1:-1]
    assert 0 < len(shown) < 12
    (row,) = rows_of(shop, "FROM serving.x2q_triples")
    is_search = "<search>" in shown[0]
    assert row["triggers"][0].startswith("query:" if is_search else "item:")
    keys = rows_of(
        shop,
        "SELECT content_key FROM behavior.behaviors WHERE user_id = 'u1' ORDER BY behavior_order",
    )
    assert row["triggers"] == [keys[-len(shown)]["content_key"]]


def test_malformed_answers_are_counted_by_class_and_leave_what_was_there(
    shop, aigq, script, rows_of, publish_think
):
    script(some_answer)
    aigq(*GENERATE)
    before = rows_of(shop, TRIPLES)
    assert {r["session_id"] for r in before} == {f"u{n}:2026-03-06" for n in (1, 2, 3, 4, 6)}
    texts = iter(
        [
            ("no empty line", True),
            ("1|why\n\n1|99\ttea", True),
            ("1|why\n\n1|1\ttea", False),
            ("1|why\n\n1|one\ttea", True),
            ("1|why\n\n1|1\ttea", True),
        ]
    )
    publish_think(shop, "t2")
    script(lambda _: next(texts))
    out = aigq(*GENERATE).stderr
    metrics = last_metrics(shop, rows_of)
    assert metrics["malformed"] == {
        "bad_trigger": 1,
        "missing_answer": 1,
        "trigger_out_of_range": 1,
        "truncated": 1,
    }
    assert "4 malformed (80.0%: 1 bad_trigger" in out
    newest = rows_of(shop, "FROM staging.stg_x2q_triples ORDER BY session_id")
    assert {r["session_id"]: r["model_version"] for r in newest} == {
        **{f"u{n}:2026-03-06": "t1" for n in (1, 2, 3, 4)},
        "u6:2026-03-06": "t2",
    }
    errors = rows_of(shop, "SELECT error FROM serving.x2q_draws WHERE model_version = 't2'")
    assert sum(r["error"] is None for r in errors) == 1 and len(errors) == 5
    # Greedy decoding would say the same again.
    started = script(lambda _: pytest.fail("asked again"))
    aigq(*GENERATE)
    assert not started


def test_a_killed_job_goes_on_and_ends_like_an_uninterrupted_one(
    shop, aigq, script, rows_of, monkeypatch
):
    monkeypatch.setattr("inference.x2q.job._CHUNK", 2)
    script(some_answer)
    aigq(*GENERATE, "--days", "2026-03-05..")
    whole, draws = rows_of(shop, TRIPLES), rows_of(shop, DRAWS)
    assert len(draws) == 10

    def forget(con):
        con.execute("DELETE FROM lake.serving.x2q_triples")
        con.execute("DELETE FROM lake.serving.x2q_draws")

    warehouse.write(shop, forget)
    asked = []

    def killed(prompt):
        asked.append(prompt)
        if len(asked) == 6:
            raise SystemExit(137)
        return some_answer(prompt)

    script(killed)
    aigq(*GENERATE, "--days", "2026-03-05..", code=137)
    # Two chunks of two are there whole, newest days first; the third, which it died in, is not.
    half = rows_of(shop, DRAWS)
    assert [r["session_id"] for r in half] == [f"u{n}:2026-03-06" for n in (1, 2, 3, 4)]
    assert {r["session_id"] for r in rows_of(shop, TRIPLES)} == {r["session_id"] for r in half}
    started = script(some_answer)
    aigq(*GENERATE, "--days", "2026-03-05..")
    assert len(started[0].prompts) == 6
    assert rows_of(shop, TRIPLES) == whole and rows_of(shop, DRAWS) == draws
    assert last_metrics(shop, rows_of)["user_days_done_before"] == 4
    started = script(some_answer)
    aigq(*GENERATE, "--days", "2026-03-05..")
    assert not started and rows_of(shop, DRAWS) == draws


def test_two_jobs_at_once_write_once(shop, aigq, script, rows_of):
    """The second reads every user-day while the first still thinks."""
    depth = []

    def overtaken(prompt):
        if not depth:
            depth.append(True)
            script(some_answer)
            aigq(*GENERATE)
        return some_answer(prompt)

    script(overtaken)
    aigq(*GENERATE)
    draws = rows_of(shop, DRAWS)
    assert len(draws) == 5 == len({r["session_id"] for r in draws})
    points = rows_of(shop, "SELECT session_id, point_index FROM serving.x2q_triples")
    assert len(points) == len({tuple(p.values()) for p in points})


def test_another_context_or_model_is_read_again(shop, aigq, script, rows_of, publish_think):
    script(some_answer)
    aigq(*GENERATE)
    publish_think(shop, "t2")
    started = script(some_answer)
    aigq(*GENERATE)
    assert len(started[0].prompts) == 5

    def late(con):
        con.execute(
            "UPDATE lake.behavior.behavior_events SET query_text = 'late', content_key ="
            " 'query:late' WHERE user_id = 'u2' AND query_text = 'red shoes'"
        )

    warehouse.write(shop, late)
    started = script(some_answer)
    aigq(*GENERATE)
    (prompt,) = started[0].prompts
    assert "late" in prompt
    # Back to the older model: its answers are to count again.
    started = script(some_answer)
    aigq(*GENERATE, "--model", "think@t1")
    assert len(started[0].prompts) == 5
    newest = rows_of(shop, "SELECT DISTINCT model_version FROM staging.stg_x2q_triples")
    assert newest == [{"model_version": "t1"}]


def test_days_and_least_behaviours(shop, aigq, script, rows_of):
    """Two behaviours a day: ten at the end of the fifth, twelve at the end of the sixth."""
    script(some_answer)
    aigq(*GENERATE, "--days", "2026-02-01..2026-03-30")
    found = {r["session_id"][-10:] for r in rows_of(shop, DRAWS)}
    assert found == {"2026-03-05", "2026-03-06"}
    aigq(*GENERATE, "--days", "2026-03-02..2026-03-02", "--min-behaviors", "4", "--users", "u3")
    metrics = last_metrics(shop, rows_of)
    assert metrics["user_days"] == 1 and metrics["first_day"] == "2026-03-02"
    assert "u3:2026-03-02" in {r["session_id"] for r in rows_of(shop, DRAWS)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "u1,nobody"], "--users: the shop knows no user 'nobody'"),
        (["--users", ","], "--users: expected user ids separated by commas"),
        (["--users", "u5"], "no user-day from 2026-03-06 to 2026-03-06 has a trace of 10"),
        (["--days", "30"], "--days: expected A..B, for instance .*, got '30'"),
        (["--days", "2026-03-07.."], "--days: the shop's days are 2026-03-01 to 2026-03-06"),
        (["--min-behaviors", "13"], "no user-day from .* set --min-behaviors lower"),
        (["--model", "direct"], "is of variant 'direct', but this needs"),
        (["--model", "thunk"], "no model 'thunk'"),
    ],
)
def test_bad_requests(shop, aigq, rows_of, arguments, message):
    with pytest.raises(AssertionError, match=message):
        aigq("generate", "x2q", *arguments)
    assert rows_of(shop, DRAWS) == []
