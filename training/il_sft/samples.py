"""Samples as training examples: read at a pinned snapshot, checked, tokenised."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aigq.context import Context, encode_text, fit_prompts, prompt_tokens
from aigq.days import EVERY_DAY, Days
from aigq.lists import is_listable, render_list
from aigq.settings import UserError
from aigq.think import BEHAVIORS_KEY, render_think
from training.il_sft.points import COUNTED, Shown, interest_points
from training.il_sft.settings import SftSettings
from training.parts import Example
from training.workspace import Snapshot

# Above this share of targets over budget the budget is wrong, not the samples.
MAX_LONG_SHARE = 0.05
# The same of Think samples whose triggers prompts do not show. (The ladder's verbose prompts: 0.5.)
MAX_POINTLESS_SHARE = 0.75
# Contexts whose tokens are counted in both styles.
_COUNTED_CONTEXTS = 1000

# Rationales of the behaviours that the sample has now; teachers that left no key are believed.
_INTERESTS = f"""
with sound as (
    select samples.session_id
    from lake.samples.samples_think as samples
    left join (
        select
            session_id,
            -- Not there in the lake's states of older versions of this software.
            to_json(inputs) ->> 'behaviors_key' as behaviors_key
        from lake.think.teacher_inputs as inputs
        where task = 'rationales'
    ) as asked using (session_id)
    where coalesce(asked.behaviors_key, {BEHAVIORS_KEY}) = {BEHAVIORS_KEY}
),

interests as (
    select
        session_id,
        list_sort(list({{
            'point_index': point_index,
            'triggers': triggers,
            'queries': queries,
            'rationale': rationale
        }})) as points
    from lake.think.rationales
    semi join sound using (session_id)
    group by session_id
)
"""
_SAMPLES = """
{before}
select
    session_id,
    user_id,
    age_band,
    gender,
    region,
    behaviors,
    {labels} as labels,
    {points} as points,
    is_replayed,
    substr(md5(user_id), 1, 8) as user_hash
from lake.{table}
{join}
where {chosen}
order by md5(session_id || ?), session_id
limit ?
"""
_DIRECT = {"before": "", "points": "null", "join": ""}
_THINK = {
    "before": _INTERESTS,
    "points": "points",
    "join": "inner join interests using (session_id)",
}
_COUNTS = """
select
    count(*) filter (where {chosen}) as train_rows,
    count(*) filter (where {chosen} and len(coalesce(labels, [])) = 0) as empty_rows,
    min(session_id) filter (
        where split = 'train' and session_start_at >= train_end_at
    ) as session_after_training
from lake.{table}, (select train_end_at from lake.meta.shop)
"""
_UNEXPLAINED = """
{before}
select
    count(*) filter (where not is_explained) as samples_without_rationales,
    count(*) filter (where is_explained) as samples_with_outdated_rationales
