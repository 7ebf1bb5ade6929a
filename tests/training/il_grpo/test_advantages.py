"""Advantages against numbers worked out by hand, plain loops, and what must not change them."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigq.spans import OTHER, PADDING, RATIONALE, TRIGGER
from training.il_grpo.advantages import group_advantages, token_advantages

NAN = math.nan
REWARDS = st.integers(-40, 40).map(lambda n: n / 8)  # exact in binary, also with 1 added


@st.composite
def groups(draw, least_rollouts=1):
    rollouts, slots = draw(st.integers(least_rollouts, 6)), draw(st.integers(0, 4))

    def column(values, size):
        return draw(st.lists(values, min_size=size, max_size=size))

    query = [column(REWARDS | st.just(NAN), slots) for _ in range(rollouts)]
    query = torch.tensor(query, dtype=torch.float64).reshape(rollouts, slots)
    sequence = torch.tensor(column(REWARDS, rollouts), dtype=torch.float64)
    trigger = torch.tensor(column(REWARDS, rollouts), dtype=torch.float64)
    return query, sequence, trigger if draw(st.booleans()) else None


def by_hand(values: list[float], eps=1e-4, floor=1e-3) -> list[float]:
    present = [v for v in values if not math.isnan(v)]
    if len(present) < 2 or statistics.stdev(present) < floor:
        return [0.0] * len(values)
    mean, deviation = statistics.mean(present), statistics.stdev(present)
    return [0.0 if math.isnan(v) else (v - mean) / (deviation + eps) for v in values]


def test_three_rollouts_of_three_slots():
    """Slot 0: 1, 2, 3 deviate by 1. Slot 1: of 0 and 4 the mean is 2 and the deviation 2.828;
    rollout 2 has none. Slot 2: one rollout has it, nothing to compare with."""
    query = torch.tensor([[1.0, 0.0, NAN], [2.0, 4.0, NAN], [3.0, NAN, 9.0]])
    sequence, trigger = torch.tensor([0.0, 0.0, 3.0]), torch.tensor([0.5, 0.5, 0.5])
    found = group_advantages(query, sequence, trigger)
    wide, deep = 1 / (1 + 1e-4), 2 / (math.sqrt(8) + 1e-4)
    torch.testing.assert_close(
        found.query, torch.tensor([[-wide, -deep, 0.0], [0.0, deep, 0.0], [wide, 0.0, 0.0]])
    )
    third = math.sqrt(3) + 1e-4
    torch.testing.assert_close(found.sequence, torch.tensor([-1, -1, 2]) / third)
    assert found.trigger.tolist() == [0.0, 0.0, 0.0]

    spans = torch.tensor(
        [
            [RATIONALE, TRIGGER, 0, OTHER, 1, OTHER, PADDING],
            [RATIONALE, TRIGGER, 0, 0, 1, 1, OTHER],
            [RATIONALE, TRIGGER, 0, OTHER, 2, OTHER, PADDING],
        ]
    )
    low, high = -0.5 / third, 0.5 * 2 / third
    torch.testing.assert_close(
        token_advantages(spans, found, 0.5),
        torch.tensor(
            [
                [low, 0, -wide + low, low, -deep + low, low, 0],
                [low, 0, low, low, deep + low, deep + low, low],
                [high, 0, wide + high, high, high, high, 0],
            ]
        ),
    )


@given(groups())
def test_the_same_by_plain_loops(group):
    query, sequence, trigger = group
    found = group_advantages(*group)
    assert found.query.shape == query.shape
    for slot in range(query.shape[1]):
        assert found.query[:, slot].tolist() == pytest.approx(by_hand(query[:, slot].tolist()))
    assert found.sequence.tolist() == pytest.approx(by_hand(sequence.tolist()))
    assert (found.trigger is None) == (trigger is None)
    if trigger is not None:
        assert found.trigger.tolist() == pytest.approx(by_hand(trigger.tolist()))


@given(groups(), st.randoms(use_true_random=False))
def test_another_order_of_rollouts_is_the_same_in_that_order(group, random):
    query, sequence, trigger = group
    order = list(range(len(query)))
    random.shuffle(order)
    found = group_advantages(*group)
    moved = group_advantages(
        query[order], sequence[order], None if trigger is None else trigger[order]
    )
    torch.testing.assert_close(moved.query, found.query[order])
    torch.testing.assert_close(moved.sequence, found.sequence[order])
    if trigger is not None:
        torch.testing.assert_close(moved.trigger, found.trigger[order])


@given(groups(), st.data())
def test_a_constant_on_one_slot_changes_nothing(group, data):
    query, sequence, trigger = group
    if not query.shape[1]:
        return
    slot = data.draw(st.integers(0, query.shape[1] - 1))
    higher = query.clone()
    higher[:, slot] += 1.0
    for found, expected in zip(
        group_advantages(higher, sequence, trigger), group_advantages(*group), strict=True
    ):
        torch.testing.assert_close(found, expected)


@given(groups(), st.data())
def test_a_slot_s_rewards_reach_no_other_token(group, data):
    query, sequence, trigger = group
    rollouts, slots = query.shape
    if not slots:
        return
    slot = data.draw(st.integers(0, slots - 1))
    other = query.clone()
    other[:, slot] = torch.tensor(
        data.draw(st.lists(REWARDS | st.just(NAN), min_size=rollouts, max_size=rollouts))
    )
    kinds = [*range(slots), OTHER, PADDING, RATIONALE] + [TRIGGER] * (trigger is not None)
    spans = torch.tensor([kinds] * rollouts)
    before = token_advantages(spans, group_advantages(*group), 0.5)
    after = token_advantages(spans, group_advantages(other, sequence, trigger), 0.5)
    torch.testing.assert_close(after[spans != slot], before[spans != slot], rtol=0, atol=0)


@given(st.lists(REWARDS, min_size=2, max_size=8))
def test_lists_of_one_slot_without_balance_are_canonical_grpo(rewards):
    """TRL's advantage: rewards less their group's mean, over the deviation + 1e-4."""
    tensor = torch.tensor(rewards)
    expected = (tensor - tensor.mean()) / (tensor.std() + 1e-4)
    found = group_advantages(tensor[:, None], torch.zeros(len(rewards)))
    spans = torch.tensor([[0, 0, PADDING]] * len(rewards))
    tokens = token_advantages(spans, found, 0.0)
    torch.testing.assert_close(tokens[:, 0], expected)
    torch.testing.assert_close(tokens[:, 1], expected)
    assert not tokens[:, 2].any()


def test_deviations_that_are_rounding_give_nothing():
    alike = torch.tensor([[1.0], [1.0005], [0.9995]])
    assert not group_advantages(alike, alike[:, 0]).query.any()
    assert group_advantages(alike, alike[:, 0], std_floor=1e-4).query.any()
    # Far from zero as well.
    large = torch.tensor([[1e6], [1e6 + 1], [1e6 + 2]])
    found = group_advantages(large, torch.zeros(3)).query
    torch.testing.assert_close(found, torch.tensor([[-1.0], [0.0], [1.0]]) / (1 + 1e-4))


def test_half_precision_is_not_computed_in():
    """Rewards of one group lie close together: in bf16 their deviation is mostly rounding."""
    rewards = torch.tensor([[0.25], [0.5], [0.75]])
    exact = group_advantages(rewards, rewards[:, 0])
    half = group_advantages(rewards.bfloat16(), rewards[:, 0].bfloat16())
    for one, other in zip(exact[:2], half[:2], strict=True):
        assert torch.equal(one, other)


def test_no_slot_at_all():
    found = group_advantages(torch.zeros(2, 0), torch.tensor([0.0, 1.0]))
    spans = torch.tensor([[OTHER, PADDING], [OTHER, OTHER]])
    assert token_advantages(spans, found, 1.0)[0, 0] == found.sequence[0]


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ((torch.zeros(3), torch.zeros(3)), r"query_rewards must be \(G, K\), got \(3,\)"),
        ((torch.tensor(3.0), torch.zeros(1)), r"query_rewards must be \(G, K\), got \(\)"),
        ((torch.zeros(3, 1), torch.zeros(2)), r"sequence_rewards must be \(3,\), got \(2,\)"),
        ((torch.zeros(1, 1), torch.zeros(1), torch.zeros(1, 1)), "trigger_rewards must be"),
        ((torch.zeros(1, 1), torch.tensor([NAN])), "sequence_rewards must be finite, got"),
        ((torch.full((1, 1), math.inf), torch.zeros(1)), "infinite"),
    ],
)
def test_rewards_that_are_refused(rewards, message):
    with pytest.raises(ValueError, match=message):
        group_advantages(*rewards)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[0], [1]], "from -4 to 0, the last slot with a reward, got 0 to 1"),
        ([[-5], [0]], "got -5 to 0"),
        ([[0]], r"spans must be \(2, T\) integers, got \(1, 1\)"),
        ([[TRIGGER], [0]], "no trigger rewards"),
        ([[0.5], [0.0]], r"spans must be \(2, T\) integers, got \(2, 1\), torch.float32"),
    ],
)
def test_spans_that_are_refused(spans, message):
    found = group_advantages(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        token_advantages(torch.tensor(spans), found, 1.0)
