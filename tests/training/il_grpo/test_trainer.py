"""The trainer on a tiny model with rollouts that are known beforehand: what a token gets, and that
the loss is TRL's wherever the two should agree."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from aigq.settings import UserError
from training.il_grpo.advantages import group_advantages, token_advantages
from training.il_grpo.loss import token_loss
from training.il_grpo.running import run_trainer
from training.il_grpo.trainer import ListGrpoTrainer

pytestmark = pytest.mark.torch


def batch_of(trainer):
    """A generation batch as TRL's sampler hands it over: each prompt ``rollouts`` times."""
    return [{"prompt": row} for row in (0, 1) for _ in range(trainer.how.rollouts)]


def test_tokens_get_the_advantage_of_their_slot(make_trainer):
    trainer = make_trainer()
    output = trainer._generate_and_score_completions(batch_of(trainer))
    scored = trainer._scored
    assert scored.errors.count(None) == 7
    for group in (slice(0, 4), slice(4, 8)):
        expected = token_advantages(
            scored.spans[group],
            group_advantages(scored.query[group], scored.sequence[group]),
            trainer.how.balance,
        )
        torch.testing.assert_close(output["advantages"][group], expected)
    assert (output["advantages"][output["completion_mask"] == 0] == 0).all()
    assert output["advantages"].shape == output["completion_ids"].shape


def test_a_rollout_is_judged_by_the_reference_of_its_prompt(make_trainer):
    """By hand: ROUGE-L with "red shoes", "blue lamp", and with "gift card"; the fourth
    does not parse."""
    trainer = make_trainer()
    trainer._generate_and_score_completions(batch_of(trainer))
    nan = float("nan")
    expected = [
        [1, nan, nan],
        [1, 1, nan],
        [0, 2 / 3, 0],
        [nan] * 3,
        [1, 0, nan],
        [0, nan, nan],
        [0, 0, nan],
        [2 / 3, nan, nan],
    ]
    found = trainer._scored.by_slot[..., 1]
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


def test_canonical_grpo_gives_a_rollout_one_advantage_for_the_sum(make_trainer):
    trainer = make_trainer(algorithm="grpo")
    output = trainer._generate_and_score_completions(batch_of(trainer))
    scored = trainer._scored
    rewards = (scored.query.nansum(1) + scored.sequence).view(2, 4)
    centred = rewards - rewards.mean(1, keepdim=True)
    expected = centred / (rewards.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(output["advantages"], expected.flatten(), rtol=1e-4, atol=1e-5)


def test_advantages_are_clipped(make_trainer):
    trainer = make_trainer(advantage_clip=0.5)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    assert output["advantages"].abs().max() == 0.5


@pytest.mark.parametrize("loss", ["dapo", "grpo"])
@pytest.mark.parametrize(
    ("accumulation", "kl_weight", "experts"), [(1, 0.0, 0), (2, 0.0, 0), (1, 0.3, 0), (2, 0.0, 2)]
)
def test_with_one_pair_of_bounds_loss_and_gradients_are_those_of_trl(
    make_trainer, loss, accumulation, kl_weight, experts
):
    """The whole way from rollouts to gradients: only the class that computes the loss differs. Old
    log-probs lie off the policy's, so that bounds bind, and so do the reference's."""
    trainer = make_trainer(
        algorithm="grpo",
        loss=loss,
        updates=2,
        accumulation_steps=accumulation,
        kl_weight=kl_weight,
        experts=experts,
    )
    trainer.epsilon_low = trainer.epsilon_high = 0.2
    trainer.args.use_bias_correction_kl = False
    output = trainer._generate_and_score_completions(batch_of(trainer))
    trainer._step = trainer.args.steps_per_generation  # the second update: ratios are off 1
    torch.manual_seed(5)
    for of in ("old", "ref") if kl_weight else ("old",):
        values = output[f"{of}_per_token_logps"]
        values += 0.5 * torch.randn_like(values)
    found = []
    for compute in (trainer._compute_loss, lambda *a: GRPOTrainer._compute_loss(trainer, *a)):
        trainer.model.zero_grad()
        loss_value = compute(trainer.model, output)
        loss_value.backward()
        grads = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}
        found.append((loss_value.detach(), grads))
    (ours, our_grads), (theirs, their_grads) = found
    torch.testing.assert_close(ours, theirs)
    assert ours.abs() > 1e-4
    logged = trainer._metrics["train"]["aux_loss"]
    assert logged == ([logged[0]] * 2 if experts else []), "of experts that share the work unevenly"
    for name, grad in our_grads.items():
        torch.testing.assert_close(grad, their_grads[name], msg=lambda m, n=name: f"{n}: {m}")


