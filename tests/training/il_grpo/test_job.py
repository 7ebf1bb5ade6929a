"""``aigq train grpo`` whole: publish, serve as a list model, be killed and resume."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from aigq import models, warehouse
from aigq.cli import main
from aigq.settings import PROJECT_ROOT, Home
from training.atomic import checkpoints

pytestmark = [pytest.mark.torch, pytest.mark.e2e]

GRPO = [
    *("train", "grpo", "--steps", "4", "--prompts", "4", "--rollouts", "4"),
    *("--max-malformed", "1", "--max-truncated", "1", "--learning-rate", "1e-3"),
    *("--heldout-share", "0.1", "--heldout-prompts", "4"),
]


def aigq(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def rows(home: Home, sql: str) -> list[tuple]:
    con = warehouse.connect(home, read_only=True)
    try:
        return con.execute(sql).fetchall()
    finally:
        con.close()


def test_a_policy_is_published_with_its_origin(home):
    filtered = ["--filter", "--filter-every", "2", "--keep-low", "-1", "--keep-high", "9"]
    filtered += ["--filter-rollouts", "1"]
    result = aigq(*GRPO, *filtered, "--updates", "2", "--max-samples", "24")
    assert result.exit_code == 0, result.output
    (version,) = models.versions(home, "direct_il_grpo")
    manifest = version.manifest
    base, ctr = (models.resolve(home, name) for name in ("direct", "ctr"))
    assert manifest["variant"] == "direct"
    assert manifest["objective"] == "il_grpo"
    assert manifest["base_model"] == base.reference
    assert manifest["ctr_model"] == ctr.reference
    assert manifest["train_end_at"] == "2026-03-10T00:00:00+00:00"
    # How the policy has to be asked is what it was trained with.
    for name in ("prompt_style", "max_prompt_tokens", "max_target_tokens"):
        assert manifest["settings"][name] == base.manifest["settings"][name]
    metrics = manifest["metrics"]
    assert metrics["rollouts"] == 4 * 4 * 4
    assert metrics["curve"]["step"] == [1, 2, 3, 4]
    assert metrics["before"].keys() == metrics["after"].keys()
    assert metrics["preflight"]["ratio"] == pytest.approx(1, abs=1e-3)
    log = json.loads((version.path / "training_log.json").read_text())
    assert sum("slots/0/reward" in entry for entry in log) == 4
    judged = rows(home, "SELECT step, count(*), bool_and(is_kept) FROM"
                        " lake.eval.prompt_rewards GROUP BY step ORDER BY step")  # fmt: skip
    count = metrics["samples_read"] - metrics["before"]["prompts"]
    assert [(step, kept) for step, _, kept in judged] == [(0, True), (2, True)]
    assert all(number >= count - 6 for _, number, _ in judged)
    stored = rows(home, "SELECT DISTINCT variant, model_version, rollouts FROM"
                        " lake.eval.prompt_rewards")  # fmt: skip
    assert stored == [("direct", base.reference, 1)]
    of_sessions = rows(home, "SELECT count(*) FROM lake.eval.prompt_rewards SEMI JOIN"
                             " lake.samples.samples_direct USING (session_id)")  # fmt: skip
    assert of_sessions[0][0] == sum(number for _, number, _ in judged)
    assert not list((home.models / ".work").iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--base-model", "base"], "base writes no lists: its manifest has no setting"),
        (["--base-model", "direct", "--variant", "think"], "direct is of variant 'direct', not"),
        (["--ctr-model", "nothing"], "no model 'nothing'"),
        (
            ["--prompts", "3", "--rollouts", "3", "--accumulation-steps", "2"],
            "cannot be shared out",
        ),
        (["--name", "direct"], "is one of `aigq train sft`"),
        # Before hundreds of prompts are judged, which would blame the filter's bounds.
        (
            ["--filter", "--keep-low", "8", "--keep-high", "9", "--max-malformed", "0"],
            "do not parse",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(home, more, message):
    result = aigq(*GRPO, *more)
    assert result.exit_code == 1
    assert message in result.output
    assert not models.versions(home, "direct_il_grpo")


def test_engines_that_cannot_be_had_are_refused(home, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = aigq(*GRPO, "--engine", "vllm_colocate")
    assert result.exit_code == 1 and "--engine vllm_colocate needs an NVIDIA GPU" in result.output
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = aigq(*GRPO, "--engine", "vllm_server", "--server", server)
    assert result.exit_code == 1
    assert f"no `trl vllm-serve` answers at {server}: " in result.output


# This policy's lists would be written in one.
_IN_SMALL_PARTS = """
from aigq.cli import main
from training.il_grpo import trainer
trainer._FIRST_PART = 8
main()
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(home, policy_shop, tmp_path):
    """With the filter judging anew in between: its plan is part of what is resumed."""
    options = ["--updates", "2", "--checkpoint-steps", "1", "--steps", "6", "--filter"]
    options += ["--filter-every", "2", "--keep-low", "-1"]
    command = [sys.executable, "-c", _IN_SMALL_PARTS, *GRPO, *options]
    other = tmp_path / "other"
    shutil.copytree(policy_shop, other)

    def start(root):
        environment = os.environ | {"AIGQ_HOME": str(root), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True
        )

    whole, killed = start(other), start(home.root)
    work_root = home.models / ".work"
    while not any(checkpoints(work) for work in work_root.glob("direct_il_grpo-*")):
        assert killed.poll() is None, killed.communicate()[1]
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not models.versions(home, "direct_il_grpo")
    resumed = start(home.root)
    _, log = resumed.communicate()
    assert resumed.returncode == 0, log
    assert "resuming run" in log and "at step 0," not in log
    _, log = whole.communicate()
    assert whole.returncode == 0, log
    one = models.resolve(Home(other), "direct_il_grpo")
    two = models.resolve(home, "direct_il_grpo")
    assert (one.path / "model.safetensors").read_bytes() == (
        two.path / "model.safetensors"
    ).read_bytes()
    for part in ("curve", "before", "preflight", "after", "rollouts"):
        assert one.manifest["metrics"][part] == two.manifest["metrics"][part]


