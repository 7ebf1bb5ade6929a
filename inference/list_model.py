"""A published model at work: contexts in, parsed completions out, whatever its target grammar."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from aigq.context import PROMPT_STYLES, Context, FittedPrompt, fit_prompts
from aigq.models import Model
from aigq.settings import UserError
from inference.engines import Completion, Engine, Request, Sampling, open_engine


class Parsed(Protocol):
    """What both grammars read from a completion: distinct queries, none where malformed."""

    error: str | None
    duplicates: int

    @property
    def queries(self) -> tuple[str, ...]: ...


P = TypeVar("P", bound=Parsed)


@dataclass
class Tally:
    """What went into a run's prompts and came out of its completions, for its metrics."""

    lists: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    tokens: int = 0
    prompts: int = 0
    prompts_cut: int = 0

    def metrics(self) -> dict[str, Any]:
        """Counts by what they count; ``malformed`` by class; ``prompts_cut``: those that lost their
        oldest behaviours to the token budget."""
        return {
            "lists": self.lists,
            "malformed": dict(sorted(self.malformed.items())),
            "malformed_lists": self.malformed.total(),
            "duplicates": self.duplicates,
            "tokens": self.tokens,
            "prompts": self.prompts,
            "prompts_cut": self.prompts_cut,
            "prompts_cut_share": self.prompts_cut / self.prompts if self.prompts else None,
        }

    def summary(self) -> str:
        """One line for people."""
        share = self.malformed.total() / self.lists if self.lists else 0.0
        cut = self.prompts_cut / self.prompts if self.prompts else 0.0
        classes = ", ".join(f"{n} {name}" for name, n in sorted(self.malformed.items()))
        return (
            f"{self.lists:,} lists generated, {self.malformed.total()} malformed ({share:.1%}"
            f"{': ' + classes if classes else ''}), {self.duplicates} duplicate queries dropped;"
            f" {cut:.1%} of {self.prompts:,} prompts cut to their newest behaviours"
        )


class ListModel(Generic[P]):
    """A published model, the prompt it was trained with, and the engine that runs it.

    The engine starts with :meth:`start`, or the first completions asked for: a job that finds
    nothing to do starts none. Use as a context manager. Raises :class:`UserError` for a model that
    was not trained to write this variant's lists.

    ``kept``: of each context of the latest :meth:`generate`, how many behaviours, the newest, its
    prompt held.
    """

    variant: ClassVar[str]
    # What was trained on our prompts is asked by them, whatever its tokenizer says.
    knows_chat_only: ClassVar[bool] = False

    def __init__(self, model: Model, engine: str, max_tokens: int | None):
        manifest = model.manifest
        settings = manifest.get("settings") or {}
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
        if (trained_as := variant_of(model)) != self.variant:
            raise UserError(
                f"model {model.name}@{model.version} is of variant {trained_as!r}, but this needs"
                f" one of variant {self.variant!r}"
            )
        self.model = model
        self.tally = Tally()
        self.kept: list[int] = []
        self._engine_name = engine
        self._engine: Engine | None = None
        self._tokenizer: Any = None

    def __enter__(self) -> "ListModel[P]":
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
    ) -> list[list[P]]:
        """For each context one parsed completion per entry of its ``seeds`` (None: greedy)."""
        self.start()
        prompts = fit_prompts(
            contexts,
            self._tokenizer,
            style=self.prompt_style,
            max_tokens=self.max_prompt_tokens,
            variant=self.variant,
            as_chat=self.knows_chat_only and bool(self._tokenizer.chat_template),
        )
        self.kept = [prompt.kept for prompt in prompts]
        self.tally.prompts += len(prompts)
        self.tally.prompts_cut += sum(
            prompt.kept < len(context.behaviors)
            for prompt, context in zip(prompts, contexts, strict=True)
        )
        requests = [
            Request(prompt.ids, seed)
            for prompt, of_context in zip(prompts, seeds, strict=True)
            for seed in of_context
        ]
        completions = iter(self._engine.generate(requests, self.sampling))
        return [
            [self._counted(next(completions), prompt) for _ in of_context]
            for prompt, of_context in zip(prompts, seeds, strict=True)
        ]

    def parse(self, completion: Completion, prompt: FittedPrompt) -> P:
        """Read a completion of ``prompt`` by the variant's grammar."""
        raise NotImplementedError

    def _counted(self, completion: Completion, prompt: FittedPrompt) -> P:
        parsed = self.parse(completion, prompt)
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


def variant_of(model: Model) -> str:
    """The variant that a model of `aigq train sft` was trained as."""
    return model.manifest.get("variant", "direct")


def open_list_model(model: Model, engine: str, max_tokens: int | None) -> ListModel:
    """``model`` as its variant's class. Raises :class:`UserError` where it writes no lists."""
    if variant_of(model) == "think":
        from inference.think import ThinkModel

        return ThinkModel(model, engine, max_tokens)
    from inference.direct import DirectModel

    return DirectModel(model, engine, max_tokens)
