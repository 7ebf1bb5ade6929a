"""The context of a prediction, and the prompts made from it (method §1).

One :class:`Context` object, two prompts: ``compressed`` (small-vocabulary fields as single special
tokens, next to no instruction) and ``verbose`` (fields and instruction in words), the baseline that
compression is measured against.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from aigq.settings import UserError

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
SPECIAL_TOKENS: dict[str, str] = {
    **{f"<{day}_day_ago>": f"{day} day ago" for day in range(MAX_DAYS_AGO + 1)},
    f"<over_{MAX_DAYS_AGO}_day_ago>": f"over {MAX_DAYS_AGO} day ago",
    **{token: token.strip("<>") for token in _ACTION_TOKENS.values()},
    HINTS_TOKEN: "hints",
}


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


def compressed_prompt(context: Context) -> str:
    """Profile, then one line per behaviour ``index|<d_day_ago>|<action>|content``, then <hints>."""
    lines = ["|".join(value or "" for value in context.profile)]
    for index, b in enumerate(context.behaviors, start=1):
        lines.append(f"{index}|{_day_token(b.days_ago)}|{_ACTION_TOKENS[b.action]}|{_flat(b)}")
    return "\n".join(lines) + f"\n{HINTS_TOKEN}"


def verbose_prompt(context: Context) -> str:
    """The same in words, with the instruction that a general language model needs."""
    profile = ", ".join(
        f"{name.replace('_', ' ')}: {value or 'unknown'}"
        for name, value in zip(PROFILE_FIELDS, context.profile, strict=True)
    )
    lines = [
        "You recommend search queries on the home page of a shop before the user types anything.",
        f"User profile: {profile}",
        "Behaviours, oldest first, as index | time | behaviour type | behaviour content:",
    ]
    for index, b in enumerate(context.behaviors, start=1):
        action = b.action.replace("_", " ")
        lines.append(f"{index} | {b.days_ago} day ago | {action} | {_flat(b)}")
    lines.append("Write the queries the user is most likely to search next, best first, one per")
    lines.append("line and nothing else:")
    return "\n".join(lines) + "\n"


PROMPT_STYLES: dict[str, Callable[[Context], str]] = {
    "compressed": compressed_prompt,
    "verbose": verbose_prompt,
}


def fit_prompts(
    contexts: Sequence[Context], tokenizer: Any, *, style: str, max_tokens: int
) -> list[list[int]]:
    """Token ids of each context's prompt, with as many newest behaviours as ``max_tokens`` allow.

    Raises :class:`UserError` where not even the prompt without behaviours fits.
    """
    render = PROMPT_STYLES[style]
    ids = _encode(tokenizer, [render(c) for c in contexts])
    # Dropping the oldest line never lengthens a prompt, so the largest count that fits can be
    # bisected; few contexts are over budget at all.
    for position, context in enumerate(contexts):
        if len(ids[position]) <= max_tokens:
            continue
        low, high = 0, len(context.behaviors)
        best = None
        while low <= high:
            middle = (low + high) // 2
            candidate = _encode(tokenizer, [render(context.newest(middle))])[0]
            if len(candidate) <= max_tokens:
                best, low = candidate, middle + 1
            else:
                high = middle - 1
        if best is None:
            raise UserError(
                f"a prompt without behaviours has more than {max_tokens} tokens: raise the budget"
            )
        ids[position] = best
    return ids


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []


def _day_token(days_ago: int) -> str:
    if days_ago > MAX_DAYS_AGO:
        return f"<over_{MAX_DAYS_AGO}_day_ago>"
    return f"<{days_ago}_day_ago>"


def _flat(behavior: Behavior) -> str:
    """Content on one line: a line break inside it would forge a behaviour."""
    return " ".join(behavior.content_text.split())
