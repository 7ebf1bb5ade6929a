"""The Direct model at work: contexts in, lists of queries out (AIGQ eq. 6)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aigq.context import PROMPT_STYLES, Context, fit_prompts
from aigq.lists import ParsedList, parse_list
from aigq.models import Model
from aigq.settings import UserError
from inference.engines import Engine, Request, Sampling, open_engine


@dataclass
class Tally:
    """What came out of a run's completions, for its metrics."""

    lists: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    tokens: int = 0

    def metrics(self) -> dict[str, Any]:
        """Counts by what they count; ``malformed`` by class."""
        return {
            "lists": self.lists,
            "malformed": dict(sorted(self.malformed.items())),
            "malformed_lists": self.malformed.total(),
            "duplicates": self.duplicates,
            "tokens": self.tokens,
        }

    def summary(self) -> str:
        """One line for people."""
        share = self.malformed.total() / self.lists if self.lists else 0.0
        classes = ", ".join(f"{n} {name}" for name, n in sorted(self.malformed.items()))
        return (
            f"{self.lists:,} lists generated, {self.malformed.total()} malformed ({share:.1%}"
            f"{': ' + classes if classes else ''}), {self.duplicates} duplicate queries dropped"
        )


class DirectModel:
    """A published model, the prompt it was trained with, and the engine that runs it.

    The engine starts with :meth:`start`, or the first completions asked for: a job that finds
    nothing to do starts none. Use as a context manager. Raises :class:`UserError` for a model that
    was not trained to write lists.
    """

    def __init__(self, model: Model, engine: str, max_tokens: int | None):
        settings = model.manifest.get("settings") or {}
        try:
            self.prompt_style: str = settings["prompt_style"]
            self.max_prompt_tokens: int = settings["max_prompt_tokens"]
            self.sampling = Sampling(max_tokens or settings["max_target_tokens"])
        except KeyError as missing:
            raise UserError(
                f"model {model.name}@{model.version} writes no lists: its manifest has no setting"
                f" {missing}, which models of `aigq train sft` have"
            ) from None
        if self.prompt_style not in PROMPT_STYLES:
            raise UserError(
                f"{model.path}/manifest.json: prompt_style is {self.prompt_style!r}, expected one"
                f" of {', '.join(PROMPT_STYLES)}"
            )
        self.model = model
        self.tally = Tally()
        self._engine_name = engine
        self._engine: Engine | None = None
        self._tokenizer: Any = None

    def __enter__(self) -> "DirectModel":
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def engine_used(self) -> str | None:
        """Name of the engine that generated, None before it had to."""
        return self._engine.name if self._engine else None

    def generate(
        self, contexts: Sequence[Context], seeds: Sequence[Sequence[int | None]]
    ) -> list[list[ParsedList]]:
        """For each context one parsed list per entry of its ``seeds`` (None: the greedy list)."""
        self.start()
        prompts = fit_prompts(
            contexts, self._tokenizer, style=self.prompt_style, max_tokens=self.max_prompt_tokens
        )
        requests = [
            Request(prompt, seed)
            for prompt, of_context in zip(prompts, seeds, strict=True)
            for seed in of_context
        ]
        completions = iter(self._engine.generate(requests, self.sampling))
        return [[self._parse(next(completions)) for _ in of_context] for of_context in seeds]

    def _parse(self, completion) -> ParsedList:
        parsed = parse_list(completion.text, finished=completion.finished)
        self.tally.lists += 1
        self.tally.tokens += completion.tokens or 0
        self.tally.duplicates += parsed.duplicates
        if parsed.error:
            self.tally.malformed[parsed.error] += 1
        return parsed

    def start(self) -> None:
        """Start the engine, where it has not been yet."""
        if self._engine is not None:
            return
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(self.model.path)
        self._engine = open_engine(
            self._engine_name,
            self.model.path,
            self._tokenizer,
            max_length=self.max_prompt_tokens + self.sampling.max_tokens,
        )
