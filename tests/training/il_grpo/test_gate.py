"""Which candidates are promoted: comparisons by hand."""

import math

import pytest

from training.il_grpo.gate import Compared, GateSettings, objections

RULE = GateSettings()
QUERY, CATE, MALFORMED = ("query_hr", 10), ("cate_hr", 10), ("malformed", 0)


def figures(query=(0, -0.01, 0.01), cate=(0, -0.01, 0.01), malformed=(0, 0, 0), instances=1000):
    given = {QUERY: query, CATE: cate, MALFORMED: malformed}
    return {key: Compared(*of, instances) for key, of in given.items() if of}


@pytest.mark.parametrize(
    "given",
    [
        figures(),
        figures(query=(0.03, 0.01, 0.05), cate=(0.02, 0.0, 0.04)),
        # Down, but by no more than chance and the bound allow.
        figures(query=(-0.02, -0.045, 0.005), cate=(-0.01, -0.02, 0.0)),
        figures(malformed=(0.02, 0.01, 0.03)),
        # A shop without categories.
        figures(cate=None),
        figures(instances=200),
    ],
)
def test_a_policy_that_did_not_fall_has_no_objection(given):
    assert objections(given, RULE) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (figures(query=(-0.01, -0.018, -0.002)), "fell: Query HR@10 -0.0100 [-0.0180 -0.0020]"),
        (figures(cate=(-0.01, -0.018, -0.002)), "fell: Cate HR@10 -0.0100 [-0.0180 -0.0020]"),
        # Not apart from chance, for 300 user-days tell little; and yet a lot.
        (
            figures(query=(-0.03, -0.08, 0.02), instances=300),
            "fell: Query HR@10 -0.0300 [-0.0800 +0.0200], by more than 0.02",
        ),
        (figures(malformed=(0.05, -0.01, 0.11)), "malformed: share of lists +0.0500, more than"),
        (figures(query=(0.2, 0.1, 0.3), instances=199), "too few: 199 user-days, at least 200"),
        # What nobody could measure has not held.
        (figures(query=(math.nan,) * 3), "no number: Query HR@10 +nan [+nan +nan]"),
        (figures(cate=(0.0, math.nan, 0.1)), "no number: Cate HR@10"),
        (figures(malformed=(math.nan,) * 3), "no number: share of malformed lists +nan"),
        (figures(malformed=None), "no number: share of malformed lists None"),
    ],
)
def test_each_rule_alone_keeps_a_candidate_back(given, says):
    (objection,) = objections(given, RULE)
    assert objection.startswith(says)


def test_only_user_days_of_what_is_judged_count():
    """Malformed lists are counted on every user-day, query hits on those with a true query."""
    given = figures() | {QUERY: Compared(0, -0.01, 0.01, 150)}
    assert objections(given, RULE) == ["too few: 150 user-days, at least 200 are wanted"]


def test_no_figures_are_no_pass():
    assert [text.split(":")[0] for text in objections({}, RULE)] == ["too few", "no number"]


def test_all_objections_are_told():
    bad = figures((-0.1, -0.2, -0.05), (-0.1, -0.2, -0.05), (0.5, 0.4, 0.6), instances=3)
    assert [text.split(":")[0] for text in objections(bad, RULE)] == [
        "too few",
        "fell",
        "fell",
        "malformed",
    ]


def test_the_rule_can_be_moved():
    rule = GateSettings(least_instances=3, most_fall=0.2, most_malformed=0.6)
    assert objections(figures((-0.1, -0.4, 0.2), None, (0.5, 0.4, 0.6), instances=3), rule) == []
