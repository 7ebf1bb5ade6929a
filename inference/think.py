"""The Think model at work: contexts in, interest points with reasons out (AIGQ eq. 8-9)."""

from aigq.context import FittedPrompt
from aigq.think import ParsedThink, parse_think
from inference.engines import Completion
from inference.list_model import ListModel


class ThinkModel(ListModel[ParsedThink]):
    """Writes interest points; :meth:`generate` gives a :class:`ParsedThink` per completion.

    Triggers are numbers of the prompt's lines. The prompt may have lost the context's oldest
    behaviours: of a context with n behaviours of which ``kept`` are shown, trigger t is the
    behaviour at index ``n - kept + t - 1`` (see :func:`shown_index`).
    """

    variant = "think"

    def parse(self, completion: Completion, prompt: FittedPrompt) -> ParsedThink:
        return parse_think(completion.text, finished=completion.finished, behaviors=prompt.kept)


def shown_index(trigger: int, *, behaviors: int, kept: int) -> int:
    """Index into a context's ``behaviors`` of prompt line ``trigger`` (from 1)."""
    return behaviors - kept + trigger - 1
