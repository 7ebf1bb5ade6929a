"""Two processes do what one does."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from aigq.settings import PROJECT_ROOT
from training.il_grpo.settings import GrpoSettings

pytestmark = [pytest.mark.torch, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("rehearsed.py")
TEXTS = [
    ("red shoes", "red shoes\nblue lamp", "lamp\nlamp\ngift card", "red\n\n"),
    ("gift card\nred shoes", "blue lamp", "red lamp\nred", "gift"),
]


@pytest.mark.parametrize(
    "more", [{"loss": "dapo"}, {"loss": "grpo"}, {"accumulation_steps": 2, "kl_weight": 0.1}]
)
def test_two_processes_train_as_one(more, tokenizer, ids_of, make_task, tmp_path):
    """The same rollouts: losses, gradients, clipped shares and the percentile of entropy, which is
    of all processes' tokens together."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tasks = [
        make_task("red shoes", "blue lamp", prompt="a|b|c\n<hints>"),
        make_task("gift card", prompt="d|e|f\n1|red shoes\n<hints>"),
    ]
    given = {
        "settings": GrpoSettings(
            prompts=2, rollouts=4, steps=2, updates=2, learning_rate=1e-2, warmup_share=0, **more
        ),
        "tasks": tasks,
        "order": [0, 1, 1, 0],
        "rollouts": {
            tuple(task.prompt): [ids_of(text) for text in of]
            for task, of in zip(tasks, TEXTS, strict=True)
        },
    }
    (tmp_path / "given.pickle").write_bytes(pickle.dumps(given))
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    for command in ([], [*launch, "--main_process_port", "0"]):
        done = subprocess.run(
            [sys.executable, *command, str(SCRIPT), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / f"log-{n}.json").read_text()) for n in (1, 2))
    compared = ["loss", "grad_norm", "reward", "entropy", "ratio/mean", "ratio/furthest",
                "clip_fraction/exploring", "clip_fraction/other", "flat_prompts", "malformed",
                "distinct_share", "slots/1/reward", "slots/2/reward",
                "rewards/ctr/p50"]  # fmt: skip
    assert len(one) == len(two) == 3  # two rollout batches and the summary
    for entry, other in zip(one[:2], two[:2], strict=True):
        for name in compared:
            assert other[name] == pytest.approx(entry[name], rel=1e-3, abs=1e-5), name
    assert one[0]["ratio/furthest"] > 0.01
    gradients = [torch.load(tmp_path / f"gradients-{n}.pt") for n in (1, 2)]
    assert len(gradients[0]) == len(gradients[1]) == 4
    # Adam divides by what is nearly nothing for some weights: from the first update on, rounding
    # is no longer small.
    for update, tolerance in enumerate([1e-5, 1e-2, 1e-2, 1e-2]):
        for name, gradient in gradients[0][update].items():
            other = gradients[1][update][name]
            size = gradient.abs().max().item()
            torch.testing.assert_close(other, gradient, rtol=tolerance, atol=tolerance * size)
