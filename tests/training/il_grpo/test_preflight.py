"""What is refused before a step is trained."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3ForCausalLM

from aigq.settings import UserError
from training.il_grpo.preflight import _moved, preflight, require_differences
from training.il_grpo.trainer import ListGrpoTrainer

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
    # A filter is still to choose prompts; of those it has left it is asked again.
    filtered = make_trainer(texts=[ALIKE, ALIKE], filter=True)
    assert "flat" not in preflight(filtered)
    with pytest.raises(UserError, match="100% of the prompts have rollouts that are all worth"):
        require_differences(filtered)
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


class Engine:
    """Has a copy of the policy of its own, which says the log-probs of what is rehearsed.
    ``pushes``: whether the weight of this name reaches it."""

    def __init__(self, trainer, sampler_of, pushes):
        self._policy, self._rollouts, self._pushes = trainer.model, trainer.rollouts, pushes
        self.model = Qwen3ForCausalLM(trainer.model.config).eval()
        self.model.load_state_dict(trainer.model.state_dict())
        self._says = sampler_of(self.model, 100)

    def sync_weights(self):
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, weight in self._policy.named_parameters():
                if self._pushes(name):
                    own[name].copy_(weight)

    def generate(self, prompts, images, num_generations, profiler):
        written = [self._rollouts[tuple(of)][i % num_generations] for i, of in enumerate(prompts)]
        said = self._says(prompts, written)
        # As vLLM says a number that is none.
        said[0][0] = None
        return prompts, written, [[[each] for each in of] for of in said], None


@pytest.fixture
def with_engine(make_trainer, sampler_of):
    def make(pushes):
        trainer = make_trainer(ListGrpoTrainer, texts=[GOOD, GOOD], top_k=100)
        trainer.use_vllm, trainer._last_loaded_step = True, 0
        trainer.vllm_generation = Engine(trainer, sampler_of, pushes)
        return trainer

    return make


def test_weights_that_reach_the_engine(with_engine):
    trainer = with_engine(lambda name: True)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    preflight(trainer)
    after, own = trainer.model.state_dict(), trainer.vllm_generation.model.state_dict()
    for name, weight in before.items():
        assert torch.equal(after[name], weight) and torch.equal(own[name], weight), name


@pytest.mark.parametrize(
    "lost", [pytest.param("", id="all"), pytest.param("layers.1.mlp.down_proj", id="one")]
)
def test_weights_that_do_not_reach_the_engine_are_refused(with_engine, lost):
    """None of them, or all but one layer's: it started from the same checkpoint all the same."""
    trainer = with_engine(lambda name: lost not in name)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(UserError, match=r"weights do not reach the vLLM engine: .* nats a token"):
        preflight(trainer)
    assert all(torch.equal(trainer.model.state_dict()[name], of) for name, of in before.items())


def test_a_policy_that_cannot_be_moved_proves_nothing(with_engine, monkeypatch):
    trainer = with_engine(lambda name: False)
    monkeypatch.setattr("training.il_grpo.preflight._NUDGES", (1e-6,))
    with pytest.raises(UserError, match="whether weights reach the vLLM engine cannot be told"):
        preflight(trainer)


def test_pushing_moved_adapters_leaves_the_weights_below_as_they_were(make_trainer):
    """In half precision what is added and subtracted again is not what it was."""
    trainer = make_trainer()
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(trainer.model.to(torch.bfloat16), config)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with _moved(model, 0.08):
        model.merge_adapter()
        model.unmerge_adapter()
        is_below = [name for name in before if "base_layer" in name]
        assert any(not torch.equal(model.state_dict()[name], before[name]) for name in is_below)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