@pytest.mark.slow
def test_two_processes_share_a_job_and_its_filter(home):
    """Each judges a part of the prompts and trains on a part of the batches, which are the same
    for both: processes that planned different ones would wait for each other forever."""
    command = [*GRPO, "--updates", "2", "--max-samples", "24", "--filter", "--filter-every", "2"]
    # Some are left out, at each judgement others.
    command += ["--keep-low", "0.05", "--keep-high", "9", "--filter-rollouts", "2"]
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [sys.executable, *launch, "--main_process_port", "0", "-m", "aigq.cli", *command],
        env=os.environ | {"AIGQ_HOME": str(home.root)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (version,) = models.versions(home, "direct_il_grpo")
    metrics = version.manifest["metrics"]
    assert metrics["processes"] == 2 and metrics["rollouts"] == 4 * 4 * 4
    runs = rows(home, "SELECT status FROM lake.meta.runs WHERE job = 'train grpo'")
    assert runs == [("succeeded",)]
    judged = rows(home, "SELECT step, count(*), count(DISTINCT session_id) FROM"
                        " lake.eval.prompt_rewards GROUP BY step ORDER BY step")  # fmt: skip
    assert [step for step, *_ in judged] == [0, 2]
    assert all(number == distinct > 1 for _, number, distinct in judged)


@pytest.mark.slow
def test_the_policy_writes_lists(home):
    """What is published is a list model like any other: plain transformers, the same prompts."""
    assert aigq(*GRPO, "--algorithm", "grpo", "--lora-rank", "2").exit_code == 0
    model = models.resolve(home, "direct_grpo")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.path)
    policy = AutoModelForCausalLM.from_pretrained(model.path)
    base = AutoModelForCausalLM.from_pretrained(models.resolve(home, "direct").path)
    moved = [
        name
        for (name, p), q in zip(policy.named_parameters(), base.parameters(), strict=True)
        if not torch.equal(p, q)
    ]
    assert moved
    assert not any("embed" in name or "norm" in name for name in moved)  # adapters, merged
    ids = tokenizer("25-34|f|north\n1|<1_day_ago>|<search>|red shoes\n<hints>", return_tensors="pt")
    assert policy.generate(**ids, max_new_tokens=8).shape[0] == 1
