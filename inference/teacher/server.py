"""An OpenAI-compatible server as the teacher: OpenAI itself, ``vllm serve``, and others."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

from aigq.settings import UserError
from inference.openai_client import open_client
from inference.teacher.llm import Question, Reply, Usage

_CONCURRENT = 32
_MAX_ANSWER = 4096
# Bounds that some servers' schemas may not hold; the answer is checked for them all the same.
_BOUNDS = ("pattern", "minItems", "maxItems", "minimum", "maximum")


class ServerBackend:
    """Questions in parallel, answers under ``response_format: json_schema``.

    ``address`` and what is tried again: see :func:`open_client`; ``model``: the server's name for
    it, None where it serves only one; ``api``: chat or completions. An error that could pass later
    counts as the reply ``server_error``; where that is the reply to every question, and for
    whatever else the server refuses (a key, a model), a :class:`UserError` names it.
    """

    pause = 1.0

    def __init__(self, address: str, model: str | None, api: str):
        self._client, self.address = open_client(address)
        self._api = api
        self._bounded = True
        self._refusal = ""
        self._lock = Lock()
        self.usage = Usage()
        self.name = model or self._only_model()

    def start(self) -> None:
        """Nothing to do: the server runs."""

    def ask(self, questions: Sequence[Question], attempt: int) -> list[Reply]:
        with ThreadPoolExecutor(_CONCURRENT) as pool:
            replies = list(pool.map(lambda question: self._ask(question, attempt), questions))
        # Of what is asked again, or of one question, all may fail for reasons of their own.
        if attempt == 0 and len(replies) > 1:
            errors = {reply.error for reply in replies}
            if errors == {"server_error"}:
                raise UserError(
                    f"the server {self.address} answers none of {len(replies)} questions: what was"
                    " answered before is kept, run this again when it is back"
                )
            if errors == {"refused"}:
                raise UserError(
                    f"the server {self.address} refuses all of {len(replies)} questions:"
                    f" {self._refusal}"
                )
        return replies

    def close(self) -> None:
        self._client.close()

    def _ask(self, question: Question, attempt: int) -> Reply:
        from openai import APIConnectionError, APIStatusError, BadRequestError, OpenAIError

        bounded = self._bounded
        try:
            try:
                return self._reply(question, attempt, bounded=bounded)
            except BadRequestError:
                if not bounded:
                    raise
                reply = self._reply(question, attempt, bounded=False)
                self._bounded = False
                return reply
        except APIConnectionError:
            return Reply(error="server_error")
        except APIStatusError as error:
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                return Reply(error="server_error")
            self._refusal = str(error)
            return Reply(error="refused")
        except OpenAIError as error:
            raise UserError(
                f"the server {self.address} did not answer as expected: {error}"
            ) from None

    def _reply(self, question: Question, attempt: int, *, bounded: bool) -> Reply:
        schema = question.schema if bounded else _without_bounds(question.schema)
        form = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }
        drawn: dict[str, Any] = {"temperature": 0.0}
        if attempt:
            drawn = {"temperature": 0.7, "seed": attempt}
        if self._api == "chat":
            answer = self._client.chat.completions.create(
                model=self.name,
                messages=[
                    {"role": "system", "content": question.instruction},
                    # What the shop's text spells must not end the user's turn: servers read special
                    # tokens (<|im_end|>) wherever they stand.
                    {"role": "user", "content": question.content.replace("<|", "< |")},
                ],
                response_format=form,
                max_completion_tokens=_MAX_ANSWER,
                **drawn,
            )
        else:
            answer = self._client.completions.create(
                model=self.name,
                prompt=f"{question.instruction}\n\n{question.content}\n\nJSON:\n",
                max_tokens=_MAX_ANSWER,
                # Not in OpenAI's own completions API, but in vLLM's.
                extra_body={"response_format": form},
                **drawn,
            )
        if answer.usage:
            with self._lock:
                self.usage.prompt_tokens += answer.usage.prompt_tokens
                self.usage.completion_tokens += answer.usage.completion_tokens
        if not answer.choices:  # what some servers answer where they filter
            return Reply(error="refused")
        choice = answer.choices[0]
        if choice.finish_reason == "length":
            return Reply(error="truncated")
        text = choice.message.content if self._api == "chat" else choice.text
        return Reply(text) if text else Reply(error="refused")

    def _only_model(self) -> str:
        from openai import OpenAIError

        try:
            served = [model.id for model in self._client.models.list().data]
        except OpenAIError as error:
            raise UserError(f"the server {self.address} names no model: {error}") from None
        if len(served) != 1:
            raise UserError(
                f"{self.address} serves {', '.join(served[:10]) or 'no model'}: name one with"
                " --teacher-model"
            )
        return served[0]


def _without_bounds(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {k: _without_bounds(v) for k, v in schema.items() if k not in _BOUNDS}
    return [_without_bounds(v) for v in schema] if isinstance(schema, list) else schema
