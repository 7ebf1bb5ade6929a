"""The order in which the base model meets its three tasks.

Text and item → queries are spread evenly over the run. Copying starts with contexts of one or two
lines and reaches its full length half way: short contexts teach it several times sooner (see
training/LOG.md).
"""

from typing import Any

from aigq.settings import UserError
from training.base.corpus import (
    ShopText,
    copy_examples,
    pair_examples,
    shuffled_texts,
    text_examples,
)
from training.batches import plan_batches
from training.parts import Example

STAGES = 10
_HELDOUT_COPIES = 200


def training_plan(
    shop: ShopText, tokenizer: Any, settings: Any
) -> tuple[list[Example], list[list[int]]]:
    """All examples, and each step's batch of them: one task a batch, in seeded order.

    A task without examples (a shop without item clicks) gives its steps to copying. Raises
    :class:`UserError` where there is nothing to copy.
    """
    texts = shuffled_texts(shop, seed=settings.seed, heldout=False)
    tasks = {
        "text": (text_examples(texts, tokenizer), settings.text_share),
        "pairs": (pair_examples(shop, tokenizer, heldout=False), settings.pair_share),
    }
    steps = {t: round(share * settings.steps) if e else 0 for t, (e, share) in tasks.items()}
    copy_steps = settings.steps - sum(steps.values())
    if copy_steps < 1:
        raise UserError("text_share and pair_share must leave some steps to copying")

    examples: list[Example] = []
    timed: list[tuple[float, list[int]]] = []  # (place in the run from 0 to 1, batch)

    def add(new: list[Example], count: int, start: float, end: float) -> None:
        batches = plan_batches(
            [len(e.input_ids) for e in new],
            batch_tokens=settings.batch_tokens,
            steps=count,
            max_epochs=float("inf"),
            seed=settings.seed,
        )
        for number, batch in enumerate(batches):
            place = start + (end - start) * (number + 0.5) / count
            timed.append((place, [index + len(examples) for index in batch]))
        examples.extend(new)

    for task, (new, _) in tasks.items():
        if steps[task]:
            add(new, steps[task], 0.0, 1.0)
    done = 0
    for stage in range(STAGES):
        count = round(copy_steps * (stage + 1) / STAGES) - done
        if count:
            new = _copies(shop, tokenizer, settings, stage, count)
            add(new, count, stage / STAGES, (stage + 1) / STAGES)
        done += count
    timed.sort(key=lambda entry: entry[0])
    return examples, [batch for _, batch in timed]


def stage_lines(stage: int, max_lines: int) -> int:
    """Longest context of a stage: grows evenly to ``max_lines`` over the first half of them."""
    return max(2, round(max_lines * min(1.0, 2 * (stage + 1) / STAGES)))


def _copies(shop: ShopText, tokenizer: Any, settings: Any, stage: int, steps: int) -> list[Example]:
    lines = stage_lines(stage, min(settings.copy_max_lines, shop.max_behaviors))
    # A line takes about eight tokens, with its share of the list: about what the steps can hold.
    count = max(1, steps * settings.batch_tokens // (10 + 4 * lines))
    new = copy_examples(
        shop,
        tokenizer,
        count=count,
        max_lines=lines,
        day_start_share=settings.day_start_share,
        seed=[settings.seed, stage],
        heldout=False,
        think_share=settings.think_share,
    )
    if not new:
        raise UserError("no search outside the held-out ones: too little text to train on")
    return new


def heldout_examples(shop: ShopText, tokenizer: Any, settings: Any) -> dict[str, list[Example]]:
    """Examples of the three tasks made of held-out items and queries only."""
    texts = shuffled_texts(shop, seed=settings.seed, heldout=True)
    return {
        "text": text_examples(texts, tokenizer),
        "pairs": pair_examples(shop, tokenizer, heldout=True),
        "copy": copy_examples(
            shop,
            tokenizer,
            count=_HELDOUT_COPIES,
            max_lines=settings.copy_max_lines,
            day_start_share=settings.day_start_share,
            seed=[settings.seed, STAGES],
            heldout=True,
            think_share=settings.think_share,
        ),
    }
