"""Policies to start from (trained for seconds) and CTR models, real and hand-made."""

import importlib.util
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import (
    AutoModelForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from aigq import ctr, models
from aigq.cli import main
from aigq.context import SPECIAL_TOKENS, Behavior, Context
from aigq.ctr_network import CtrConfig, CtrNetwork
from aigq.settings import Home
from aigq.spans import TokenBytes
from training.il_grpo.running import arguments
from training.il_grpo.scoring import Scorer
from training.il_grpo.settings import GrpoSettings
from training.il_grpo.tasks import Task, plan

_spec = importlib.util.spec_from_file_location(
    "rehearsed", Path(__file__).with_name("rehearsed.py")
)
_rehearsed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_rehearsed)
Rehearsed = _rehearsed.Rehearsed


class KnownClicks:
    """A CTR model of one's own making: a probability for each query, .1 for all others."""

    def __init__(self, probabilities: dict[str, float]):
        self.probabilities = probabilities

    def forget(self):
        """Nothing is kept."""

    def score(self, contexts, queries):
        return [
            np.array([self.probabilities.get(q, 0.1) for q in of])
            for _, of in zip(contexts, queries, strict=True)
        ]


@pytest.fixture(scope="session")
def tokenizer(byte_level_tokenizer):
    """Small, with our special tokens."""
    return byte_level_tokenizer(
        ["red shoes", "blue lamp", "1|Why.\n\n1|1\tred shoes\tgift card"],
        400,
        ["<eos>", *SPECIAL_TOKENS],
    )


@pytest.fixture
def ids_of(tokenizer):
    """``ids_of(text, end=True)``: a completion's token ids."""

    def ids(text: str, *, end: bool = True) -> list[int]:
        return tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] * end

    return ids


@pytest.fixture
def make_scorer(tokenizer):
    """``make_scorer({query: probability}, weight_ctr=1.0, ...)``; ``clicks``: another CTR model."""

    def make(probabilities: dict[str, float] | None = None, clicks=None, **settings) -> Scorer:
        clicks = clicks or KnownClicks(probabilities or {})
        return Scorer(clicks, TokenBytes(tokenizer), GrpoSettings(**settings))

    return make


@pytest.fixture
def make_task(tokenizer):
    """``make_task("red shoes", "lamp", triggers=((1,),))``: a prompt of two behaviours with this
    reference."""

    def make(*queries: str, triggers=None, prompt: str = "a|b|c\n<hints>") -> Task:
        behaviors = (Behavior(1, "search", "red shoes"), Behavior(0, "search", "lamp"))
        context = Context(behaviors=behaviors)
        return Task("s", tokenizer(prompt)["input_ids"], 2, context, queries, triggers)

    return make


POLICY = (
    "train sft --steps 60 --batch-tokens 1024 --max-epochs 99 --heldout-share 0.1"
    " --learning-rate 5e-3 --variant direct --max-prompt-tokens 256 --max-target-tokens 64"
)


@pytest.fixture(scope="session")
def policy_shop(based_shop, tmp_path_factory) -> Path:
    """Models ``direct`` and ``ctr``; copy the folder before changing it."""
    root = tmp_path_factory.mktemp("policies") / "shop"
    shutil.copytree(based_shop, root)
    result = CliRunner(env={"AIGQ_HOME": str(root)}).invoke(
        main, POLICY.split(), catch_exceptions=False
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
    """A copy of the shop with models."""
    root = tmp_path / "home"
    shutil.copytree(policy_shop, root)
    monkeypatch.setenv("AIGQ_HOME", str(root))
    return Home(root)


TEXTS = [
    ("red shoes", "red shoes\nblue lamp", "lamp\nlamp\ngift card", "red\n\n"),
    ("gift card\nred shoes", "blue lamp", "red lamp\nred", "gift"),
]
SETTINGS = {"prompts": 2, "rollouts": 4, "steps": 2, "learning_rate": 1e-3, "warmup_share": 0}


@pytest.fixture
def sampler_of():
    """``sampler_of(model, top_k)``: prompts and completions to what a sampler with the weights of
    ``model`` says of each token, of its top k alone."""

    def make(model, top_k: int):
        @torch.no_grad()
        def says(prompts, completions):
            found = []
            for prompt, ids in zip(prompts, completions, strict=True):
                logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
                kept = logits.topk(top_k).values.logsumexp(-1)
                found.append((logits[torch.arange(len(ids)), ids] - kept).tolist())
            return found

        return says

    return make


@pytest.fixture
def make_trainer(tokenizer, ids_of, make_task, make_scorer, tmp_path):
    """``make_trainer(updates=2, ...)``: settings over SETTINGS. ``experts``: how many a layer has,
    each token taking one; 0 for a dense model."""
    works = count()

    def make(kind=Rehearsed, texts=TEXTS, triggers=None, bf16=False, experts=0, **settings):
        how = GrpoSettings(**{**SETTINGS, **settings})
        path = tmp_path / "model"
        torch.manual_seed(0)
        shape = {
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if experts:
            shape |= {"num_experts": experts, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
            new = Qwen3MoeForCausalLM(Qwen3MoeConfig(**shape, router_aux_loss_coef=0.5))
        else:
            new = Qwen3ForCausalLM(Qwen3Config(**shape))
        new.save_pretrained(path)
        model = AutoModelForCausalLM.from_pretrained(path)
        tasks = [
            make_task("red shoes", "blue lamp", triggers=triggers, prompt="a|b|c\n<hints>"),
            make_task("gift card", triggers=triggers, prompt="d|e|f\n1|red shoes\n<hints>"),
        ]
        trainer = kind(
            model=model,
            tasks=tasks,
            order=plan([0, 1], steps=how.steps, prompts=2, seed=1),
            scorer=make_scorer({"red shoes": 0.2}, **{**SETTINGS, **settings}),
            how=how,
            args=arguments(how, tmp_path / f"work{next(works)}", max_new_tokens=12, bf16=bf16),
            processing_class=tokenizer,
        )
        trainer.rollouts = {
            tuple(task.prompt): [ids_of(text) for text in of]
            for task, of in zip(tasks, texts, strict=True)
        }
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = how.accumulation_steps
        return trainer

    return make
