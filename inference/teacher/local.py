"""A checkpoint on this machine as the teacher, through vLLM with guided decoding."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aigq import models
from aigq.context import cleaner, encode_text
from aigq.settings import Home, UserError
from inference.engines import EngineUnavailable, Request, Sampling
from inference.engines.vllm import VllmEngine
from inference.teacher.llm import Question, Reply, Usage

# Prompt and answer; a session of fifty behaviours and sixty candidates takes about 5,000.
_MAX_LENGTH = 8192
_MAX_ANSWER = 3072


class VllmBackend:
    """vLLM, every answer decoded under the question's JSON schema (no white space between fields).

    ``reference``: a published model (NAME or NAME@VERSION) or a checkpoint's folder. With a chat
    template it is asked as a chat, without as a text to go on from. Raises :class:`UserError` where
    the checkpoint cannot be found or vLLM does not start.
    """

    pause = 0.0

    def __init__(self, home: Home, reference: str):
        self._checkpoint, self.name = _find(home, reference)
        self.usage = Usage()
        self._engine: VllmEngine | None = None

    def start(self) -> None:
        from transformers import AutoConfig, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(self._checkpoint)
        config = AutoConfig.from_pretrained(self._checkpoint)
        positions = getattr(config, "max_position_embeddings", None) or _MAX_LENGTH
        self._max_length = min(_MAX_LENGTH, positions)
        self._max_answer = min(_MAX_ANSWER, self._max_length // 2)
        try:
            self._engine = VllmEngine(
                self._checkpoint, self._tokenizer, max_length=self._max_length
            )
        except EngineUnavailable as reason:
            raise UserError(
                f"vLLM cannot start here ({reason}): use --teacher rules, or http://... of a server"
            ) from None

    def ask(self, questions: Sequence[Question], attempt: int) -> list[Reply]:
        prompts = [self._prompt(question) for question in questions]
        fitting = [
            i for i, p in enumerate(prompts) if len(p) + self._max_answer <= self._max_length
        ]
        requests = [Request(prompts[i], attempt or None) for i in fitting]
        completions = (
            self._engine.generate(
                requests,
                Sampling(self._max_answer, temperature=0.7),
                schemas=[questions[i].schema for i in fitting],
            )
            if requests
            else []
        )
        replies = [Reply(error="prompt_too_long")] * len(questions)
        for i, completion in zip(fitting, completions, strict=True):
            self.usage.prompt_tokens += len(prompts[i])
            self.usage.completion_tokens += completion.tokens or 0
            replies[i] = Reply(completion.text) if completion.finished else Reply(error="truncated")
        return replies

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def _prompt(self, question: Question) -> list[int]:
        if self._tokenizer.chat_template:
            # What the shop's text spells must not end the user's turn.
            clean = cleaner(self._tokenizer)
            content = "\n".join(map(clean, question.content.split("\n")))
            return self._tokenizer.apply_chat_template(
                [
                    {"role": "system", "content": question.instruction},
                    {"role": "user", "content": content},
                ],
                add_generation_prompt=True,
                return_dict=False,
                # Reasoning comes first in the schema, where it is bounded.
                enable_thinking=False,
            )
        text = f"{question.instruction}\n\n{question.content}\n\nJSON:\n"
        return encode_text(self._tokenizer, [text])[0]


def _find(home: Home, reference: str) -> tuple[Path, str]:
    folder = Path(reference)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"--model: {folder} holds no checkpoint: it has no config.json")
        return folder, str(folder.resolve())
    model: Any = models.resolve(home, reference)
    return model.path, f"{model.name}@{model.version}"
