"""Each reward term: against the package rouge_score, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from training.il_grpo.rewards import (
    ctr_reward,
    duplicate_share,
    format_reward,
    length_reward,
    rouge_l,
    sequence_rouge_l,
    trigger_reward,
)

SCORER = RougeScorer(["rougeL"], use_stemmer=False)
WORDS = st.lists(st.sampled_from(["red", "Shoe", "shoes", "2", "x_y", "it's"]), max_size=6)
ASCII = st.text(st.characters(max_codepoint=127), max_size=20) | WORDS.map(" ".join)


@given(ASCII, ASCII)
def test_ascii_is_scored_as_by_rouge_score(candidate, reference):
    expected = SCORER.score(reference, candidate)["rougeL"].fmeasure
    assert rouge_l(candidate, reference) == pytest.approx(expected)


def test_by_hand():
    # "red shoe" in "red running shoe": both tokens of one, two of three of the other.
    assert rouge_l("red shoe", "red running shoe") == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))
    assert rouge_l("shoe red", "red shoe") == 0.5
    assert rouge_l("连衣裙", "连衣长裙") == pytest.approx(6 / 7)
    assert rouge_l("", "red") == rouge_l("red", "") == rouge_l("", "") == 0


@given(st.lists(st.integers(0, 4), max_size=7), st.lists(st.integers(0, 4), max_size=7))
def test_the_longest_common_subsequence_by_trying_all(first, second):
    def subsequences(values):
        found = {()}
        for value in values:
            found |= {(*known, value) for known in found}
        return found

    longest = max(map(len, subsequences(first) & subsequences(second)))
    expected = 2 * longest / (len(first) + len(second)) if first and second else 0
    assert sequence_rouge_l(first, second) == pytest.approx(expected)
    assert sequence_rouge_l(second, first) == pytest.approx(expected)


def test_triggers_are_compared_point_by_point():
    assert trigger_reward([[1, 2], [5]], [[1, 2], [5]]) == 1
    # (2/3 + 0) / 2: one index of two; the second point's is another.
    assert trigger_reward([[1], [4]], [[1, 2], [5]]) == pytest.approx(1 / 3)
    # A point too many counts as much as one too few.
    assert trigger_reward([[1, 2], [5]], [[1, 2]]) == 0.5
    assert trigger_reward([[1, 2]], [[1, 2], [5]]) == 0.5
    assert trigger_reward([], [[1]]) == trigger_reward([], []) == 0
    # An index is a token of its own: 12 is not 1 and 2.
    assert trigger_reward([[12]], [[1, 2]]) == 0


def test_click_through_rate_is_scaled_and_clipped():
    assert ctr_reward(0.02, scale=10, cap=1) == pytest.approx(0.2)
    assert ctr_reward(0.5, scale=10, cap=1) == 1
    assert ctr_reward(-0.1, scale=10, cap=1) == 0
    with pytest.raises(ValueError, match="click probability is nan"):
        ctr_reward(float("nan"), scale=10, cap=1)


def test_format_is_the_share_of_good_fields_times_that_of_filled_slots():
    assert format_reward(["red shoes", "lamp"], 2, 2) == 1
    assert format_reward(["red shoes", "lamp "], 2, 2) == 0.5, "a blank too many"
    assert format_reward(["red shoes"], 1, 4) == 0.25, "three slots are empty"
    assert format_reward(["Why.", "2", "red shoes", "-"], 2, 4) == pytest.approx(0.75 / 2)
    assert format_reward(["a", "b", "c"], 3, 2) == 1, "no more is wanted, and no more is paid"


def test_length_is_within_bounds_or_not():
    queries = ["ab", "abc", "a" * 8, "a" * 9]
    assert [length_reward(q, least=3, most=8) for q in queries] == [0, 1, 1, 0]


def test_repeats_and_near_repeats():
    queries = ["tea", "tea", "green tea", "mug"]
    assert duplicate_share(queries, near=0.9) == 0.25
    vectors = np.array([[1, 0], [1, 0], [0.96, 0.28], [0, 1]])
    # "green tea" is near both earlier ones, and counts once.
    assert duplicate_share(queries, vectors, near=0.9) == 0.5
    assert duplicate_share(queries, vectors, near=0.97) == 0.25
    assert duplicate_share([], near=0.9) == 0
