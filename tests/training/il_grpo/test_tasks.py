"""Samples to tasks: the reference, the context, who is held out, the order of batches."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from aigq import models, warehouse
from aigq.settings import UserError
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import PromptFormat, plan, read_tasks
from training.workspace import Snapshot

FORM = PromptFormat("compressed", 1200)


def read(home, form=FORM, **settings):
    tokenizer = AutoTokenizer.from_pretrained(models.resolve(home, "base").path)
    con = warehouse.connect(home, read_only=True)
    version = warehouse.current_snapshot(con)
    con.close()
    how = GrpoSettings(**{"heldout_share": 0.1, "day_start_share": 0, **settings})
    with Snapshot(home, version) as snapshot:
        return read_tasks(snapshot, tokenizer, form, how), tokenizer


@pytest.mark.torch
def test_direct_references_are_the_labels_best_first(home):
    tasks, tokenizer = read(home)
    by_session = {task.session_id: task for task in [*tasks.train, *tasks.heldout]}
    assert tasks.counts["samples_read"] == len(by_session) == 100
    task = by_session["r0-8"]  # u0 searched red shoes on even days, black kettle... on odd ones
    assert task.queries == ("red shoes", task.queries[1], "gift card")
    assert task.triggers is None
    assert task.kept == len(task.context.behaviors) == 16
    assert tokenizer.decode(task.prompt).endswith("<hints>")


@pytest.mark.torch
def test_held_out_are_users_not_samples(home):
    tasks, _ = read(home)
    users = [
        {task.session_id.partition("-")[0] for task in of} for of in (tasks.train, tasks.heldout)
    ]
    assert users[1] and not users[0] & users[1]
    # Whom the base model was trained on is neither measured nor trained on.
    nobody, _ = read(home, form=PromptFormat("compressed", 1200, heldout_share=0.0))
    assert nobody.heldout == []
    assert nobody.train == tasks.train
    few, _ = read(home, heldout_prompts=1)
    assert len(few.heldout) == 1
    assert few.train == tasks.train


@pytest.mark.torch
def test_contexts_at_the_start_of_the_day_have_nothing_of_it(home):
    for share, expected in ((0, {0}), (1, {1})):
        tasks, _ = read(home, day_start_share=share)
        newest = {task.context.behaviors[-1].days_ago for task in tasks.train}
        assert newest == expected


@pytest.mark.torch
def test_think_references_are_the_points_of_the_teacher(home):
    tasks, tokenizer = read(home, variant="think")
    task = next(t for t in tasks.train if t.session_id == "u1:2026-03-08")
    assert len(task.triggers) == 2
    assert sorted(task.queries)[1:] == ["gift card", "red lamp"]
    assert len(task.queries) == 3
    for triggers in task.triggers:
        said = {task.context.behaviors[t - 1].content_text for t in triggers}
        assert said & set(task.queries)
    assert tokenizer.decode(task.prompt).endswith("<interests>")


@pytest.mark.torch
def test_too_few_for_a_batch(home):
    with pytest.raises(UserError, match="a rollout batch takes 200"):
        read(home, prompts=200)


@given(
    count=st.integers(1, 20),
    steps=st.integers(1, 12),
    prompts=st.integers(1, 9),
    seed=st.integers(0),
)
def test_every_task_comes_once_an_epoch(count, steps, prompts, seed):
    tasks = list(range(100, 100 + count))
    order = plan(tasks, steps=steps, prompts=prompts, seed=seed)
    assert len(order) == steps * prompts
    for start in range(0, len(order), count):
        epoch = order[start : start + count]
        assert len(set(epoch)) == len(epoch)
    assert max(Counter(order).values()) <= -(-len(order) // count)
    assert order == plan(tasks, steps=steps, prompts=prompts, seed=seed)
    # A longer run begins like a shorter one.
    assert plan(tasks, steps=steps + 1, prompts=prompts, seed=seed)[: len(order)] == order
