"""The Direct model at work: contexts in, lists of queries out (AIGQ eq. 6)."""

from aigq.context import FittedPrompt
from aigq.lists import ParsedList, parse_list
from inference.engines import Completion
from inference.list_model import ListModel


class DirectModel(ListModel[ParsedList]):
    """Writes lists; :meth:`generate` gives a :class:`ParsedList` per completion."""

    variant = "direct"

    def parse(self, completion: Completion, prompt: FittedPrompt) -> ParsedList:
        return parse_list(completion.text, finished=completion.finished)
