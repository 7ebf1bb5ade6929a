"""A tiny checkpoint that writes lists, and a home that holds it as model ``direct``."""

import functools
import json
import random
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from aigq import models
from aigq.cli import main
from aigq.context import SPECIAL_TOKENS, Behavior, Context, compressed_prompt
from aigq.settings import Home

WORDS = ["red", "blue", "green", "shoes", "lamp", "kettle", "scarf", "chair", "phone", "case"]
SETTINGS = {"prompt_style": "compressed", "max_prompt_tokens": 128, "max_target_tokens": 24}


def random_context(draw: random.Random) -> Context:
    """Up to eight behaviours over the tiny vocabulary."""
    return Context(
        (None, draw.choice(["f", "m", None]), None),
        tuple(
            Behavior(draw.randrange(9), draw.choice(["search", "order"]), " ".join(words))
            for words in (draw.sample(WORDS, 2) for _ in range(draw.randrange(8)))
        ),
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, byte_level_tokenizer) -> Path:
    """A Qwen3 of 90,000 parameters, taught for seconds to end most lists it starts."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = byte_level_tokenizer(
        [" ".join(WORDS)], 340, ["<eos>", "<pad>", *SPECIAL_TOKENS], pad_token="<pad>"
    )
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(80):
        pairs = []
        for _ in range(16):
            queries = [" ".join(draw.sample(WORDS, 2)) for _ in range(2)]
            prompt = tokenizer(compressed_prompt(random_context(draw)))["input_ids"]
            target = tokenizer("\n".join(queries))["input_ids"]
            pairs.append((prompt, [*target, tokenizer.eos_token_id]))
        width = max(len(p) + len(t) for p, t in pairs)
        ids = torch.full((len(pairs), width), tokenizer.pad_token_id)
        labels = torch.full_like(ids, -100)
        for row, (prompt, target) in enumerate(pairs):
            ids[row, : len(prompt) + len(target)] = torch.tensor(prompt + target)
            labels[row, len(prompt) : len(prompt) + len(target)] = torch.tensor(target)
        loss = model(ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    path = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def publish_tiny(tiny_checkpoint):
    """``publish_tiny(home, version="v1", **settings)``: the tiny model as ``direct``."""
    return functools.partial(_publish, tiny_checkpoint)


@pytest.fixture
def shop(served_shop, publish_tiny, tmp_path, monkeypatch) -> Home:
    """A copy of the served shop, with the model, that the test may change."""
    home = Home(tmp_path / "shop")
    shutil.copytree(served_shop.root, home.root)
    publish_tiny(home)
    monkeypatch.setenv("AIGQ_HOME", str(home.root))
    return home


@pytest.fixture
def aigq(monkeypatch):
    """``aigq("hints", "u1")``: the command line in this process; returns click's result."""

    def run(*arguments: str, code: int = 0):
        result = CliRunner().invoke(main, arguments)
        if result.exit_code != code:
            raise AssertionError(f"exit code {result.exit_code}: {result.output}") from (
                result.exception
            )
        return result

    return run


@pytest.fixture(scope="session")
def contexts() -> list[Context]:
    """Forty contexts of different length."""
    draw = random.Random(1)
    return [random_context(draw) for _ in range(40)]


def _publish(checkpoint: Path, home: Home, version: str = "v1", **settings) -> models.Model:
    target = home.models / "direct" / version
    target.mkdir(parents=True)
    for file in checkpoint.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    manifest = {"name": "direct", "version": version, "settings": SETTINGS | settings}
    (target / "manifest.json").write_text(json.dumps(manifest))
    return models.Model("direct", version, target)
