"""How well descriptions of items never trained on match the queries that led to them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aigq import embeddings
from aigq.text import word_tokens

_RESAMPLES = 1000


def token_overlap(text: str, query: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the distinct words of ``text`` against those of ``query``."""
    said, wanted = set(word_tokens(text)), set(word_tokens(query))
    common = len(said & wanted)
    if not common:
        return 0.0, 0.0, 0.0
    return common / len(said), common / len(wanted), 2 * common / (len(said) + len(wanted))


def match(texts: Sequence[str], items: Sequence[dict]) -> dict[str, np.ndarray]:
    """Metric -> one value per item of how its text matches the queries that led to it.

    ``items``: with ``queries`` and ``supports``. An item's value is the mean over its queries,
    each weighted with its support: ``precision``, ``recall``, ``f1`` of words, ``cosine`` of
    sentence embeddings. ``words``: length of the text.
    """
    distinct = list(dict.fromkeys([*texts, *(q for item in items for q in item["queries"])]))
    vectors = dict(zip(distinct, embeddings.embed(distinct), strict=True))
    rows = []
    for text, item in zip(texts, items, strict=True):
        weights = np.array(item["supports"], dtype=float)
        overlaps = [token_overlap(text, query) for query in item["queries"]]
        cosines = [float(vectors[text] @ vectors[query]) for query in item["queries"]]
        per_query = np.column_stack([overlaps, cosines])
        rows.append([*(weights @ per_query / weights.sum()), len(set(word_tokens(text)))])
    names = ("precision", "recall", "f1", "cosine", "words")
    return dict(zip(names, np.array(rows).reshape(-1, len(names)).T, strict=True))


def compare(generated: Sequence[str], items: Sequence[dict], *, seed: int) -> dict[str, Any]:
    """Means of :func:`match` for the generated texts (``heldout_f1`` ...) and for the rule's (title
    and leaf category, ``heldout_rule_f1`` ...), and 95% bootstrap intervals over items of the
    difference of the two (``heldout_gain_f1``: mean, low, high)."""
    ours = match(generated, items)
    rule = match([item["rule_text"] for item in items], items)
    draws = np.random.default_rng([seed, 3]).integers(len(items), size=(_RESAMPLES, len(items)))
    metrics: dict[str, Any] = {}
    for name in ours:
        metrics[f"heldout_{name}"] = round(float(ours[name].mean()), 4)
        metrics[f"heldout_rule_{name}"] = round(float(rule[name].mean()), 4)
        gain = ours[name] - rule[name]
        low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
        metrics[f"heldout_gain_{name}"] = [round(float(v), 4) for v in (gain.mean(), low, high)]
    return metrics


def greedy_texts(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int, bf16: bool
) -> list[tuple[str, bool]]:
    """The model's greedy completion of each prompt, and whether it ended it itself."""
    import torch
    from transformers import GenerationConfig

    how = GenerationConfig(
        max_new_tokens=max_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    device = next(model.parameters()).device
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    model.eval()
    found: dict[int, tuple[str, bool]] = {}
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), 64):
        batch = order[start : start + 64]
        width = len(prompts[batch[-1]])
        ids = torch.full((len(batch), width), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, width - len(prompts[index]) :] = torch.tensor(prompts[index])
            mask[row, width - len(prompts[index]) :] = 1
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        ):
            output = model.generate(
                input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=how
            )
        for index, written in zip(batch, output[:, width:].tolist(), strict=True):
            finished = tokenizer.eos_token_id in written
            text = written[: written.index(tokenizer.eos_token_id)] if finished else written
            # As in generation: a text that holds a special token is broken.
            broken = "" if special.isdisjoint(text) else "\ufffd"
            found[index] = tokenizer.decode(text, skip_special_tokens=True) + broken, finished
    return [found[index] for index in range(len(prompts))]
