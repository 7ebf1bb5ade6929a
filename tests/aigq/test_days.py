from datetime import date

import pytest

from aigq.days import EVERY_DAY, Days, parse_days
from aigq.settings import UserError

A, B = date(2026, 3, 1), date(2026, 3, 4)


@pytest.mark.parametrize(
    ("text", "days", "condition"),
    [
        (
            "2026-03-01..2026-03-04",
            Days(A, B),
            "session_date >= DATE '2026-03-01' AND session_date <= DATE '2026-03-04'",
        ),
        ("2026-03-01..", Days(A, None), "session_date >= DATE '2026-03-01'"),
        ("..2026-03-04", Days(None, B), "session_date <= DATE '2026-03-04'"),
        (
            "2026-03-01..2026-03-01",
            Days(A, A),
            "session_date >= DATE '2026-03-01' AND session_date <= DATE '2026-03-01'",
        ),
    ],
)
def test_a_range_and_its_condition(text, days, condition):
    assert parse_days(text) == days
    assert (days.text, days.condition) == (text, condition)


def test_every_day_has_no_text_and_no_condition():
    assert (EVERY_DAY.text, EVERY_DAY.condition) == (None, "true")
    assert Days.of(A) == Days(A, A) == parse_days("2026-03-01")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("March", r"--days: expected A\.\.B, .*, or one day, got 'March'"),
        ("2026-03-32", "--days: expected days as YYYY-MM-DD"),
        ("2026-03-01..2026-03-02..2026-03-03", r"--days: expected A\.\.B"),
        ("2026-03-01..March", "--days: expected days as YYYY-MM-DD"),
        ("2026-03-04..2026-03-01", "--days: 2026-03-04 is after 2026-03-01"),
    ],
)
def test_what_is_no_range(text, says):
    with pytest.raises(UserError, match=says):
        parse_days(text)
