"""A hand-made shop with policies to start from (trained for seconds) and a CTR model."""

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from aigq import ctr, models
from aigq.cli import main
from aigq.ctr_network import CtrConfig, CtrNetwork
from aigq.settings import Home

POLICY = (
    "train sft --steps 60 --batch-tokens 1024 --max-epochs 99 --heldout-share 0.1"
    " --max-prompt-tokens 256 --learning-rate 5e-3"
)


@pytest.fixture(scope="session")
def policy_shop(based_shop, tmp_path_factory) -> Path:
    """Models ``direct``, ``think`` and ``ctr``; copy the folder before changing it."""
    root = tmp_path_factory.mktemp("policies") / "shop"
    shutil.copytree(based_shop, root)
    for variant in ("direct", "think"):
        result = CliRunner(env={"AIGQ_HOME": str(root)}).invoke(
            main,
            [*POLICY.split(), "--variant", variant, "--max-target-tokens", "200"],
            catch_exceptions=False,
        )
        assert result.exit_code == 0, result.output
    publish_ctr(Home(root))
    return root


def publish_ctr(home: Home) -> None:
    """A click model with weights as they begin: what matters is that it answers."""
    torch.manual_seed(3)
    build = home.models / "build-ctr"
    build.mkdir(parents=True)
    ctr.save(CtrNetwork(CtrConfig(width=8, heads=2, hidden=8, buckets=128)), build)
    manifest = {"job": "train ctr", "days_seen": ["2026-03-09"]}
    models.publish(home, "ctr", "20260310T000000.000000-train-ctr-abc", build, manifest)


@pytest.fixture
def home(policy_shop, tmp_path, monkeypatch) -> Home:
    """A copy of its own."""
    root = tmp_path / "home"
    shutil.copytree(policy_shop, root)
    monkeypatch.setenv("AIGQ_HOME", str(root))
    return Home(root)
