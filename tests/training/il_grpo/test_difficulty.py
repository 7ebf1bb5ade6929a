"""Which prompts are kept, where that is written, and what a resumed run makes of it."""

import json
from types import SimpleNamespace

import pytest
import torch

from aigq.settings import UserError
from training.il_grpo import difficulty
from training.il_grpo.difficulty import DifficultyFilter, keep, mean_rewards, refuse_too_few
from training.il_grpo.settings import GrpoSettings

# The first prompt's rollouts are all right, of the second one in two.
TEXTS = [("red shoes", "red shoes"), ("gift card", "x y")]


def test_kept_are_those_between_the_bounds():
    how = GrpoSettings(keep_low=0.2, keep_high=0.6, prompts=1)
    assert keep([0.1, 0.2, 0.4, 0.6, 0.61], how) == [1, 2, 3]
    refuse_too_few([1], [0.1, 0.5, 0.9], how)
    with pytest.raises(UserError, match=r"keeps 1 of 3 prompts, a rollout batch takes 2"):
        refuse_too_few([1], [0.1, 0.5, 0.9], GrpoSettings(prompts=2))


@pytest.mark.torch
def test_a_prompt_is_worth_the_mean_of_its_rollouts_means(make_trainer):
    """Only ROUGE-L counts: 1 and (1 + 0) / 2 of the first, 1 and 0 of the second, where a rollout
    does not parse."""
    texts = [("red shoes", "red shoes\nx y"), ("gift card", "\n")]
    trainer = make_trainer(texts=texts, weight_ctr=0, weight_rouge=1, weight_length=0)
    found = mean_rewards(trainer, trainer.tasks, 2)
    assert found == pytest.approx([0.75, 0.5])


@pytest.mark.torch
def test_what_follows_holds_kept_prompts_only(make_trainer, tmp_path):
    trainer = make_trainer(
        texts=TEXTS, weight_ctr=0, weight_rouge=1, weight_length=0, filter=True, keep_high=0.9,
        steps=3, filter_rollouts=2,
    )  # fmt: skip
    object.__setattr__(trainer.how, "prompts", 1)  # of the two one is left
    trainer.order[:] = [0, 1, 0]
    recorded = []
    DifficultyFilter(trainer, tmp_path, lambda *found: recorded.append(found)).start(0)
    assert trainer.order == [1, 1, 1]
    ((step, judged, rewards),) = recorded
    assert step == 0
    assert dict(zip(judged, rewards, strict=True)) == pytest.approx({0: 1.0, 1: 0.5})
    assert json.loads((tmp_path / "kept-0.json").read_text()) == [1]
    # Killed before its first checkpoint and begun again: what was judged is not judged again.
    trainer.rollouts.clear()
    trainer.order[:] = [0, 1, 0]
    DifficultyFilter(trainer, tmp_path, recorded.append).start(0)
    assert trainer.order == [1, 1, 1]


def test_no_more_prompts_are_judged_than_the_batches_take(tmp_path, monkeypatch):
    """Three steps of two prompts want six. Of 40 good ones six are looked at, none twice; where
    every second one is good, two at a time, until six are kept; where two are, all."""
    monkeypatch.setattr(difficulty, "_JUDGED_AT_ONCE", 2)
    monkeypatch.setattr(difficulty, "mean_rewards", lambda _trainer, tasks, _rollouts: [*tasks])
    how = GrpoSettings(filter=True, prompts=2, steps=3)
    looked_at = {}
    for good in (40, 20, 2):
        worth = [0.5] * good + [1.0] * (40 - good)
        trainer = SimpleNamespace(tasks=worth, how=how, order=[0] * 6)
        work = tmp_path / str(good)
        work.mkdir()
        recorded = []
        DifficultyFilter(trainer, work, lambda *of, to=recorded: to.extend(of)).start(0)
        _, looked_at[good], rewards = recorded
        assert rewards == [worth[i] for i in looked_at[good]]
        assert len(set(looked_at[good])) == len(rewards)
        assert len(trainer.order) == 6
        assert set(trainer.order) <= {i for i in looked_at[good] if worth[i] == 0.5}
    assert len(looked_at[40]) == 6
    assert len(looked_at[2]) == 40
    kept = [i < 20 for i in looked_at[20]]
    assert 6 < len(kept) < 40 and 6 <= sum(kept) <= 7


def test_a_later_judgement_that_keeps_too_few_changes_nothing(tmp_path, monkeypatch, capsys):
    """Of a policy that has become better at all prompts; a resumed run plans the same."""
    worth = [0.5]
    monkeypatch.setattr(difficulty, "mean_rewards", lambda _, tasks, __: worth * len(tasks))
    how = GrpoSettings(filter=True, prompts=2, steps=4, filter_every=2, keep_high=0.6)
    trainer = SimpleNamespace(tasks=list(range(10)), how=how, order=[0] * 8)
    recorded = []
    judge = DifficultyFilter(trainer, tmp_path, lambda step, *_: recorded.append(step))
    judge.start(0)
    planned = list(trainer.order)
    worth[0] = 0.9
    judge.on_step_end(None, SimpleNamespace(global_step=2, max_steps=4), None)
    assert trainer.order == planned
    assert recorded == [0, 2]
    assert "would keep 0 of 10 prompts at step 2" in capsys.readouterr().err
    trainer.order[:] = [0] * 8
    DifficultyFilter(trainer, tmp_path, recorded.append).start(2)
    assert trainer.order == planned


@pytest.mark.torch
def test_prompts_are_judged_anew_as_asked(make_trainer, tmp_path):
    """After step 2 of 5, and after step 4; a run that goes on from step 2 knows the first two."""
    settings = {"texts": TEXTS, "filter": True, "filter_every": 2, "steps": 5, "keep_low": -1.0,
                "filter_rollouts": 2, "updates": 2}  # fmt: skip
    trainer = make_trainer(**settings)
    recorded = []
    judge = DifficultyFilter(trainer, tmp_path, lambda step, *_: recorded.append(step))
    judge.start(0)
    trainer.add_callback(judge)
    torch.manual_seed(1)
    trainer.train()
    assert recorded == [0, 2, 4]
    planned = list(trainer.order)
    resumed = make_trainer(**settings)
    DifficultyFilter(resumed, tmp_path, recorded.append).start(2)
    assert resumed.order[: 4 * 2] == planned[: 4 * 2]
    assert recorded == [0, 2, 4]
