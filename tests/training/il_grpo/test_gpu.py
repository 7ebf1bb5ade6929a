"""Rollouts by vLLM, which wants an NVIDIA GPU."""

import pytest
import torch
from click.testing import CliRunner

from aigq import models
from aigq.cli import main

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="TRL cannot push new weights into vLLM's CPU engine: needs an NVIDIA GPU",
    ),
]


def test_a_policy_trains_on_what_vllm_writes(home):
    """With weights pushed after every step: a sampler left many updates behind is refused."""
    command = "train grpo --engine vllm_colocate --steps 4 --prompts 4 --rollouts 4"
    command += " --max-malformed 1 --max-truncated 1 --learning-rate 1e-3"
    result = CliRunner().invoke(main, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    curve = models.resolve(home, "direct_il_grpo").manifest["metrics"]["curve"]
    assert curve["step"] == [1, 2, 3, 4]