def test_the_reference_moves_the_divergence_and_not_the_bounds(make_trainer):
    """Its log-probs come after the old ones; which tokens explore, the policy says."""
    alone = make_trainer(updates=2)._generate_and_score_completions
    trainer = make_trainer(updates=2, kl_weight=0.3)
    with torch.no_grad():
        for weights in trainer.ref_model.parameters():
            weights *= 2
    output = trainer._generate_and_score_completions(batch_of(trainer))
    assert (output["exploring"] == alone(batch_of(trainer))["exploring"]).all()
    trainer._compute_loss(trainer.model, output)
    mask = output["completion_mask"].bool()
    log_ratio = (output["ref_per_token_logps"] - output["old_per_token_logps"])[mask]
    expected = (log_ratio.exp() - log_ratio - 1).mean().item()
    assert expected > 1e-3
    assert trainer._moves.figures()["kl"] == pytest.approx(expected, rel=1e-3)


def test_a_ratio_off_one_before_anything_is_trained_is_refused(make_trainer):
    trainer = make_trainer(updates=2)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    trainer._compute_loss(trainer.model, output)
    output["old_per_token_logps"] += 0.01
    with pytest.raises(UserError, match=r"mean ratio 0\.99"):
        trainer._compute_loss(trainer.model, output)
    trainer.state.global_step = 1  # of the second update, where it may be
    trainer._compute_loss(trainer.model, output)


@pytest.mark.parametrize("bf16", [False, True])
def test_it_trains_on_what_it_writes(make_trainer, monkeypatch, bf16):
    """In several parts, under autocast as without."""
    monkeypatch.setattr("training.il_grpo.trainer._FIRST_PART", 4)
    trainer = make_trainer(kind=ListGrpoTrainer, bf16=bf16, updates=2, kl_weight=0.1, steps=2)
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    assert len(log) == 2 and all(entry["completions/max_length"] == 12 for entry in log)
    assert log[1]["kl"] > 0


def test_written_in_parts_rollouts_are_those_of_trl(make_trainer, monkeypatch):
    """Where nothing is left to chance (top k 1): some end early, some in the last part, some never;
    only those without an end are written on."""
    monkeypatch.setattr("training.il_grpo.trainer._FIRST_PART", 3)
    trainer = make_trainer(kind=ListGrpoTrainer, top_k=1)
    prompts = [[i, i + 1, *task.prompt] for i in range(20, 60) for task in trainer.tasks]

    def whole():
        return GRPOTrainer._generate_single_turn(trainer, prompts, None, {}, 1)

    with torch.no_grad():
        for weights in trainer.model.parameters():
            weights *= 5  # as they begin, every token repeats the one before
    # Untrained, it would never say the real end.
    written, _ = whole()
    ends = [written[0][1], written[1][4], written[2][8]]
    trainer.eos_token_ids = trainer.generation_config.eos_token_id = ends
    expected = whole()
    rows, generate = [], trainer.model.generate
    monkeypatch.setattr(
        trainer.model,
        "generate",
        lambda input_ids, **given: (
            rows.append(len(input_ids)) or generate(input_ids=input_ids, **given)
        ),
    )
    assert trainer._generate_single_turn(prompts, None, {}, 1) == expected
    left = [sum(len(of) > n for of in expected[0]) for n in (0, 3, 6)]
    assert rows == left and left[0] > left[1] > left[2] > 0
    assert any(of[-1] not in ends for of in expected[0])
    assert trainer.generation_config.max_new_tokens == 12


def test_log_probs_and_entropies_are_those_of_trl(make_trainer):
    """Which computes them at every position; padding counts for nothing in either."""
    trainer = make_trainer(temperature=0.7)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    mask = output["completion_mask"]
    inputs = (
        torch.cat([output["prompt_ids"], output["completion_ids"]], 1),
        torch.cat([output["prompt_mask"], mask], 1),
        mask.shape[1],
    )
    ours = trainer._get_per_token_logps_and_entropies(trainer.model, *inputs, batch_size=3)
    assert all((of[mask == 0] == 0).all() for of in ours[:2])
    theirs = GRPOTrainer._get_per_token_logps_and_entropies(
        trainer, trainer.model, *inputs, compute_entropy=True
    )
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(one * mask, other * mask, rtol=1e-5, atol=1e-5)


def test_what_is_kept_is_forgotten_where_a_run_may_go_on(make_trainer, monkeypatch):
    """At the start and with every checkpoint, so that a resumed run has as little as another."""
    trainer = make_trainer(checkpoint_steps=1)
    steps = []
    monkeypatch.setattr(trainer.scorer, "forget", lambda: steps.append(trainer.state.global_step))
    run_trainer(trainer, Path(trainer.args.output_dir))
    assert steps == [0, 1, 2]


