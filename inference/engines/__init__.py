"""Text generation: one protocol, three engines.

``vllm``          vLLM on this machine, on the CPU or a GPU.
``transformers``  batched ``generate`` of transformers; what runs where vLLM cannot.
``http://...``    an OpenAI-compatible completions server that serves the same checkpoint.

A sampled completion depends on the request's prompt and seed only, not on what else is in the
batch, so that an interrupted job that goes on writes the lists it would have written (up to
floating-point ties, which batching can turn in any engine).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

# The grammar refuses U+FFFD: a list that holds a special token is no list.
_NO_TEXT = "\ufffd"


@dataclass(frozen=True)
class Request:
    """Prompt as token ids. ``seed`` None: greedy; else sampled with it (0 <= seed < 2**31)."""

    prompt: Sequence[int]
    seed: int | None = None


@dataclass(frozen=True)
class Sampling:
    """Bound of a completion, and how sampled ones are drawn (as AIGQ §4 draws its rollouts)."""

    max_tokens: int
    temperature: float = 1.0
    top_k: int = 100


@dataclass(frozen=True)
class Completion:
    """Generated text without the end-of-sequence token. ``finished``: the model wrote that token
    itself. ``tokens``: generated tokens, the end included; None where a server does not say."""

    text: str
    finished: bool
    tokens: int | None


class Engine(Protocol):
    """A started engine. ``name`` is what runs record."""

    name: str

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        """One completion per request, in order."""

    def close(self) -> None:
        """Release processes and memory."""


class EngineUnavailable(Exception):
    """An engine cannot start on this machine; the message says why in one line."""


def open_engine(name: str, checkpoint: Path, tokenizer: Any, *, max_length: int) -> Engine:
    """Start the engine ``name`` for the model in ``checkpoint``.

    ``max_length``: tokens of the longest prompt with its completion. Where vLLM cannot start, says
    so and starts transformers; the returned engine's ``name`` tells which it is. Raises ValueError
    for a name that is no engine's.
    """
    if name.startswith(("http://", "https://")):
        from inference.engines.server import ServerEngine

        return ServerEngine(name, checkpoint, tokenizer)
    if name == "vllm":
        from inference.engines.vllm import VllmEngine

        try:
            return VllmEngine(checkpoint, tokenizer, max_length=max_length)
        except EngineUnavailable as reason:
            click.echo(f"vLLM cannot start here ({reason}): generating with transformers", err=True)
    elif name != "transformers":
        raise ValueError(f"no engine {name!r}")
    from inference.engines.transformers import TransformersEngine

    return TransformersEngine(checkpoint, tokenizer)


def engine_option(command):
    """The ``--engine`` option."""
    return click.option(
        "--engine",
        default="vllm",
        show_default=True,
        metavar="ENGINE",
        callback=_known_engine,
        help="vllm, transformers, or the http:// address of an OpenAI-compatible server. Where"
        " vllm cannot start, transformers generates.",
    )(command)


def _known_engine(_ctx: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name in ("vllm", "transformers") or name.startswith(("http://", "https://")):
        return name
    raise click.BadParameter(
        f"{name!r} is none of vllm, transformers, or the http:// address of a server"
    )


class Decoder:
    """Token ids of a completion to its text."""

    def __init__(self, tokenizer: Any):
        self.eos: int = tokenizer.eos_token_id
        self._tokenizer = tokenizer
        self._special = {
            i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special
        }

    def __call__(self, ids: Sequence[int]) -> Completion:
        """The completion that ``ids`` spell; what follows eos is padding."""
        ids = list(ids)
        finished = self.eos in ids
        text_ids = ids[: ids.index(self.eos)] if finished else ids
        text = self._tokenizer.decode(text_ids, skip_special_tokens=True)
        if not self._special.keys().isdisjoint(text_ids):
            text += _NO_TEXT
        return Completion(text, finished, len(text_ids) + finished)

    def from_text(self, text: str, *, finished: bool, tokens: int | None) -> Completion:
        """The same completion from text in which special tokens are spelled out."""
        if finished:  # vLLM leaves the end out, others may not.
            text = text.removesuffix(self._special.get(self.eos, ""))
        bare = text
        for token in self._special.values():
            bare = bare.replace(token, "")
        return Completion(bare if bare == text else bare + _NO_TEXT, finished, tokens)
