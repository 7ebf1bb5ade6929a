"""One model, three readings: the trainer's, the exported checkpoint's, vLLM's.

Tolerances in fp32: exported against trained 1e-4 in logits (merging rounds once), vLLM against the
reloaded checkpoint 1e-3 in log-probabilities (other kernels, other order of sums). Kept in bf16, as
on processors that are fast in it, weights are rounded to 8 bits: log-probabilities stay within 0.05
and the loss within 0.01 nats.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from aigq.settings import PROJECT_ROOT
from training.batches import plan_batches
from training.checkpoint import lora_config
from training.export import save_merged
from training.il_sft.settings import SftSettings
from training.parts import Example
from training.tokens import add_special_tokens
from training.trainer import train

pytestmark = pytest.mark.torch

PROMPTS = [
    "a|b|c\n1|<3_day_ago>|<search>|red shoes\n2|<0_day_ago>|<click>|Blue lamp, 2 l\n<hints>",
    "||\n<interests>1|Why.\n\n1|1\tred shoes",
    "a||\n1|<over_60_day_ago>|<order>|茶壶\n<hints>red shoes\nblue",
]


def make_base(tokenizer, *, tied: bool):
    """A pretrained model's shape: spare rows."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer) + 30,  # fewer spare rows than there are tokens to add
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=96,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        eos_token_id=0,
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


@pytest.fixture
def tokenizer(byte_level_tokenizer):
    """Without any special token of ours."""
    return byte_level_tokenizer(["red shoes blue lamp day ago search click"], 300, ["<eos>"])


def trained(tokenizer, tmp_path, *, tied: bool, lora: bool):
    from aigq.context import SPECIAL_TOKENS

    model = make_base(tokenizer, tied=tied)
    added = add_special_tokens(model, tokenizer, SPECIAL_TOKENS)
    settings = SftSettings(
        steps=12,
        batch_tokens=256,
        learning_rate=5e-3,
        lora_rank=4 if lora else None,
        checkpoint_steps=100,
    )
    examples = [Example([*ids, 0], len(ids) // 2) for ids in tokenizer(PROMPTS)["input_ids"]]
    plan = plan_batches([len(e.input_ids) for e in examples], batch_tokens=256, steps=12,
                        max_epochs=99, seed=1)  # fmt: skip
    model, _ = train(model, tokenizer, examples, plan, settings, tmp_path / "work", bf16=False,
                     title="test", peft_config=lora_config(settings, model, added))  # fmt: skip
    return model.eval()


@torch.no_grad()
def logits_of(model, tokenizer) -> list[torch.Tensor]:
    ids = tokenizer(PROMPTS, add_special_tokens=False)["input_ids"]
    return [model(torch.tensor([prompt])).logits[0] for prompt in ids]


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_the_exported_checkpoint_is_the_trained_model(tokenizer, tmp_path, tied, lora):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = trained(tokenizer, tmp_path, tied=tied, lora=lora)
    expected = logits_of(model, tokenizer)
    save_merged(model, tokenizer, tmp_path / "export", torch.float32)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    again = AutoTokenizer.from_pretrained(tmp_path / "export")
    for ours, theirs in zip(expected, logits_of(reloaded, again), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_rounding_a_checkpoint_to_bf16_changes_little(tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    model = trained(tokenizer, tmp_path, tied=True, lora=False)
    expected = logits_of(model, tokenizer)
    save_merged(model, tokenizer, tmp_path / "export", torch.bfloat16)
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "export")
    assert stored.dtype == torch.bfloat16
    reloaded = stored.float().eval()
    losses = []
    for ids, ours, theirs in zip(
        tokenizer(PROMPTS, add_special_tokens=False)["input_ids"],
        expected,
        logits_of(reloaded, tokenizer),
        strict=True,
    ):
        ours, theirs = ours.log_softmax(-1), theirs.log_softmax(-1)
        assert not torch.equal(ours, theirs), "rounded at all"
        torch.testing.assert_close(theirs, ours, rtol=0, atol=0.05)
        target = torch.tensor(ids[1:])
        losses += [torch.nn.functional.nll_loss(one[:-1], target) for one in (ours, theirs)]
    assert sum(losses[1::2]) / 3 == pytest.approx(sum(losses[::2]) / 3, abs=0.01)


VLLM = """
import json, sys, torch
from vllm import LLM, SamplingParams

if __name__ == "__main__":
    checkpoint, prompts = sys.argv[1], json.loads(sys.argv[2])
    llm = LLM(model=checkpoint, dtype=torch.float32, max_model_len=256, enforce_eager=True,
              generation_config="vllm", disable_log_stats=True)
    outputs = llm.generate(
        [{"prompt_token_ids": p} for p in prompts],
        SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False),
        use_tqdm=False,
    )
    found = [
        [None if at is None else at[token].logprob
         for token, at in zip(prompt, output.prompt_logprobs)]
        for prompt, output in zip(prompts, outputs)
    ]
    json.dump(found, open(sys.argv[3], "w"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_vllm_reads_the_exported_checkpoint_alike(tokenizer, tmp_path, lora):
    from transformers import AutoModelForCausalLM

    model = trained(tokenizer, tmp_path, tied=not lora, lora=lora)
    save_merged(model, tokenizer, tmp_path / "export", torch.float32)
    prompts = tokenizer(PROMPTS, add_special_tokens=False)["input_ids"]
    script, found = tmp_path / "ask.py", tmp_path / "found.json"
    script.write_text(VLLM)
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                   "VLLM_NO_USAGE_STATS": "1"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, script, tmp_path / "export", json.dumps(prompts), found],
        env=os.environ | environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    compared = 0
    for prompt, theirs in zip(prompts, json.loads(found.read_text()), strict=True):
        with torch.no_grad():
            ours = reloaded(torch.tensor([prompt])).logits[0].log_softmax(-1)
        for place in range(1, len(prompt)):
            expected = float(ours[place - 1, prompt[place]])
            assert theirs[place] == pytest.approx(expected, abs=1e-3)
            compared += 1
    assert compared > 50