def test_accumulation_changes_nothing(make_trainer):
    """One micro-batch or four: the update's loss and gradients."""
    found = []
    for accumulation in (1, 4):
        trainer = make_trainer(accumulation_steps=accumulation, updates=2)
        output = trainer._generate_and_score_completions(batch_of(trainer))
        output["old_per_token_logps"] -= 0.3
        trainer.state.global_step = 1  # the first would refuse that
        size = 8 // accumulation
        total = 0.0
        for start in range(0, 8, size):
            part = {k: v[start : start + size] if v.ndim else v for k, v in output.items()}
            loss = trainer._compute_loss(trainer.model, part)
            loss.backward()
            total += float(loss.detach())
        grads = {n: p.grad.clone() for n, p in trainer.model.named_parameters()}
        found.append((total, grads))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, grad in found[0][1].items():
        torch.testing.assert_close(grad, found[1][1][name], rtol=1e-4, atol=1e-6)


def test_one_update_has_ratio_one_and_two_have_not(make_trainer):
    for updates in (1, 2):
        trainer = make_trainer(updates=updates, steps=2, learning_rate=5e-2)
        trainer.train()
        furthest = [e["ratio/furthest"] for e in trainer.state.log_history if "reward" in e]
        # Logged once a rollout batch.
        assert (max(furthest) == 0) == (updates == 1)
        assert len(furthest) == 2


def test_what_is_logged(make_trainer):
    trainer = make_trainer(updates=2)
    trainer.train()
    entry = trainer.state.log_history[0]
    assert entry["malformed"] == pytest.approx(1 / 8)
    assert entry["queries"] == pytest.approx((1 + 2 + 3 + 0 + 2 + 1 + 2 + 1) / 8)
    # Of the first prompt four different queries in six slots, of the second six in six.
    assert entry["distinct_share"] == pytest.approx((4 / 6 + 6 / 6) / 2)
    for term in ("ctr", "rouge", "length", "format", "duplicates", "triggers"):
        assert f"rewards/{term}/mean" in entry and f"rewards/{term}/p90" in entry
    # Click probabilities .2 and .1 by 4 (alpha); a repeat's is 0.
    assert entry["slots/2/ctr"] == pytest.approx(0.4)
    assert "slots/3/reward" not in entry, "no list is longer"
    json.dumps(trainer.state.log_history)


def test_a_fifth_of_the_tokens_explores(make_trainer):
    trainer = make_trainer(updates=2, entropy_quantile=0.8)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    share = output["exploring"].sum() / output["completion_mask"].sum()
    assert 0.15 < share < 0.3
    assert not output["exploring"][output["completion_mask"] == 0].any()


@pytest.mark.parametrize("algorithm", ["grpo", "il_grpo"])
def test_prompts_whose_rollouts_are_worth_the_same_are_counted(make_trainer, algorithm):
    """Seven alike, of whose sum's share in floats each is .0000002 off."""
    texts = [("red shoes\nlamp",) * 7, ("gift card", "lamp", "red", "lamp", "red", "a", "b")]
    trainer = make_trainer(texts=texts, algorithm=algorithm, rollouts=7, weight_ctr=0.41)
    trainer._generate_and_score_completions(batch_of(trainer))
    assert trainer._metrics["train"]["flat_prompts"] == [0.5]


def test_the_entropy_bonus_falls_with_the_steps(make_trainer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "training.il_grpo.trainer.entropy_bonus", lambda *args: seen.append(args) or 0.0
    )
    make_trainer(updates=2, steps=2, entropy_weight=0.01).train()
    assert seen == [(0.01, step, 4) for step in range(4)]


def test_one_update_beside_a_reference_asks_it_for_no_entropies(make_trainer, monkeypatch):
    """On GPUs log-probs are TRL's, and those of its reference come without entropies."""
    trainer = make_trainer(kl_weight=0.05)
    trainer.aux_loss_enabled = True  # what sends a CPU the same way
    asked = []

    def say(self, model, ids, mask, width, batch_size, compute_entropy=False, **kwargs):
        asked.append((model is trainer.ref_model, compute_entropy))
        return torch.zeros(len(ids), width), None, None

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", say)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    assert asked == [(True, False)]
    assert "exploring" not in output


def test_the_entropy_bonus_raises_entropy(make_trainer):
    """All rewards alike: what is left to follow is the bonus."""
    texts = [("red shoes",) * 4, ("gift card",) * 4]
    entropies = []
    for weight in (0.0, 1.0):
        trainer = make_trainer(texts=texts, entropy_weight=weight, steps=6, learning_rate=1e-2)
        trainer.train()
        entropies.append([e["entropy"] for e in trainer.state.log_history if "entropy" in e])
    still, raised = entropies
    assert still[-1] == pytest.approx(still[0], abs=1e-4)
    assert raised[-1] > raised[0] + 1e-3


