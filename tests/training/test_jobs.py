"""``aigq train base`` and ``aigq train sft`` whole: publish, reload, be killed and resume."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from click.testing import CliRunner

from aigq import models, warehouse
from aigq.cli import main
from aigq.context import SPECIAL_TOKENS
from aigq.settings import PROJECT_ROOT, Home
from training.workspace import checkpoints

pytestmark = [pytest.mark.torch, pytest.mark.e2e]

SFT = ["train", "sft", "--batch-tokens", "512", "--heldout-share", "0.1", "--max-epochs", "99"]


@pytest.fixture
def home(based_shop, tmp_path, monkeypatch) -> Home:
    root = tmp_path / "home"
    shutil.copytree(based_shop, root)
    monkeypatch.setenv("AIGQ_HOME", str(root))
    return Home(root)


def aigq(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def load(model: models.Model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoModelForCausalLM.from_pretrained(model.path).eval(),
        AutoTokenizer.from_pretrained(model.path),
    )


def test_base_is_published_with_its_origin(home):
    (version,) = models.versions(home, "base")
    manifest = version.manifest
    assert manifest["recipe"] == "tiny"
    assert manifest["settings"]["vocab_size"] == 500
    assert manifest["seed"] == 1
    assert manifest["metrics"]["steps"] == 20
    assert math.isfinite(manifest["metrics"]["heldout_copy_loss"])
    assert manifest["version"] == version.version == manifest["run_id"]
    model, tokenizer = load(version)
    assert set(SPECIAL_TOKENS) <= set(tokenizer.get_vocab())
    assert len(tokenizer) <= 500
    assert model.config.model_type == "qwen3"
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.num_parameters() == manifest["metrics"]["parameters"]
    con = warehouse.connect(home, read_only=True)
    status, metrics = con.execute(
        "SELECT status, metrics FROM lake.meta.runs WHERE run_id = ?", [manifest["run_id"]]
    ).fetchone()
    con.close()
    assert status == "succeeded"
    assert json.loads(metrics)["model"] == f"base@{version.version}"
    assert json.loads(metrics)["snapshot"] == manifest["snapshot"]
    predicted = manifest["metrics"]["predicted_memory_bytes"]
    assert 0 < predicted < json.loads(metrics)["peak_memory_bytes"]
    assert not list((home.models / ".work").iterdir())


LORA = ["--lora-rank", "4"]


@pytest.mark.parametrize(
    "extra", [[], LORA, [*LORA, "--weights-dtype", "bfloat16"]], ids=["full", "lora", "lora-bf16"]
)
def test_sft_learns_and_is_published(home, extra):
    result = aigq(*SFT, "--steps", "60", "--learning-rate", "5e-3", *extra)
    assert result.exit_code == 0, result.output
    (version,) = models.versions(home, "direct")
    manifest = version.manifest
    base = models.resolve(home, "base")
    assert manifest["base_model"] == f"base@{base.version}"
    assert manifest["settings"]["prompt_style"] == "compressed"
    metrics = manifest["metrics"]
    assert metrics["samples_read"] == 100
    assert metrics["samples_heldout"] > 0
    start = math.log(500)
    assert metrics["heldout_loss"] < (0.6 if not extra else 0.95) * start
    model, tokenizer = load(version)
    assert tokenizer.get_vocab() == load(base)[1].get_vocab()
    assert not torch.equal(
        model.model.layers[0].mlp.up_proj.weight, load(base)[0].model.layers[0].mlp.up_proj.weight
    )


def test_training_as_of_an_old_snapshot_reads_exactly_its_rows(home):
    steps = ["--steps", "6", "--learning-rate", "5e-3"]
    assert aigq(*SFT, *steps).exit_code == 0
    (first,) = models.versions(home, "direct")

    def move_on(con) -> None:
        con.execute("DELETE FROM lake.samples.samples_direct WHERE user_id < 'u2'")
        con.execute("UPDATE lake.samples.samples_direct SET labels = ['something else']")

    warehouse.write(home, move_on)
    again = aigq(*SFT, *steps, "--as-of", str(first.manifest["snapshot"]))
    assert again.exit_code == 0, again.output
    assert aigq(*SFT, *steps).exit_code == 0
    _, second, third = models.versions(home, "direct")
    weights = [load(model)[0].state_dict() for model in (first, second, third)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert second.manifest["snapshot"] == first.manifest["snapshot"]
    assert second.manifest["metrics"] == first.manifest["metrics"]


def test_a_checkpoint_by_path_gets_the_special_tokens(home, tmp_path):
    # A plain checkpoint from elsewhere: no special token, no padding token, spare rows, bf16.
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as bpe
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    core = Tokenizer(bpe.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        ["red shoes"],
        trainers.BpeTrainer(
            special_tokens=["</s>"],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        tie_word_embeddings=False,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "plain")
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>").save_pretrained(
        tmp_path / "plain"
    )
    result = aigq(*SFT, "--steps", "3", "--base-model", str(tmp_path / "plain"))
    assert result.exit_code == 0, result.output
    version = models.resolve(home, "direct")
    assert version.manifest["added_tokens"] == len(SPECIAL_TOKENS)
    model, tokenizer = load(version)
    assert len(tokenizer("<3_day_ago>", add_special_tokens=False)["input_ids"]) == 1
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--base-model", "bass"], "no model 'bass'"),
        (["--base-model", "base@7"], "no version '7' of model 'base'"),
        (["--base-model", "{empty}"], "holds no checkpoint: it has no config.json"),
        (["--variant", "thinking"], "variant: Input should be 'direct' or 'think'"),
        (["--objective", "dpo"], "objective: Input should be 'il_sft' or 'sft'"),
        (["--name", "../direct"], "name: String should match pattern"),
        (["--weights-dtype", "bfloat16"], "set lora_rank as well"),
        (["--max-target-tokens", "8"], "targets have more than 8 tokens: raise max_target_tokens"),
        (["--max-prompt-tokens", "2048"], "has 2048 positions, and prompts with their targets"),
        (["--recipe", "direct"], "no recipe 'direct' in training/il_sft/recipes"),
        (["--steps", "many"], "steps: Input should be a valid integer"),
    ],
)
def test_refusals(home, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    result = aigq(*SFT, *(a.format(empty=tmp_path / "empty") for a in arguments))
    assert result.exit_code == 1
    assert message in result.output
    assert not models.versions(home, "direct")


def test_think_learns_and_is_published_beside_the_baseline(home):
    think = ["--variant", "think", "--max-target-tokens", "400", "--max-prompt-tokens", "1200"]
    think += ["--day-start-share", "0"]  # every behaviour that a reason names is in the prompt
    steps = ["--steps", "40", "--learning-rate", "5e-3", "--batch-tokens", "2048"]
    for more in ([], ["--objective", "sft", "--name", "think_sft"]):
        result = aigq(*SFT, *think, *steps, *more)
        assert result.exit_code == 0, result.output
    ours, baseline = (models.resolve(home, name).manifest for name in ("think", "think_sft"))
    assert ours["variant"] == baseline["variant"] == "think"
    assert (ours["objective"], baseline["objective"]) == ("il_sft", "sft")
    assert ours["settings"]["prompt_style"] == "compressed"
    assert baseline["settings"]["prompt_style"] == "verbose"
    metrics = ours["metrics"]
    assert metrics["samples_read"] == 98
    assert metrics["samples_without_rationales"] == 2
    assert metrics["labels_without_point"] == 0
    assert metrics["prompt_tokens"] == baseline["metrics"]["prompt_tokens"]
    assert metrics["heldout_loss"] < 0.6 * math.log(500)
    assert metrics["loss_curve"][-1] == [40, metrics["train_loss"]]


def test_think_without_rationales_is_refused(home):
    warehouse.write(home, lambda con: con.execute("DELETE FROM lake.think.rationales"))
    result = aigq(*SFT, "--variant", "think")
    assert result.exit_code == 1
    assert "run `aigq generate rationales` first" in result.output
    assert not models.versions(home, "think")


def test_two_processes_train_as_one(home, based_shop, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(based_shop, other)
    settings = [*SFT, "--steps", "12", "--logging-steps", "1", "--learning-rate", "5e-3"]
    settings += ["--checkpoint-steps", "7"]  # written by two processes, too
    assert aigq(*settings).exit_code == 0
    launch = ["-m", "accelerate.commands.launch", "--num_processes", "2"]
    # --multi_gpu starts processes, on whatever there is; port 0 is any that is free.
    launch += ["--multi_gpu", "--main_process_port", "0"]
    launched = subprocess.run(
        [sys.executable, *launch, "-m", "aigq.cli", *settings],
        env=os.environ | {"AIGQ_HOME": str(other)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    assert launched.returncode == 0, launched.stderr
    one, two = (models.resolve(Home(root), "direct") for root in (home.root, other))
    metrics = [model.manifest["metrics"] for model in (one, two)]
    assert [m["processes"] for m in metrics] == [1, 2]
    curves = [dict(m["loss_curve"]) for m in metrics]
    assert len(curves[0]) == 12
    # The same sums in another order: fp32 rounding, which training carries on.
    assert curves[1] == pytest.approx(curves[0], rel=1e-3)
    assert curves[0][12] < 0.9 * curves[0][1]
    con = warehouse.connect(Home(other), read_only=True)
    (runs,) = con.execute("SELECT count(*) FROM lake.meta.runs WHERE job = 'train sft'").fetchone()
    con.close()
    assert runs == 1


@pytest.mark.parametrize("job", ["base", "item_text", "ebr"])
def test_a_job_of_one_process_says_so(home, monkeypatch, job):
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = aigq("train", job)
    assert result.exit_code == 1
    assert f"aigq train {job} runs in one process" in result.output


@pytest.mark.parametrize("variant", ["direct", "think"])
def test_a_dry_run_on_a_base_that_is_not_trained_yet(tmp_path, variant):
    """Its recipe tells its size: 16,384 x 512 embeddings, 12 layers of 3.4 M."""
    options = ["--recipe", f"{variant}-small", "--dry-run", "--home", str(tmp_path)]
    result = aigq("train", "sft", *options)
    assert result.exit_code == 0, result.output
    assert "training/base/recipes/small.yaml, not trained yet" in result.output
    (parameters,) = re.findall(r"parameters +([\d,]+)", result.output)
    assert int(parameters.replace(",", "")) == pytest.approx(49.3e6, rel=0.02)
    assert "per GPU" in result.output


def test_a_dry_run_touches_nothing(home):
    before = sorted(path for path in home.root.rglob("*"))
    result = aigq("train", "sft", "--recipe", "qwen3-0.6b", "--dry-run", "--processes", "2")
    assert result.exit_code == 0, result.output
    assert "Qwen3Config from Qwen3-0.6B.json" in result.output
    assert "596,049,920, of which 596,049,920 trained (100.00%)" in result.output
    assert "in all, per GPU" in result.output
    result = aigq("train", "sft", "--recipe", "qwen3-30b-a3b", "--dry-run", "--processes", "8")
    # LoRA reaches attention, router and experts.
    assert "31,030,515,712, of which 498,393,088 trained (1.61%)" in result.output
    # In bf16 30.5 billion weights are 57 GiB; the recipe says that 80 GB are enough.
    gib = {name: float(re.search(rf"{name} +([\d.]+) GiB", result.output)[1])
           for name in ("weights", "in all, per GPU")}  # fmt: skip
    assert 57 < gib["weights"] < 61 and gib["in all, per GPU"] < 80e9 / 2**30
    assert aigq(*SFT, "--dry-run").exit_code == 0  # of the base model that is here
    result = aigq("train", "sft", "--base-model", "some/thing", "--dry-run")
    assert result.exit_code == 1
    assert "there are: Qwen3-0.6B, Qwen3-30B-A3B" in result.output
    assert sorted(path for path in home.root.rglob("*")) == before


def test_no_lake_tables(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    result = aigq("train", "base")
    assert result.exit_code == 1
    assert "run `dbt build` first" in result.output


def test_killed_and_resumed_equals_uninterrupted(home, based_shop, tmp_path):
    command = [sys.executable, "-m", "aigq.cli", *SFT, "--steps", "60", "--checkpoint-steps", "5"]
    other = tmp_path / "other"
    shutil.copytree(based_shop, other)

    def start(root):
        environment = os.environ | {"AIGQ_HOME": str(root), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, env=environment, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True
        )

    whole = start(other)
    killed = start(home.root)
    work_root = home.models / ".work"
    deadline = time.monotonic() + 120
    while not any(checkpoints(work) for work in work_root.glob("direct-*")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not models.versions(home, "direct")
    (work,) = work_root.glob("direct-*")

    # What the lake becomes meanwhile does not matter: the rerun reads the pinned snapshot.
    warehouse.write(
        home,
        lambda con: con.execute("DELETE FROM lake.samples.samples_direct WHERE user_id > 'u2'"),
    )
    resumed = start(home.root)
    _, log = resumed.communicate()
    assert resumed.returncode == 0, log
    assert "resuming run" in log and "at step 0," not in log
    assert "missing keys" not in log
    _, log = whole.communicate()
    assert whole.returncode == 0, log

    one = models.resolve(Home(other), "direct")
    two = models.resolve(home, "direct")
    assert (one.path / "model.safetensors").read_bytes() == (
        two.path / "model.safetensors"
    ).read_bytes()
    assert one.manifest["metrics"] == two.manifest["metrics"]
    assert one.manifest["snapshot"] == two.manifest["snapshot"]
    assert not work.exists()
