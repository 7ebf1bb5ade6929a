"""From the token ids of a completion to its text, and back: which token belongs to what.

Rewards go to tokens (AIGQ eq. 10-17), the grammars are text. Everything here starts from token ids,
because decoders strip special tokens and mend broken characters.

A token may straddle a border: byte-level vocabularies hold ``"!\\n"`` or ``"\\tred"``. The rule: a
token belongs to the first region that holds one of its bytes, regions being the queries, trigger
sets and rationales themselves without their separators. So it is a separator only where it is
nothing else, and the first token of a character cut in two belongs where the character does.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from aigq.settings import UserError

# What a token is, where it is not part of query slot 0, 1, ...
TRIGGER = -1
RATIONALE = -2
OTHER = -3  # separators, the end-of-sequence token, and all of a malformed completion
PADDING = -4  # whatever follows the end of the sequence

_BROKEN = "\ufffd"


class Region(NamedTuple):
    """Characters ``start`` to ``end`` (exclusive) of a text are ``span``: a slot or a constant."""

    start: int
    end: int
    span: int


@dataclass(frozen=True)
class Spans:
    """``spans``: one per token id, the number of its query slot or a constant of this module.

    ``queries``: the normalised query of each slot, in output order, repeats included. ``lists``:
    which of the completion's lists each slot stands in, from 0: Think writes one for each interest
    point. ``triggers``: the trigger set of each of Think's points. All without slots where the
    completion is malformed, and ``error`` says how. ``fields``: all queries, trigger sets and
    rationales as they are written.
    """

    spans: tuple[int, ...]
    fields: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    lists: tuple[int, ...] = ()
    triggers: tuple[tuple[int, ...], ...] = ()
    error: str | None = None


class TokenBytes:
    """The bytes behind every token of a byte-level tokenizer; make it once and keep it.

    Raises :class:`UserError` for a tokenizer of another kind.
    """

    def __init__(self, tokenizer: Any):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        decoder = json.loads(backend.to_str())["decoder"] if backend is not None else None
        if not _is_byte_level(decoder):
            raise UserError(
                "the tokenizer is not byte-level BPE (as those of Qwen, Llama 3 or `aigq train"
                " base` are): which token belongs to which query cannot be told"
            )
        self.eos: int = tokenizer.eos_token_id
        self._added = tokenizer.added_tokens_decoder
        self._pieces = tokenizer.get_vocab()

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        of_character = {character: byte for byte, character in _byte_characters().items()}
        table = {}
        for piece, token in self._pieces.items():
            if token not in self._added:
                table[token] = bytes(of_character[c] for c in piece)
        for token, added in self._added.items():
            # A special token is no text, and leaves a completion malformed.
            table[token] = (_BROKEN if added.special else added.content).encode()
        return table

    def read(self, ids: Sequence[int]) -> "Reading":
        """The text of a completion's ids up to the end of the sequence, if it has one."""
        ids = list(ids)
        finished = self.eos in ids
        body = ids[: ids.index(self.eos)] if finished else ids
        # A model with spare rows can write an id that no piece has.
        pieces = [self._bytes.get(token, _BROKEN.encode()) for token in body]
        return Reading(b"".join(pieces), [len(p) for p in pieces], finished, len(ids))


@dataclass(frozen=True)
class Reading:
    """``data``: the text's bytes; ``sizes``: bytes of each token; ``length``: of all ids given."""

    data: bytes
    sizes: list[int]
    finished: bool
    length: int

    @cached_property
    def text(self) -> str:
        """The text; broken characters as U+FFFD."""
        return self.data.decode(errors="replace")

    def spans(self, regions: Sequence[Region]) -> tuple[int, ...]:
        """One span per token id by the rule in the module's docstring. ``regions`` of a text
        without broken characters: in order, not overlapping."""
        found = [OTHER] * len(self.sizes)
        bounds = self._in_bytes(regions)
        position, index = 0, 0
        for token, size in enumerate(self.sizes):
            end = position + size
            while index < len(bounds) and bounds[index].end <= position:
                index += 1
            if index < len(bounds) and bounds[index].start < end:
                found[token] = bounds[index].span
            position = end
        found += [OTHER] * self.finished
        return (*found, *[PADDING] * (self.length - len(found)))

    def fields(self, regions: Sequence[Region]) -> tuple[str, ...]:
        """The text of each region."""
        return tuple(self.text[region.start : region.end] for region in regions)

    def _in_bytes(self, regions: Sequence[Region]) -> list[Region]:
        bounds, character, byte = [], 0, 0
        for region in regions:
            start = byte + len(self.text[character : region.start].encode())
            byte = start + len(self.text[region.start : region.end].encode())
            character = region.end
            bounds.append(Region(start, byte, region.span))
        return bounds


def _is_byte_level(decoder: Any) -> bool:
    if not decoder:
        return False
    if decoder["type"] == "Sequence":
        return any(map(_is_byte_level, decoder["decoders"]))
    return decoder["type"] == "ByteLevel"


def _byte_characters() -> dict[int, str]:
    """The character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {b: chr(256 + n) for n, b in enumerate(hidden)}
