"""The context of a prediction, and the prompts made from it (method §1).

One :class:`Context` object, two prompts for each variant: ``compressed`` (small-vocabulary fields
as single special tokens, next to no instruction) and ``verbose`` (fields and instruction in words),
the baseline that compression is measured against. What the shop's text says never becomes a special
token.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from aigq.settings import UserError
from aigq.text import flat

ACTIONS = ("search", "item_click", "cart", "order")
MAX_DAYS_AGO = 60
PROFILE_FIELDS = ("age_band", "gender", "region")

# Special token -> the words it stands for; its embedding starts as the mean of theirs (eq. 1).
_ACTION_TOKENS = {
    "search": "<search>",
    "item_click": "<click>",
    "cart": "<cart>",
    "order": "<order>",
}
HINTS_TOKEN = "<hints>"
# Asks for interest points. Not "<think>": pretrained models have that one, for a monologue.
INTERESTS_TOKEN = "<interests>"
VARIANT_TOKENS = {"direct": HINTS_TOKEN, "think": INTERESTS_TOKEN}
SPECIAL_TOKENS: dict[str, str] = {
    **{f"<{day}_day_ago>": f"{day} day ago" for day in range(MAX_DAYS_AGO + 1)},
    f"<over_{MAX_DAYS_AGO}_day_ago>": f"over {MAX_DAYS_AGO} day ago",
    **{token: token.strip("<>") for token in _ACTION_TOKENS.values()},
    **{token: token.strip("<>") for token in VARIANT_TOKENS.values()},
}
_INSTRUCTIONS = {
    "direct": (
        "Write the queries the user is most likely to search next, best first, one per",
        "line and nothing else:",
    ),
    "think": (
        "First write, for each interest that you see, one line: its number (1, 2, ...), a bar, and",
        "why these behaviours lead to new searches. Then an empty line. Then one line per",
        "interest: its number, a bar, the indices of its behaviours with commas between, and the",
        "queries the user is most likely to search next, best first, each after a tab.",
        "Nothing else:",
    ),
}

# SQL over a row with profile and ``behaviors``: the same only as long as every prompt made from it
# is.
CONTEXT_KEY = """md5(to_json([
    to_json([age_band, gender, region]),
    to_json(list_transform(behaviors, lambda b: [b.days_ago::VARCHAR, b.action, b.content_text]))
])::VARCHAR)"""


@dataclass(frozen=True)
class Behavior:
    """One behaviour: whole days before the prediction (shop's calendar), action, content text."""

    days_ago: int
    action: str
    content_text: str


@dataclass(frozen=True)
class Context:
    """Profile (unknown fields None) and behaviours, oldest first, all before the prediction."""

    profile: tuple[str | None, ...] = (None,) * len(PROFILE_FIELDS)
    behaviors: tuple[Behavior, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of a samples table: profile columns and ``behaviors``, a list of structs."""
        return cls(
            tuple(row[name] for name in PROFILE_FIELDS),
            tuple(
                Behavior(b["days_ago"], b["action"], b["content_text"])
                for b in row["behaviors"] or ()
            ),
        )

    def newest(self, count: int) -> Self:
        """The same context with its ``count`` newest behaviours only."""
        return replace(self, behaviors=self.behaviors[-count:] if count > 0 else ())


Clean = Callable[[str], str]


def compressed_prompt(context: Context, clean: Clean = flat, *, variant: str = "direct") -> str:
    """Profile, then one line per behaviour ``index|<d_day_ago>|<action>|content``, then <hints>
    (Direct) or <interests> (Think).

    ``clean`` is applied to all that is the shop's text.
    """
    lines = [clean("|".join(value or "" for value in context.profile))]
    for index, b in enumerate(context.behaviors, start=1):
        head = f"{index}|{_day_token(b.days_ago)}|{_ACTION_TOKENS[b.action]}"
        lines.append(f"{head}|{clean(b.content_text)}")
    return "\n".join(lines) + f"\n{VARIANT_TOKENS[variant]}"


def verbose_prompt(context: Context, clean: Clean = flat, *, variant: str = "direct") -> str:
    """The same in words, with the instruction that a general language model needs."""
    profile = ", ".join(
        f"{name.replace('_', ' ')}: {value or 'unknown'}"
        for name, value in zip(PROFILE_FIELDS, context.profile, strict=True)
    )
    lines = [
        "You recommend search queries on the home page of a shop before the user types anything.",
        f"User profile: {clean(profile)}",
        "Behaviours, oldest first, as index | time | behaviour type | behaviour content:",
    ]
    for index, b in enumerate(context.behaviors, start=1):
        action = b.action.replace("_", " ")
        lines.append(f"{index} | {b.days_ago} day ago | {action} | {clean(b.content_text)}")
    return "\n".join([*lines, *_INSTRUCTIONS[variant]]) + "\n"


PROMPT_STYLES: dict[str, Callable[..., str]] = {
    "compressed": compressed_prompt,
    "verbose": verbose_prompt,
}


class FittedPrompt(NamedTuple):
    """A prompt's token ids, and how many of the context's behaviours, the newest, are in it."""

    ids: list[int]
    kept: int


def fit_prompts(
    contexts: Sequence[Context],
    tokenizer: Any,
    *,
    style: str,
    max_tokens: int,
    variant: str = "direct",
    as_chat: bool = False,
) -> list[FittedPrompt]:
    """Each context's prompt, with as many newest behaviours as ``max_tokens`` allow.

    ``as_chat``: as the user's turn in the tokenizer's chat template. Raises :class:`UserError`
    where not even the prompt without behaviours fits.
    """
    render, clean = PROMPT_STYLES[style], cleaner(tokenizer)
    encode = _encode_turns if as_chat else _encode
    ids = encode(tokenizer, [render(c, clean, variant=variant) for c in contexts])
    fitted = [FittedPrompt(p, len(c.behaviors)) for p, c in zip(ids, contexts, strict=True)]
    # Dropping the oldest line never lengthens a prompt, so the largest count that fits can be
    # bisected: all prompts over budget at once, because a tokenizer is fast on batches only.
    best: dict[int, FittedPrompt] = {}
    over = [position for position, prompt in enumerate(ids) if len(prompt) > max_tokens]
    bounds = {position: (0, fitted[position].kept) for position in over}
    while bounds:
        counts = {position: sum(bound) // 2 for position, bound in bounds.items()}
        shorter = [
            render(contexts[p].newest(count), clean, variant=variant) for p, count in counts.items()
        ]
        for (position, count), prompt in zip(
            counts.items(), encode(tokenizer, shorter), strict=True
        ):
            low, high = bounds.pop(position)
            if len(prompt) <= max_tokens:
                best[position] = FittedPrompt(prompt, count)
                low = count + 1
            else:
                high = count - 1
            if low <= high:
                bounds[position] = (low, high)
    for position in over:
        if position not in best:
            raise UserError(
                f"a prompt without behaviours has more than {max_tokens} tokens: raise"
                " max_prompt_tokens of the model's training"
            )
        fitted[position] = best[position]
    return fitted


def prompt_tokens(
    contexts: Sequence[Context], tokenizer: Any, *, variant: str = "direct"
) -> dict[str, float]:
    """What compression saves: mean tokens of the whole prompts of ``contexts``, by style.

    ``saved_share``: 1 - compressed / verbose. ``tokenizer`` must have the special tokens.
    """
    clean = cleaner(tokenizer)
    totals = {
        style: sum(
            map(len, _encode(tokenizer, [render(c, clean, variant=variant) for c in contexts]))
        )
        for style, render in PROMPT_STYLES.items()
    }
    means = {style: total / len(contexts) for style, total in totals.items()}
    return means | {"saved_share": 1 - totals["compressed"] / totals["verbose"]}


def encode_text(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of the shop's texts: what looks like a special token in them is ordinary text."""
    return _encode(tokenizer, list(texts), split_special_tokens=True)


def _encode_turns(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            return_dict=False,
            enable_thinking=False,
        )
        for text in texts
    ]


def _encode(tokenizer: Any, texts: list[str], **options: bool) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, **options)["input_ids"] if texts else []


def cleaner(tokenizer: Any) -> Clean:
    """:func:`flat`, and a blank into each special token that a text spells: "< hints>".

    A search for ``<|endoftext|>`` would otherwise end the prompt.
    """
    added = tokenizer.added_tokens_decoder.values()
    spelled = {
        *SPECIAL_TOKENS,
        *tokenizer.all_special_tokens,
        *(str(t) for t in added if t.special),
    }
    longest_first = sorted((token for token in spelled if len(token) > 1), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))

    def clean(text: str) -> str:
        text = flat(text)
        while found := pattern.search(text):
            text = f"{text[: found.start() + 1]} {text[found.start() + 1 :]}"
        return text

    return clean


def _day_token(days_ago: int) -> str:
    if days_ago > MAX_DAYS_AGO:
        return f"<over_{MAX_DAYS_AGO}_day_ago>"
    return f"<{days_ago}_day_ago>"
