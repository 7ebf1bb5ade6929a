"""A language model that was not trained to write lists, asked for them all the same."""

import json
import re
from dataclasses import dataclass
from typing import Any

from aigq.context import FittedPrompt
from aigq.lists import ParsedList, parse_list
from aigq.models import Model
from aigq.settings import UserError
from inference.direct import DirectModel
from inference.engines import Completion

# Twice what most contexts of 50 behaviours take in a general vocabulary.
_MAX_PROMPT_TOKENS = 4096
_MAX_TARGET_TOKENS = 256
# What general models put before the entries of a list: "1. ", "2) ", "- ".
_MARKER = re.compile(r"^[ \t]*(?:\d{1,2}[.)]|[-*\u2022])[ \t]+", re.MULTILINE)


@dataclass(frozen=True)
class ZeroShot(Model):
    """``model`` with the settings that `aigq train sft` would have given it: the verbose prompt, as
    long as the model's positions allow."""

    @classmethod
    def of(cls, model: Model) -> "ZeroShot":
        """Raises :class:`UserError` for a model that was trained to write lists."""
        if "prompt_style" in (model.manifest.get("settings") or {}):
            raise UserError(
                f"model {model.reference} was trained to write lists: leave --zero-shot out"
            )
        return cls(model.name, model.version, model.path)

    @property
    def manifest(self) -> dict[str, Any]:
        path = self.path / "config.json"
        try:
            positions = json.loads(path.read_text())["max_position_embeddings"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path}: expected a language model's configuration with"
                f" max_position_embeddings: {error!r}"
            ) from None
        if positions < 2 * _MAX_TARGET_TOKENS:
            raise UserError(
                f"{path}: a model of {positions} positions is too short to be asked; expected at"
                f" least {2 * _MAX_TARGET_TOKENS}"
            )
        return {
            "settings": {
                "prompt_style": "verbose",
                "max_prompt_tokens": min(_MAX_PROMPT_TOKENS, positions - _MAX_TARGET_TOKENS),
                "max_target_tokens": _MAX_TARGET_TOKENS,
            }
        }


class ZeroShotModel(DirectModel):
    """Asked as a user asks, where its tokenizer has a chat template; markers of list entries are
    taken off what it answers."""

    knows_chat_only = True

    def parse(self, completion: Completion, prompt: FittedPrompt) -> ParsedList:
        return parse_list(_MARKER.sub("", completion.text), finished=completion.finished)
