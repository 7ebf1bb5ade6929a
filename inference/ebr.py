"""EBR in the place of a list model: nearest queries by approximate search, as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aigq.context import Context
from aigq.lists import ParsedList
from aigq.models import Model
from inference.list_model import Tally

if TYPE_CHECKING:
    from aigq.ebr import Retriever


@dataclass(frozen=True)
class Retrieval:
    """How a list is made: the ``length`` best queries."""

    length: int = 30


class EbrLists:
    """What :class:`inference.list_model.ListModel` is for a language model. There is nothing to
    sample: an instance has one list.

    ``prompt_style`` and ``variant`` name the writing of a context that draws are known by.
    """

    prompt_style = "compressed"
    variant = "direct"
    lists = 1

    def __init__(self, model: Model):
        self.model = model
        self.sampling = Retrieval()
        self.tally = Tally()
        self._retriever: Retriever | None = None

    def __enter__(self) -> "EbrLists":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._retriever = None

    @property
    def engine_used(self) -> str | None:
        """``faiss``, None before it had to search."""
        return "faiss" if self._retriever else None

    def start(self) -> None:
        """Load model and index, where that has not been done."""
        if self._retriever is None:
            from aigq import ebr

            self._retriever = ebr.load(self.model)

    def generate(
        self, contexts: Sequence[Context], seeds: Sequence[Sequence[int | None]]
    ) -> list[list[ParsedList]]:
        """For each context its list, as often as it has ``seeds``."""
        self.start()
        found = self._retriever.retrieve(contexts, self.sampling.length)
        lists = [
            [ParsedList(tuple(queries)) for _ in of_context]
            for queries, of_context in zip(found, seeds, strict=True)
        ]
        self.tally.lists += sum(map(len, lists))
        return lists
