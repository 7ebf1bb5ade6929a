"""What is refused before a step is trained."""

import pytest
import torch

from aigq.settings import UserError
from training.il_grpo.preflight import preflight

pytestmark = pytest.mark.torch

GOOD = ("red shoes", "red shoes\nblue lamp", "lamp\ngift card", "lamp\nred")
BROKEN = ("red\n\n", "\n", "lamp\n\nred", "red shoes")
ALIKE = ("red shoes",) * 4


def test_a_sound_start_passes(make_trainer):
    found = preflight(make_trainer(texts=[GOOD, GOOD]))
    assert found["malformed"] == found["truncated"] == found["flat"] == 0
    assert found["ratio"] == pytest.approx(1, abs=1e-5)


def test_rollouts_without_an_end(make_trainer, tokenizer):
    trainer = make_trainer(texts=[GOOD, GOOD])
    for rollouts in trainer.rollouts.values():
        for ids in rollouts[:2]:
            ids.remove(tokenizer.eos_token_id)
    with pytest.raises(UserError, match=r"4 of 8 rollouts have no end within 12 tokens"):
        preflight(trainer)


def test_rollouts_that_do_not_parse(make_trainer):
    with pytest.raises(UserError, match=r"6 of 8 rollouts do not parse \(4 empty_query, 2 empty"):
        preflight(make_trainer(texts=[BROKEN, BROKEN]))


def test_rollouts_that_are_all_worth_the_same(make_trainer):
    with pytest.raises(UserError, match="100% of the prompts have rollouts that are all worth"):
        preflight(make_trainer(texts=[ALIKE, ALIKE]))
    # Half of them is no reason.
    assert preflight(make_trainer(texts=[ALIKE, GOOD]))["flat"] == 0.5
    # Two lists whose slots differ and whose sums do not: canonical GRPO cannot tell them apart.
    turned = ("red shoes\nxx", "xx\nblue lamp") * 2
    told = ("gift card", "lamp") * 2
    worth = {"weight_ctr": 0.0, "weight_length": 0.0}
    assert preflight(make_trainer(texts=[turned, told], **worth))["flat"] == 0
    of_sums = make_trainer(texts=[turned, told], algorithm="grpo", **worth)
    assert preflight(of_sums)["flat"] == 0.5


def test_a_policy_that_does_not_repeat_itself(make_trainer):
    """Dropout: the log-probs that the loss sees are not those of the policy that wrote."""
    trainer = make_trainer(texts=[GOOD, GOOD])
    head = trainer.model.model.norm
    head.register_forward_hook(
        lambda module, _, output: torch.nn.functional.dropout(output, 0.5, module.training)
    )
    with pytest.raises(UserError, match="other log-probs when scored again"):
        preflight(trainer)
