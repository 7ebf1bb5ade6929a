"""``aigq train item_text``: an item-to-text model from click logs (method §1).

    aigq train item_text                                           # 2 CPU cores, a minute or two
    aigq train item_text --recipe lora --base-model Qwen/Qwen3-0.6B

It reads an item's facets (title, category path, brand, price band, attributes, tags) and writes the
words of the queries that led shoppers to it, most credited first, each word once
(:mod:`aigq.item_text`). Only clicks of training days count; one item in fifty is held out whole.
On those it is measured, beside the rule that it replaces (title and leaf category): loss, and how
the greedy text matches the queries that led to the item. A malformed text counts as the rule's,
which is what the item then has.
"""

from collections import Counter
from typing import Any

from pydantic import Field

from aigq import jobs
from training.command import train_command
from training.settings import TrainSettings


class ItemTextSettings(TrainSettings):
    """Settings of ``aigq train item_text``."""

    base_model: str = Field(
        "base", description="Model to start from: base, base@VERSION, a path or a hub name."
    )
    max_prompt_tokens: int = Field(192, ge=32, description="The end of longer facets is cut.")
    max_target_tokens: int = Field(48, ge=8, description="Items with longer texts are dropped.")
    max_items: int = Field(200_000, ge=1, description="Items drawn from those clicked.")
    max_epochs: float = Field(5, gt=0, description="Passes over the items at most.")
    lora_rank: int | None = Field(None, ge=1, description="Train LoRA adapters of this rank.")
    lora_alpha: int = Field(32, ge=1, description="LoRA scale, used with lora_rank.")


def train_item_text(run: jobs.Run, settings: ItemTextSettings, *, recipe: str) -> None:
    """Read the pinned items, train, measure on those held out, merge, publish."""
    from training.batches import plan_batches
    from training.checkpoint import load_base, lora_config, resolve_base
    from training.export import finish_published, publish, save_merged
    from training.item_text.samples import make_samples, read_items
    from training.trainer import heldout_loss, train
    from training.workspace import Snapshot, already_published, open_workspace, train_end

    base = resolve_base(run.home, settings.base_model)
    identity = {"settings": settings.model_dump(), "base_model": base.identity}
    with open_workspace(run, "item_text", identity) as work:
        if published := already_published(run.home, "item_text", work):
            return finish_published(run, work, published)
        with Snapshot(run.home, work.snapshot) as snapshot:
            items = read_items(snapshot, limit=settings.max_items, seed=settings.seed)
            seen_until = train_end(snapshot, base.train_end_at)
        run.read(f"samples.samples_item_text at snapshot {work.snapshot}", len(items))
        model, tokenizer, dtype = load_base(
            base, longest=settings.max_prompt_tokens + settings.max_target_tokens
        )
        samples = make_samples(
            items,
            tokenizer,
            max_prompt_tokens=settings.max_prompt_tokens,
            max_target_tokens=settings.max_target_tokens,
        )
        plan = plan_batches(
            [len(e.input_ids) for e in samples.train],
            batch_tokens=settings.batch_tokens,
            steps=settings.steps,
            max_epochs=settings.max_epochs,
            seed=settings.seed,
        )
        model, metrics = train(
            model,
            tokenizer,
            samples.train,
            plan,
            settings,
            work.path,
            bf16=work.bf16,
            title="train item_text",
            peft_config=lora_config(settings, model, []),
        )
        metrics |= samples.counts
        metrics["heldout_loss"] = heldout_loss(
            model,
            tokenizer,
            samples.heldout,
            batch_tokens=settings.share_of_step(1),
            bf16=work.bf16,
        )
        if samples.heldout_items:
            metrics |= measure_texts(model, tokenizer, samples.heldout_items, settings, work.bf16)
            run.summary.append(
                f"  held-out items: words match those of their queries with F1"
                f" {metrics['heldout_f1']:.3f}, by rule {metrics['heldout_rule_f1']:.3f}"
            )
        build = work.build_dir()
        save_merged(model, tokenizer, build, dtype)
        publish(
            run,
            "item_text",
            work,
            build,
            {
                "recipe": recipe,
                "settings": settings.model_dump(),
                "seed": settings.seed,
                "base_model": base.identity,
                "train_end_at": seen_until,
                "metrics": metrics,
            },
        )


command = train_command(
    "item_text",
    ItemTextSettings,
    train_item_text,
    about="Train a model that describes items in the words shoppers type.",
)


def measure_texts(
    model: Any, tokenizer: Any, items: list[dict], settings: ItemTextSettings, bf16: bool
) -> dict[str, Any]:
    """The held-out items' texts against the queries that led to them, beside the rule's."""
    from aigq.item_text import text_fault
    from training.item_text.heldout import compare, greedy_texts

    written = greedy_texts(
        model,
        tokenizer,
        [item["prompt"] for item in items],
        max_tokens=settings.max_target_tokens,
        bf16=bf16,
    )
    faults = [text_fault(text, finished=finished) for text, finished in written]
    texts = [
        item["rule_text"] if fault else text
        for item, (text, _), fault in zip(items, written, faults, strict=True)
    ]
    malformed = Counter(fault for fault in faults if fault)
    return {"heldout_malformed": dict(malformed)} | compare(texts, items, seed=settings.seed)
