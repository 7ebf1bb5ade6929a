"""``aigq train base``: a small Qwen3-architecture model from scratch, without any download.

    aigq train base --recipe tiny               # 2 CPU cores, a few minutes
    aigq train base --recipe tiny --steps 200   # a setting over the recipe's

It gives the loop a language model where none can be fetched: tokenizer and weights come from the
shop's own training days. Three tasks share the steps: plain text (items, queries), item → queries,
and the copy curriculum (random behaviour lines → their queries, latest first), the last two in the
very prompts and target grammars that SFT uses. Not part of the paper, which starts from a
pretrained model.
"""

from typing import Any

from pydantic import Field

from aigq import jobs
from training.command import train_command
from training.settings import MODEL_NAME, TrainSettings

POSITIONS = 2048
# Lines of the copy curriculum are drawn from this many behaviours.
_MAX_LINES_READ = 100_000


class BaseSettings(TrainSettings):
    """Settings of ``aigq train base``."""

    name: str = Field("base", pattern=MODEL_NAME, description="Name of the published model.")
    vocab_size: int = Field(4096, ge=400, description="Pieces of the tokenizer, special ones too.")
    hidden_size: int = Field(128, ge=8, description="Width of the model.")
    layers: int = Field(4, ge=1, description="Transformer layers.")
    heads: int = Field(4, ge=1, description="Attention heads, each with keys of its own.")
    head_dim: int = Field(64, ge=8, description="Size of a head.")
    intermediate_size: int = Field(384, ge=8, description="Width of the feed-forward layers.")
    text_share: float = Field(0.1, ge=0, le=1, description="Share of steps on plain text.")
    pair_share: float = Field(0.15, ge=0, le=1, description="Share of steps on item to queries.")
    copy_max_lines: int = Field(40, ge=1, description="Longest context of the copy curriculum.")
    think_share: float = Field(
        0.0, ge=0, le=1, description="Share of copy contexts whose target is interest points."
    )
    day_start_share: float = Field(
        0.5, ge=0, le=1, description="Share of copy contexts without <0_day_ago>."
    )


def train_base(run: jobs.Run, settings: BaseSettings, *, recipe: str) -> None:
    """Read the pinned snapshot, train, measure the held-out loss, publish.

    Raises :class:`UserError` where the shop has no text to learn from.
    """
    import torch

    from training.base.corpus import read_shop_text, tokenizer_texts, unlistable_labels
    from training.base.curriculum import heldout_examples, training_plan
    from training.base.tokenizer import train_tokenizer
    from training.export import finish_published, publish, save_merged
    from training.trainer import heldout_loss, train
    from training.workspace import Snapshot, already_published, open_workspace, train_end

    identity = {"settings": settings.model_dump()}
    with open_workspace(run, settings.name, identity) as work:
        if published := already_published(run.home, settings.name, work):
            return finish_published(run, work, published)
        with Snapshot(run.home, work.snapshot) as snapshot:
            shop = read_shop_text(snapshot, line_count=_MAX_LINES_READ, seed=settings.seed)
            seen_until = train_end(snapshot)
        run.read("behavior.behaviors, distinct searches", len(shop.queries))
        run.read("items.item_texts", len(shop.items))
        run.read("samples.item_queries, items", len(shop.item_queries))
        tokenizer = train_tokenizer(
            tokenizer_texts(shop),
            vocab_size=settings.vocab_size,
            max_behaviors=shop.max_behaviors,
        )
        examples, plan = training_plan(shop, tokenizer, settings)
        model, metrics = train(
            new_model(settings, tokenizer),
            tokenizer,
            examples,
            plan,
            settings,
            work.path,
            bf16=work.bf16,
            title=f"train base {settings.name}",
        )
        for task, held in heldout_examples(shop, tokenizer, settings).items():
            metrics[f"heldout_{task}_loss"] = heldout_loss(
                model,
                tokenizer,
                held,
                batch_tokens=settings.share_of_step(1),
                bf16=work.bf16,
            )
        metrics["labels_unlistable"] = unlistable_labels(shop)
        metrics["parameters"] = model.num_parameters()
        build = work.build_dir()
        # As precise as it was computed with: what is trained and generated from it then is, too.
        save_merged(model, tokenizer, build, torch.bfloat16 if work.bf16 else model.dtype)
        publish(
            run,
            settings.name,
            work,
            build,
            {
                "recipe": recipe,
                "settings": settings.model_dump(),
                "seed": settings.seed,
                "train_end_at": seen_until,
                "metrics": metrics,
            },
        )


command = train_command(
    "base",
    BaseSettings,
    train_base,
    about="Train a small language model on the shop's own text and publish it.",
)


def new_model(settings: BaseSettings, tokenizer: Any) -> Any:
    """The model of ``settings`` with random weights."""
    import torch
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(settings.seed)
    return Qwen3ForCausalLM(
        architecture(
            settings,
            vocab_size=len(tokenizer),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def architecture(settings: BaseSettings, **tokens: int) -> Any:
    """A Qwen3 configuration: tied embeddings, as many key-value heads as heads. ``tokens``: size of
    the vocabulary and ids in it."""
    from transformers import Qwen3Config

    return Qwen3Config(
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        head_dim=settings.head_dim,
        intermediate_size=settings.intermediate_size,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        **tokens,
    )


def recipe_of(name: str) -> str | None:
    """The recipe by which the base model ``name`` is made, None for a name of one's own."""
    return {
        "base": "tiny",
        "base_think": "tiny",
        "base_small": "small",
        "base_think_small": "small",
    }.get(name)
