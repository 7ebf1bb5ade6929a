"""The trainer: which tokens count, and that a killed run ends like one that was left alone."""

import math

import pytest
import torch
from transformers import Trainer, TrainerCallback

from aigq.settings import UserError
from training.batches import plan_batches
from training.settings import TrainSettings
from training.trainer import (
    Example,
    checkpoints,
    heldout_loss,
    target_loss,
    train,
)

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def tokenizer():
    from training.base.tokenizer import train_tokenizer

    return train_tokenizer(["red shoes", "blue lamp"] * 5, vocab_size=400, max_behaviors=5)


def make_model(tokenizer):
    from training.base.job import BaseSettings, new_model

    settings = BaseSettings(hidden_size=16, layers=2, heads=2, head_dim=8, intermediate_size=32)
    return new_model(settings, tokenizer)


def make_examples(count: int) -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(count):
        size = int(torch.randint(6, 20, (1,), generator=generator))
        ids = torch.randint(80, 300, (size,), generator=generator).tolist()
        examples.append(Example(ids, size // 2))
    return examples


def how(**changes) -> TrainSettings:
    steady = {"learning_rate": 1e-2, "warmup_share": 0.1, "weight_decay": 0.1, "seed": 3}
    return TrainSettings(**steady | {"checkpoint_steps": 4} | changes)


def test_only_target_and_eos_count(tokenizer):
    # By hand: one sequence at a time, no padding, log-probabilities of the target tokens only.
    model = make_model(tokenizer).eval()
    examples = [Example([90, 91, 92, 93, 0], 3), Example([95, 96, 97, 98, 99, 100, 0], 2)]
    expected, count = 0.0, 0
    for example in examples:
        log_probs = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1).detach()
        for position in range(example.target_start, len(example.input_ids)):
            expected -= float(log_probs[position - 1, example.input_ids[position]])
            count += 1
    assert count == 2 + 5
    mean = heldout_loss(model, tokenizer, examples, batch_tokens=1000, bf16=False)
    assert mean == pytest.approx(expected / count, rel=1e-5)

    # And the prompt's own tokens carry no gradient as labels: other labels there change nothing.
    ids = torch.tensor([examples[0].input_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.tensor([examples[0].labels])
    assert labels.tolist() == [[-100, -100, -100, 93, 0]]
    whole = float(target_loss(model, {**inputs, "labels": ids}))
    assert float(target_loss(model, {**inputs, "labels": labels})) < whole


def test_language_modelling_counts_all_but_the_first(tokenizer):
    model = make_model(tokenizer).eval()
    ids = torch.tensor([[90, 91, 92, 93]])
    expected = model(ids, labels=ids).loss
    loss = target_loss(
        model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    )
    torch.testing.assert_close(loss / 3, expected)


class StopAt(TrainerCallback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def run(tokenizer, work, *, callbacks=(), steps=14, lora=False, **changes):
    examples = make_examples(30)
    plan = plan_batches(
        [len(e.input_ids) for e in examples],
        batch_tokens=60,
        steps=steps,
        max_epochs=99,
        seed=1,
    )
    peft_config = None
    if lora:
        from peft import LoraConfig

        peft_config = LoraConfig(
            r=4, target_modules="all-linear", trainable_token_indices={"embed_tokens": [5, 6]}
        )
    return train(
        make_model(tokenizer),
        tokenizer,
        examples,
        plan,
        how(**changes),
        work,
        bf16=False,
        title="test",
        callbacks=callbacks,
        peft_config=peft_config,
    )


def assert_same_weights(one, other):
    for (name, a), (other_name, b) in zip(
        one.state_dict().items(), other.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(a, b), name


@pytest.mark.parametrize(
    "settings", [{}, {"lora": True}, {"muon_learning_rate": 0.02}], ids=["adamw", "lora", "muon"]
)
def test_stopped_and_resumed_equals_uninterrupted(tokenizer, tmp_path, settings):
    settings = settings | {"logging_steps": 5}  # a point after a stop sums losses from before it
    whole, metrics = run(tokenizer, tmp_path / "whole", **settings)
    assert metrics["steps"] == 14

    for stop in (6, 9):  # two steps and one step past a checkpoint
        with pytest.raises(KeyboardInterrupt):
            run(tokenizer, tmp_path / "cut", callbacks=[StopAt(stop)], **settings)
    assert [p.name for p in checkpoints(tmp_path / "cut")] == ["checkpoint-8"]
    resumed, again = run(tokenizer, tmp_path / "cut", **settings)
    assert_same_weights(whole, resumed)
    assert metrics["predicted_memory_bytes"] > 0
    assert again == metrics


def test_a_prediction_that_fails_keeps_no_model_from_training(
    tokenizer, tmp_path, monkeypatch, capsys
):
    def fail(*_, **__):
        raise AttributeError("no num_hidden_layers")

    monkeypatch.setattr("training.trainer.predict", fail)
    _, metrics = run(tokenizer, tmp_path)
    assert metrics["steps"] == 14 and metrics["predicted_memory_bytes"] is None
    assert "memory not predicted: AttributeError: no num_hidden" in capsys.readouterr().err


@pytest.mark.parametrize(
    "same",
    [
        {"accumulation_steps": 8},
        {"batch_layout": "packed"},
        {"batch_layout": "packed", "accumulation_steps": 3},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_the_same_training_by_other_means(tokenizer, tmp_path, same):
    # 8 x 1 = 1 x 8: a step's loss is per target token of the whole step, not a mean of the parts'
    # means, which differs as parts have unlike numbers of targets.
    whole, metrics = run(tokenizer, tmp_path / "whole", logging_steps=1)
    other, others = run(tokenizer, tmp_path / "other", logging_steps=1, **same)
    assert dict(others["loss_curve"]) == pytest.approx(dict(metrics["loss_curve"]), rel=1e-4)
    assert others["target_tokens"] == metrics["target_tokens"]
    for (name, a), b in zip(whole.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_kill_while_a_checkpoint_is_written(tokenizer, tmp_path, monkeypatch):
    whole, _ = run(tokenizer, tmp_path / "whole")

    def half_written(self, model, trial):
        # What a kill leaves behind: a checkpoint without optimiser state.
        folder = tmp_path / "cut" / ".partial" / f"checkpoint-{self.state.global_step}"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tokenizer, tmp_path / "cut", callbacks=[StopAt(5)])
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "_save_checkpoint", half_written)
        run(tokenizer, tmp_path / "cut")
    assert [p.name for p in checkpoints(tmp_path / "cut")] == ["checkpoint-4"]
    resumed, _ = run(tokenizer, tmp_path / "cut")
    assert_same_weights(whole, resumed)
    assert not (tmp_path / "cut" / ".partial").exists() or not list(
        (tmp_path / "cut" / ".partial").glob("checkpoint-*")
    )


def test_training_learns_and_seed_matters(tokenizer, tmp_path):
    model, metrics = run(tokenizer, tmp_path / "a", steps=150, learning_rate=2e-2)
    examples = make_examples(30)
    learned = heldout_loss(model, tokenizer, examples, batch_tokens=500, bf16=False)
    fresh = heldout_loss(make_model(tokenizer), tokenizer, examples, batch_tokens=500, bf16=False)
    assert fresh == pytest.approx(math.log(len(tokenizer)), rel=0.05)
    assert learned < 0.5 * fresh
    assert metrics["train_loss"] < fresh


def test_divergence_is_an_error(tokenizer, tmp_path):
    # Noticed when the loss is next logged, and before weights that are no numbers are saved.
    for checkpoint_steps, step in ((1000, 6), (4, 4)):
        with pytest.raises(UserError, match=f"diverged at step {step} "):
            run(
                tokenizer,
                tmp_path,
                steps=30,
                learning_rate=1e38,
                checkpoint_steps=checkpoint_steps,
            )
    assert checkpoints(tmp_path) == []


def test_divergence_in_the_last_steps_is_an_error(tokenizer, tmp_path):
    # After the last loss that is logged: by its weights.
    with pytest.raises(UserError, match="diverged at step 1 "):
        run(tokenizer, tmp_path, steps=1, learning_rate=1e38, checkpoint_steps=1000)


def test_muon_trains_matrices_only_and_every_parameter_moves(tokenizer, tmp_path):
    fresh = dict(make_model(tokenizer).named_parameters())
    adamw, _ = run(tokenizer, tmp_path / "adamw", steps=1)
    muon, _ = run(tokenizer, tmp_path / "muon", steps=1, muon_learning_rate=0.02)
    adamw = dict(adamw.named_parameters())
    for name, parameter in muon.named_parameters():
        assert not torch.equal(parameter, fresh[name]), name
        is_matrix = parameter.ndim == 2 and "embed" not in name
        # The same AdamW on the rest, in another grouping: equal up to rounding.
        assert torch.allclose(parameter, adamw[name], rtol=0, atol=1e-6) != is_matrix, name
        if is_matrix:
            # Muon's update is near orthogonal: its singular values are alike, AdamW's are not.
            values = torch.linalg.svdvals((parameter - fresh[name]).detach())
            assert values[0] < 3 * values.median(), name


def test_muon_leaves_the_rows_of_added_tokens_to_adamw(tokenizer, tmp_path):
    """Under LoRA they are a matrix of their own, but each row is a token, not a direction."""
    settings = {"lora": True, "steps": 1, "learning_rate": 1e-3}
    adamw, _ = run(tokenizer, tmp_path / "adamw", **settings)
    muon, _ = run(tokenizer, tmp_path / "muon", muon_learning_rate=0.02, **settings)
    other = dict(adamw.named_parameters())
    moved = {n: p for n, p in muon.named_parameters() if "trainable_tokens_delta" in n}
    assert moved
    for name, rows in moved.items():
        assert torch.allclose(rows, other[name], rtol=0, atol=1e-6)
    assert not any(
        torch.allclose(p, other[n], atol=1e-6) for n, p in muon.named_parameters() if "lora_B" in n
    )


def test_no_heldout_examples(tokenizer):
    model = make_model(tokenizer)
    assert heldout_loss(model, tokenizer, [], batch_tokens=10, bf16=False) is None
