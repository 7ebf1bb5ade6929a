"""Samples as training examples: read at a pinned snapshot, checked, tokenised."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aigq.context import Context, encode_text, fit_prompts
from aigq.lists import is_listable, render_list
from aigq.settings import UserError
from training.trainer import Example
from training.workspace import Snapshot

# Above this share of targets over budget the budget is wrong, not the samples.
MAX_LONG_SHARE = 0.05

_SAMPLES = """
select
    session_id,
    user_id,
    session_start_at >= train_end_at as is_after_training,
    age_band,
    gender,
    region,
    behaviors,
    labels,
    is_replayed,
    substr(md5(user_id), 1, 8) as user_hash
from lake.{table}, (select train_end_at from lake.meta.shop)
where split = 'train'
order by md5(session_id || ?), session_id
limit ?
"""
_COUNTS = """
select
    count(*) filter (where split = 'train') as train_rows,
    count(*) filter (where split = 'train' and len(coalesce(labels, [])) = 0) as empty_rows
from lake.{table}
"""


@dataclass(frozen=True)
class Samples:
    """Training and held-out examples, and counts for the manifest."""

    train: list[Example]
    heldout: list[Example]
    counts: dict[str, int]


def read_rows(snapshot: Snapshot, variant: str, *, limit: int, seed: int) -> list[dict]:
    """At most ``limit`` samples of the training split, in an order that depends on the seed only.

    Raises :class:`UserError` for what would train a degenerate model: no rows, rows of the test
    days, rows without a label.
    """
    table = f"samples.samples_{variant}"
    counts = snapshot.rows(_COUNTS.format(table=table))[0]
    if not counts["train_rows"]:
        raise UserError(f"{table} has no row with split 'train': nothing to train on")
    if counts["empty_rows"]:
        raise UserError(
            f"{counts['empty_rows']} training rows of {table} have no label; every sample must have"
            " at least one"
        )
    rows = snapshot.rows(_SAMPLES.format(table=table), [str(seed), limit])
    for row in rows:
        if row["is_after_training"]:
            raise UserError(
                f"{table}: session {row['session_id']} has split 'train' but starts after the end"
                " of the training days (meta.shop.train_end_at)"
            )
        if any(not label or not label.strip() for label in row["labels"]):
            raise UserError(f"{table}: session {row['session_id']} has an empty label")
    return rows


def make_samples(
    rows: Sequence[dict],
    tokenizer: Any,
    *,
    prompt_style: str,
    max_prompt_tokens: int,
    max_target_tokens: int,
    day_start_share: float,
    heldout_share: float,
    seed: int,
) -> Samples:
    """Tokenise ``rows``: prompt, then the ordered list and eos (eq. 6), loss on the latter only.

    A ``day_start_share`` of the contexts loses its behaviours of the same day: lists are also made
    at the start of a day (test user-days are), when there are none. Users are held out whole, by
    their hash, so the held-out loss is of people never trained on. A target over its budget would
    be cut in the middle of a query: its sample is dropped and counted, too many are an error. A
    label that no list can hold is left out and counted, as is a sample left without labels.
    """
    labels_read = sum(len(row["labels"]) for row in rows)
    samples_read = len(rows)
    rows = [row | {"labels": list(filter(is_listable, row["labels"]))} for row in rows]
    labels_unlistable = labels_read - sum(len(row["labels"]) for row in rows)
    rows = [row for row in rows if row["labels"]]
    rng = np.random.default_rng([seed, 2])
    contexts = []
    for row, at_day_start in zip(rows, rng.random(len(rows)) < day_start_share, strict=True):
        context = Context.from_row(row)
        contexts.append(at_day_start_of(context) if at_day_start else context)
    prompts = fit_prompts(contexts, tokenizer, style=prompt_style, max_tokens=max_prompt_tokens)
    wanted = fit_prompts(contexts, tokenizer, style=prompt_style, max_tokens=1 << 20)
    prompts_cut = sum(len(p) < len(w) for p, w in zip(prompts, wanted, strict=True))
    targets = encode_text(tokenizer, [render_list(row["labels"]) for row in rows])

    train: list[Example] = []
    heldout: list[Example] = []
    too_long = 0
    for row, prompt, target in zip(rows, prompts, targets, strict=True):
        if len(target) + 1 > max_target_tokens:
            too_long += 1
            continue
        example = Example([*prompt, *target, tokenizer.eos_token_id], len(prompt))
        is_heldout = int(row["user_hash"], 16) < heldout_share * 16**8
        (heldout if is_heldout else train).append(example)
    if too_long > MAX_LONG_SHARE * len(rows):
        raise UserError(
            f"{too_long} of {len(rows)} label lists have more than {max_target_tokens} tokens:"
            " raise max_target_tokens"
        )
    if not train:
        raise UserError(
            f"none of {samples_read} samples is left to train on ({len(heldout)} held out,"
            f" {too_long} over max_target_tokens, {samples_read - len(rows)} without a label that"
            " a list can hold)"
        )
    counts = {
        "samples_read": samples_read,
        "samples_train": len(train),
        "samples_heldout": len(heldout),
        "samples_target_too_long": too_long,
        "samples_unlistable": samples_read - len(rows),
        "labels_unlistable": labels_unlistable,
        "samples_context_cut": prompts_cut,
        "samples_replayed": sum(row["is_replayed"] for row in rows),
    }
    return Samples(train, heldout, counts)


def at_day_start_of(context: Context) -> Context:
    """The context as it was when its day began: without behaviours of the same day."""
    return replace(context, behaviors=tuple(b for b in context.behaviors if b.days_ago > 0))
