"""Item-to-text samples: read at a pinned snapshot, checked, tokenised."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aigq.context import encode_text
from aigq.item_text import description, fit_item_prompts
from aigq.settings import UserError
from training.base.corpus import is_heldout
from training.trainer import Example
from training.workspace import Snapshot

_ITEMS = """
select *, concat_ws(', ', title, leaf_category) as rule_text
from lake.samples.samples_item_text
order by md5(item_id || ?), item_id
limit ?
"""


@dataclass(frozen=True)
class ItemSamples:
    """Training and held-out examples; ``heldout_items``: the rows behind the latter, with the
    ``prompt``'s token ids; counts for the manifest."""

    train: list[Example]
    heldout: list[Example]
    heldout_items: list[dict]
    counts: dict[str, int]


def read_items(snapshot: Snapshot, *, limit: int, seed: int) -> list[dict]:
    """At most ``limit`` items that training days' searches led to, in a seeded order.

    Raises :class:`UserError` where there are none.
    """
    rows = snapshot.rows(_ITEMS, [str(seed), limit])
    if not rows:
        raise UserError(
            "samples.samples_item_text is empty: no search of the training days was followed by a"
            " click on an item, so there is nothing to learn descriptions from"
        )
    return rows


def make_samples(
    items: Sequence[dict], tokenizer: Any, *, max_prompt_tokens: int, max_target_tokens: int
) -> ItemSamples:
    """Facets, then the description and eos, loss on the latter only.

    Items are held out by the md5 of their key, the same that `aigq train base` keeps out of all
    its text. An item none of whose queries can be written is left out and counted, as is one whose
    description is over its budget.
    """
    described = [item for item in items if description(item["queries"])]
    prompts = fit_item_prompts(described, tokenizer, max_tokens=max_prompt_tokens)
    targets = encode_text(tokenizer, [description(item["queries"]) for item in described])
    train: list[Example] = []
    heldout: list[Example] = []
    heldout_items: list[dict] = []
    too_long = 0
    for item, prompt, target in zip(described, prompts, targets, strict=True):
        example = Example([*prompt, *target, tokenizer.eos_token_id], len(prompt))
        if is_heldout(f"item:{item['item_id']}"):
            # Judged by its clicks, so it stays whatever its length.
            heldout.append(example)
            heldout_items.append(item | {"prompt": prompt})
        elif len(target) + 1 > max_target_tokens:
            too_long += 1
        else:
            train.append(example)
    if not train or too_long > 0.05 * len(described):
        raise UserError(
            f"of {len(items)} items {too_long} have descriptions of more than {max_target_tokens}"
            f" tokens and {len(items) - len(described)} none that can be written, {len(train)} are"
            " left to train on: raise max_target_tokens, or use a tokenizer made for this language"
        )
    counts = {
        "items_read": len(items),
        "items_train": len(train),
        "items_heldout": len(heldout),
        "items_unlistable": len(items) - len(described),
        "items_target_too_long": too_long,
        "items_prompt_full": sum(len(prompt) == max_prompt_tokens for prompt in prompts),
    }
    return ItemSamples(train, heldout, heldout_items, counts)
