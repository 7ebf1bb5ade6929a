"""A language model that was not trained to write lists, asked for them all the same."""

import json
from dataclasses import dataclass
from typing import Any

from aigq.models import Model
from aigq.settings import UserError

# Twice what most contexts of 50 behaviours take in a general vocabulary.
_MAX_PROMPT_TOKENS = 4096
_MAX_TARGET_TOKENS = 256


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