@pytest.mark.parametrize("accumulation", [1, 4])
def test_how_far_the_policy_moved_is_logged_as_it_is(make_trainer, monkeypatch, accumulation):
    """Of the second update, the first has not moved yet: all its tokens, however they are cut."""
    seen = []

    def record(*args, **kwargs):
        seen.append((token_loss(*args, **kwargs), args[3]))
        return seen[-1][0]

    monkeypatch.setattr("training.il_grpo.trainer.token_loss", record)
    masks = []
    trainer = make_trainer(updates=2, steps=1, learning_rate=0.3, accumulation_steps=accumulation)
    compute = trainer._compute_loss
    monkeypatch.setattr(
        trainer, "_compute_loss", lambda m, i: masks.append(i["completion_mask"]) or compute(m, i)
    )
    trainer.train()
    (entry,) = [e for e in trainer.state.log_history if "ratio/mean" in e]
    assert len(seen) == 2 * accumulation
    moved = [
        (found.ratio[mask.bool()], found.is_clipped[mask.bool()], exploring[mask.bool()])
        for (found, exploring), mask in zip(seen, masks, strict=True)
    ][accumulation:]
    ratio, is_clipped, exploring = (torch.cat(of) for of in zip(*moved, strict=True))
    assert entry["ratio/furthest"] == pytest.approx(float((ratio - 1).abs().max()), rel=1e-5)
    assert entry["ratio/mean"] == pytest.approx(float(ratio.mean()), rel=1e-5)
    assert entry["ratio/furthest"] > 0.3 and is_clipped.any()
    for name, of in (("exploring", exploring), ("other", ~exploring)):
        expected = float(is_clipped[of].float().mean())
        assert entry[f"clip_fraction/{name}"] == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("bf16", [False, True])
def test_rollouts_of_other_weights_are_refused(make_trainer, sampler_of, tmp_path, bf16):
    """Of many updates ago; of the same ones never, although top k leaves a third of the mass."""
    trainer = make_trainer(top_k=100, bf16=bf16)
    model = trainer.model
    # As it was saved: a deep copy would go on with the original's forward, which accelerate binds.
    trainer.says = sampler_of(AutoModelForCausalLM.from_pretrained(tmp_path / "model"), 100)
    output = trainer._generate_and_score_completions(batch_of(trainer))
    (gap,) = trainer._metrics["train"]["sampler_gap"]
    assert gap < (0.02 if bf16 else 1e-5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(20):
        trainer._compute_loss(model, output).backward()
        optimizer.step()
        optimizer.zero_grad()
    with pytest.raises(UserError, match=r"other weights .* differ by \d\.\d+ in the mean"):
        trainer._generate_and_score_completions(batch_of(trainer))
    trainer.says = sampler_of(model, 100)
    trainer._generate_and_score_completions(batch_of(trainer))


def test_the_percentile_of_entropies_is_of_all_processes(make_trainer, monkeypatch):
    """Of three tokens here and seven of another process, whose padding is no token."""
    trainer = make_trainer(updates=2)
    others = torch.tensor([0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, float("nan")])
    monkeypatch.setattr(trainer.accelerator, "gather", lambda own: torch.cat([own, others]))
    entropies = torch.tensor([[0.1, 0.2, 9.9], [2.0, 9.9, 9.9]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    # The eighth of ten, and a fifth of the way to the ninth: 1.42.
    assert trainer._exploring(entropies, mask).tolist() == [[False] * 3, [True, False, False]]
    # Now 1.36; of these three alone it would be 0.89.
    entropies[1, 0] = 1.35
    assert not trainer._exploring(entropies, mask).any()


def test_a_sampler_that_says_nothing_is_refused(make_trainer):
    trainer = make_trainer()
    trainer.says = lambda prompts, completions: [[float("nan")] * len(ids) for ids in completions]
    with pytest.raises(UserError, match="has not said the log-probs"):
        trainer._generate_and_score_completions(batch_of(trainer))


def test_think_gives_triggers_their_own_advantage(make_trainer):
    text = "1|Why.\n\n1|{}\tred shoes"
    texts = [tuple(text.format(t) for t in ("1", "2", "2", "1,2"))] * 2
    trainer = make_trainer(variant="think", texts=texts, triggers=((1,),))
    output = trainer._generate_and_score_completions(batch_of(trainer))
    # Equal queries and grammar: nothing but the triggers moves anything.
    spans = trainer._scored.spans
    assert (output["advantages"][spans == -1] != 0).all()
    assert (output["advantages"][spans != -1] == 0).all()
