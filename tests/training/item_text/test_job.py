"""``aigq train item_text`` whole: learns, measures, publishes, survives a kill."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from aigq import models, warehouse
from aigq.cli import main
from aigq.settings import Home
from training.base.corpus import is_heldout
from training.workspace import checkpoints

pytestmark = [pytest.mark.torch, pytest.mark.e2e]

TRAIN = ["train", "item_text", "--batch-tokens", "1024", "--learning-rate", "5e-3"]
COLORS = ["red", "blue", "green", "black", "white"]
THINGS = ["shoes", "lamp", "kettle", "scarf", "chair", "phone", "backpack", "camera"]


def add_items(home: Home) -> None:
    """400 items whose title is a code, and who are found by "color thing" or "thing"."""

    def fill(con) -> None:
        con.execute(
            "CREATE TABLE lake.samples.samples_item_text (item_id VARCHAR, title VARCHAR,"
            " leaf_category VARCHAR, category_path VARCHAR, brand VARCHAR, attributes VARCHAR[],"
            " tags VARCHAR[], price_band VARCHAR, facets_hash VARCHAR, queries VARCHAR[],"
            " supports BIGINT[])"
        )
        for i in range(400):
            color, thing = COLORS[i % 5], THINGS[i // 5 % 8]
            con.execute(
                "INSERT INTO lake.samples.samples_item_text VALUES"
                " (?, ?, ?, ?, NULL, ?, [], '20 to 50', ?, ?, [3, 1])",
                [
                    f"n{i}",
                    f"X{i} {thing}",
                    thing,
                    f"all > {thing}",
                    [f"color: {color}"],
                    f"hash {i}",
                    [f"{color} {thing}", thing],
                ],
            )

    warehouse.write(home, fill)


@pytest.fixture
def home(based_shop, tmp_path, monkeypatch) -> Home:
    root = tmp_path / "home"
    shutil.copytree(based_shop, root)
    monkeypatch.setenv("AIGQ_HOME", str(root))
    add_items(Home(root))
    return Home(root)


def aigq(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_it_learns_the_words_of_queries_and_is_measured_on_items_kept_out(home):
    result = aigq(*TRAIN, "--steps", "80", "--max-epochs", "99")
    assert result.exit_code == 0, result.output
    (version,) = models.versions(home, "item_text")
    metrics = version.manifest["metrics"]
    heldout = sum(is_heldout(f"item:n{i}") for i in range(400))
    assert heldout > 2
    assert (metrics["items_train"], metrics["items_heldout"]) == (400 - heldout, heldout)
    assert metrics["heldout_loss"] < 0.5 * math.log(500)
    assert metrics["heldout_f1"] > metrics["heldout_rule_f1"]
    gain, low, high = metrics["heldout_gain_f1"]
    assert 0 < low <= gain <= high
    base = models.resolve(home, "base")
    assert version.manifest["base_model"] == f"base@{base.version}"


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_model(home, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    again = Home(tmp_path / "again")
    shutil.copytree(home.root, again.root)
    steps = ["--steps", "30", "--checkpoint-steps", "5", "--max-epochs", "99"]
    assert aigq(*TRAIN, *steps).exit_code == 0
    job = subprocess.Popen(
        [sys.executable, "-m", "aigq.cli", *TRAIN, *steps],
        env=os.environ | {"AIGQ_HOME": str(again.root)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not any(checkpoints(w) for w in (again.models / ".work").glob("item_text-*")):
        assert time.monotonic() < deadline and job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert not models.versions(again, "item_text")
    result = aigq(*TRAIN, *steps, "--home", str(again.root))
    assert result.exit_code == 0, result.output
    assert "resuming run" in result.output
    weights = [
        AutoModelForCausalLM.from_pretrained(models.resolve(h, "item_text").path).state_dict()
        for h in (home, again)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_without_clicks_there_is_nothing_to_learn(home):
    warehouse.write(home, lambda con: con.execute("DELETE FROM lake.samples.samples_item_text"))
    result = aigq(*TRAIN)
    assert result.exit_code == 1
    assert "samples.samples_item_text is empty" in result.output


def test_descriptions_over_the_budget_are_refused(home):
    long = "[array_to_string(list_transform(range(12), lambda i: 'word' || i), ' ')]"

    def lengthen(con) -> None:
        con.execute(f"UPDATE lake.samples.samples_item_text SET queries = {long}, supports = [1]")

    warehouse.write(home, lengthen)
    result = aigq(*TRAIN, "--max-target-tokens", "8")
    assert result.exit_code == 1
    assert "have descriptions of more than 8 tokens" in result.output