from (
    select session_id in (select session_id from lake.think.rationales) as is_explained
    from lake.samples.samples_think
    where {chosen} and session_id not in (select session_id from interests)
)
"""


@dataclass(frozen=True)
class Samples:
    """Training and held-out examples, and counts for the manifest."""

    train: list[Example]
    heldout: list[Example]
    counts: dict[str, Any]


def read_rows(
    snapshot: Snapshot,
    variant: str,
    *,
    objective: str = "il_sft",
    limit: int,
    seed: int,
    days: Days = EVERY_DAY,
) -> tuple[list[dict], dict[str, int]]:
    """At most ``limit`` samples of the training split, or of ``days`` whatever their split, in an
    order that depends on the seed only, and what there is to say about those not read.

    ``labels`` are in the order of the objective. Think takes whole sessions with rationales and no
    others. Raises :class:`UserError` for what would train a degenerate model: no rows, rows of the
    test days, rows without a label, no rationales.
    """
    table = f"samples.samples_{variant}"
    chosen = days.to_train_on
    counts = snapshot.rows(_COUNTS.format(table=table, chosen=chosen))[0]
    if not counts["train_rows"]:
        raise UserError(f"{table} has no row {days.named}: nothing to train on")
    if counts["empty_rows"]:
        raise UserError(
            f"{counts['empty_rows']} training rows of {table} have no label; every sample must have"
            " at least one"
        )
    if counts["session_after_training"]:
        raise UserError(
            f"{table}: session {counts['session_after_training']} has split 'train' but starts"
            " after the end of the training days (meta.shop.train_end_at): split the days anew by"
            " `dbt build --full-refresh`"
        )
    unexplained = {}
    if variant == "think":
        (unexplained,) = snapshot.rows(_UNEXPLAINED.format(before=_INTERESTS, chosen=chosen))
    if sum(unexplained.values()) == counts["train_rows"]:
        outdated = unexplained["samples_with_outdated_rationales"]
        raise UserError(
            f"think.rationales has none for the {counts['train_rows']} training rows of {table}"
            + (f", but for {outdated} with other behaviours" if outdated else "")
            + f": run `aigq generate rationales{f' --days {days.text}' if days.text else ''}` first"
        )
    query = _SAMPLES.format(
        **(_THINK if variant == "think" else _DIRECT),
        table=table,
        chosen=chosen,
        labels="labels" if objective == "il_sft" else "log_labels",
    )
    rows = snapshot.rows(query, [str(seed), limit])
    for row in rows:
        if any(not label or not label.strip() for label in row["labels"]):
            raise UserError(f"{table}: session {row['session_id']} has an empty label")
    return rows, unexplained


def make_samples(rows: Sequence[dict], tokenizer: Any, settings: SftSettings) -> Samples:
    """Tokenise ``rows``: prompt, then the target and eos (eq. 6, 8), loss on the latter only.

    A ``day_start_share`` of the contexts loses its behaviours of the same day: lists are also made
    at the start of a day (test user-days are), when there are none. Users are held out whole, by
    their hash, so the held-out loss is of people that this stage does not train on. A target over
    its budget would be cut in the middle of a query: its sample is dropped and counted, too many
    are an error. A label that no list can hold is left out and counted, as is a sample left without
    labels.
    """
    counts: Counter[str] = Counter(samples_read=len(rows))
    rows = [_listable(row, counts) for row in rows]
    rows = [row for row in rows if row["labels"]]
    counts["samples_unlistable"] = counts["samples_read"] - len(rows)

    whole = [Context.from_row(row) for row in rows]
    rng = np.random.default_rng([settings.seed, 2])
    starts = rng.random(len(rows)) < settings.day_start_share
    contexts = [at_day_start_of(c) if s else c for c, s in zip(whole, starts, strict=True)]
    prompts = fit_prompts(
        contexts,
        tokenizer,
        style=settings.prompt_style,
        max_tokens=settings.max_prompt_tokens,
        variant=settings.variant,
    )
    counts["samples_context_cut"] = sum(
        prompt.kept < len(context.behaviors)
        for prompt, context in zip(prompts, contexts, strict=True)
    )
    shown = [
        Shown(len(context.behaviors), prompt.kept)
        for prompt, context in zip(prompts, contexts, strict=True)
    ]
    texts = [_target(row, s, settings.variant, counts) for row, s in zip(rows, shown, strict=True)]
    targets = encode_text(tokenizer, [text or "" for text in texts])

    train: list[Example] = []
    heldout: list[Example] = []
    hidden = 0
    for row, prompt, of, text, target in zip(rows, prompts, shown, texts, targets, strict=True):
        if text is None:
            counts["samples_without_points"] += 1
            hidden += of.kept < of.before_cut
            continue
        if len(target) + 1 > settings.max_target_tokens:
            counts["samples_target_too_long"] += 1
            continue
        example = Example([*prompt.ids, *target, tokenizer.eos_token_id], len(prompt.ids))
        is_heldout = int(row["user_hash"], 16) < settings.heldout_share * 16**8
        (heldout if is_heldout else train).append(example)
        counts["samples_replayed"] += row["is_replayed"]
    # Not by `|=`, which forgets zeros.
    counts["samples_train"], counts["samples_heldout"] = len(train), len(heldout)
    _refuse_degenerate(counts, hidden, settings)
    return Samples(train, heldout, _reported(counts, contexts, tokenizer, settings))


def at_day_start_of(context: Context) -> Context:
    """The context as it was when its day began: without behaviours of the same day."""
    return replace(context, behaviors=tuple(b for b in context.behaviors if b.days_ago > 0))


def _listable(row: dict, counts: Counter[str]) -> dict:
    labels = list(filter(is_listable, row["labels"]))
    counts["labels_unlistable"] += len(row["labels"]) - len(labels)
    return row | {"labels": labels}


def _target(row: dict, shown: Shown, variant: str, counts: Counter[str]) -> str | None:
    """The target text; None for a Think sample without an interest point left."""
    if variant == "direct":
        return render_list(row["labels"])
    points = interest_points(row, shown, counts)
    return render_think(points) if points else None


def _refuse_degenerate(counts: Counter[str], hidden: int, settings: SftSettings) -> None:
    """``hidden``: samples left without an interest point whose prompt was cut."""
    made = counts["samples_read"] - counts["samples_unlistable"] - counts["samples_without_points"]
    if counts["samples_target_too_long"] > MAX_LONG_SHARE * made:
        raise UserError(
            f"{counts['samples_target_too_long']} of {made} targets have more than"
            f" {settings.max_target_tokens} tokens: raise max_target_tokens"
        )
    if hidden > MAX_POINTLESS_SHARE * counts["samples_read"]:
        raise UserError(
            f"{hidden} of {counts['samples_read']} samples have no"
            " interest point whose triggers the prompt shows: raise max_prompt_tokens"
            f" ({settings.max_prompt_tokens})"
        )
    if not counts["samples_train"]:
        raise UserError(
            f"none of {counts['samples_read']} samples is left to train on"
            f" ({counts['samples_heldout']} held out, {counts['samples_target_too_long']} over"
            f" max_target_tokens, {counts['samples_unlistable']} without a label that a list can"
            f" hold, {counts['samples_without_points']} without an interest point)"
        )


def _reported(
    counts: Counter[str], contexts: Sequence[Context], tokenizer: Any, settings: SftSettings
) -> dict[str, Any]:
    """``counts`` with the zeros, shares, and prompt tokens in both styles."""
    names = ["samples_target_too_long", "samples_context_cut", "labels_unlistable"]
    if settings.variant == "think":
        names += ["samples_without_points", *COUNTED]
    counted = contexts[:_COUNTED_CONTEXTS]
    return {
        **dict.fromkeys(names, 0),
        **counts,
        "context_cut_share": round(counts["samples_context_cut"] / max(1, len(contexts)), 4),
        "prompt_tokens": prompt_tokens(counted, tokenizer, variant=settings.variant),
    }
