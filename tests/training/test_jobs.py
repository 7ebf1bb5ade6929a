"""``aigq train base`` and ``aigq train sft`` whole: publish, reload, be killed and resume."""

import json
import math
import os
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
    assert not list((home.models / ".work").iterdir())


@pytest.mark.parametrize("extra", [[], ["--lora-rank", "4"]], ids=["full", "lora"])
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
        (["--variant", "think"], "variant"),
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
