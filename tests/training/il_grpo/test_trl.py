"""Our loss against TRL's own, on a real trainer of a tiny model: values, gradients, clipping.

TRL has one advantage a completion, or one a token, and one pair of bounds: where both our pairs are
that one the two must agree, whichever tokens are said to explore.
"""

import pytest
import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from training.il_grpo.loss import Bounds, token_loss

BELOW, ABOVE = 0.1, 0.25
BOUNDS = Bounds(tight=(BELOW, ABOVE), wide=(BELOW, ABOVE))
LENGTHS = (6, 4, 1, 5)  # tokens of each completion, the longest first
PROMPT = 3


@pytest.fixture(scope="module")
def make_trainer(tmp_path_factory, byte_level_tokenizer):
    tokenizer = byte_level_tokenizer(["red shoes"], 280, ["<eos>"])

    def make(loss_type: str, beta: float) -> GRPOTrainer:
        torch.manual_seed(0)
        path = str(tmp_path_factory.mktemp("trl"))
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
        )
        Qwen3ForCausalLM(config).save_pretrained(path)  # TRL reads the configuration once more
        arguments = GRPOConfig(
            output_dir=path,
            loss_type=loss_type,
            beta=beta,
            use_bias_correction_kl=False,  # its default weighs the divergence by the ratio
            epsilon=BELOW,
            epsilon_high=ABOVE,
            per_device_train_batch_size=len(LENGTHS),
            num_generations=len(LENGTHS),
            use_cpu=True,
            bf16=False,  # its default leaves two digits
            report_to=[],
        )
        trainer = GRPOTrainer(
            model=path,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=arguments,
            train_dataset=Dataset.from_list([{"prompt": "red"}]),
            processing_class=tokenizer,
        )
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1  # which its training loop sets
        return trainer

    return make


def log_probs_of(model, ids: torch.Tensor, mask: torch.Tensor, longest: int) -> torch.Tensor:
    """(B, T) of the completion's tokens, by nothing but the logits."""
    logits = model(input_ids=ids, attention_mask=mask).logits[:, -longest - 1 : -1]
    return logits.log_softmax(-1).gather(-1, ids[:, -longest:, None])[..., 0]


@pytest.mark.torch
@pytest.mark.parametrize("per_token", [False, True], ids=["per_completion", "per_token"])
@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_loss_and_gradients_are_those_of_trl(make_trainer, loss_type, beta, per_token):
    trainer = make_trainer(loss_type, beta)
    model, rows, longest = trainer.model, len(LENGTHS), max(LENGTHS)
    ids = torch.randint(3, model.config.vocab_size, (rows, PROMPT + longest))
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in LENGTHS])
    whole = torch.cat([torch.ones(rows, PROMPT, dtype=torch.long), mask], dim=1)
    with torch.no_grad():
        now = log_probs_of(model, ids, whole, longest)
    # Ratios on both sides of both bounds, under advantages of both signs.
    old = now + 0.4 * torch.randn(rows, longest)
    reference = now + 0.5 * torch.randn(rows, longest)
    advantages = torch.randn(rows, longest) if per_token else torch.tensor([1.2, -0.7, 0.4, -0.9])

    expected = trainer._compute_loss(
        model,
        {
            "prompt_ids": ids[:, :PROMPT],
            "prompt_mask": whole[:, :PROMPT],
            "completion_ids": ids[:, PROMPT:],
            "completion_mask": mask,
            "advantages": advantages,
            "old_per_token_logps": old,
            "ref_per_token_logps": reference,
            "num_items_in_batch": mask.sum(),
        },
    )
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()

    found = token_loss(
        log_probs_of(model, ids, whole, longest),
        old,
        advantages if per_token else advantages[:, None].expand(-1, longest),
        torch.rand(rows, longest) < 0.5,
        BOUNDS,
        reference_log_probs=reference,
        beta=beta,
    )
    if loss_type == "grpo":  # a mean over completions of their means
        loss = ((found.loss * mask).sum(1) / mask.sum(1)).mean()
    else:  # a mean over all tokens
        loss = (found.loss * mask).sum() / mask.sum()
    loss.backward()

    torch.testing.assert_close(loss, expected)
    assert any(grad.abs().max() > 1e-3 for grad in wanted.values())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], msg=lambda m, n=name: f"{n}: {m}")

    share = (found.is_clipped * mask).sum() / mask.sum()
    assert 0 < share < 1, "nothing or everything clipped shows little"
    assert share.item() == pytest.approx(trainer._metrics["train"]["clip_ratio/region_mean"][-1])
