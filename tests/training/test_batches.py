"""The plan of a run: budget kept, epochs whole, nothing left to chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.batches import plan_batches

lengths_of = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths_of, st.integers(30, 200), st.integers(0, 5))
def test_every_epoch_visits_each_example_once_within_budget(lengths, budget, seed):
    plan = plan_batches(lengths, batch_tokens=budget, steps=10**6, max_epochs=2, seed=seed)
    seen = [index for batch in plan for index in batch]
    assert sorted(seen) == sorted([*range(len(lengths))] * 2)
    assert sorted(seen[: len(lengths)]) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(lengths_of, st.integers(1, 20), st.integers(0, 5))
def test_steps_bound_the_plan_and_do_not_change_it(lengths, steps, seed):
    arguments = {"batch_tokens": 64, "max_epochs": float("inf"), "seed": seed}
    plan = plan_batches(lengths, steps=steps, **arguments)
    assert len(plan) == steps
    assert plan == plan_batches(lengths, steps=steps + 7, **arguments)[:steps]


def test_another_seed_and_another_epoch_have_another_order():
    lengths = list(range(10, 60)) * 4
    arguments = {"batch_tokens": 120, "steps": 10**6}
    one = plan_batches(lengths, max_epochs=1, seed=1, **arguments)
    assert one != plan_batches(lengths, max_epochs=1, seed=2, **arguments)
    both = plan_batches(lengths, max_epochs=2, seed=1, **arguments)
    assert both[: len(one)] == one != both[len(one) :]


def test_half_an_epoch():
    assert len(plan_batches([10] * 100, batch_tokens=10, steps=999, max_epochs=0.5, seed=1)) == 50


def test_nothing_to_plan():
    with pytest.raises(ValueError, match="no examples"):
        plan_batches([], batch_tokens=10, steps=1, max_epochs=1, seed=1)
