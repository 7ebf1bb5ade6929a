"""An OpenAI-compatible completions server, for example ``vllm serve`` on another machine."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from aigq.settings import UserError
from inference.engines import Completion, Request, Sampling

_CONCURRENT = 64
_RETRIES = 4
_TIMEOUT_SECONDS = 300.0


class ServerEngine:
    """Sends prompts as token ids, so the server must serve the same checkpoint.

    ``address``: with or without ``/v1``. The key is read from ``OPENAI_API_KEY``. Connection
    errors, timeouts, 408, 409, 429 and 5xx are tried again with back-off; what remains is a
    :class:`UserError` naming the server.
    """

    def __init__(self, address: str, checkpoint: Path):
        from openai import OpenAI

        if urlsplit(address).path in ("", "/"):
            address = address.rstrip("/") + "/v1"
        self.name = address
        self._client = OpenAI(
            base_url=address,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=_RETRIES,
            timeout=_TIMEOUT_SECONDS,
        )
        self._model = self._served(checkpoint)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        with ThreadPoolExecutor(_CONCURRENT) as pool:
            return list(pool.map(lambda request: self._complete(request, sampling), requests))

    def close(self) -> None:
        self._client.close()

    def _complete(self, request: Request, sampling: Sampling) -> Completion:
        drawn = {"temperature": 0.0}
        if request.seed is not None:
            drawn = {
                "temperature": sampling.temperature,
                "seed": request.seed,
                # Not in OpenAI's own API; vLLM, SGLang and llama.cpp know it.
                "extra_body": {"top_k": sampling.top_k},
            }
        answer = self._call(
            lambda: self._client.completions.create(
                model=self._model,
                prompt=list(request.prompt),
                max_tokens=sampling.max_tokens,
                **drawn,
            )
        )
        choice = answer.choices[0]
        tokens = answer.usage.completion_tokens if answer.usage else None
        return Completion(choice.text, choice.finish_reason == "stop", tokens)

    def _served(self, checkpoint: Path) -> str:
        """The server's name for the checkpoint: its path, name or name@version, or its only one."""
        served = [model.id for model in self._call(lambda: self._client.models.list().data)]
        version, name = checkpoint.name, checkpoint.parent.name
        for wanted in (str(checkpoint), f"{name}@{version}", name):
            if wanted in served:
                return wanted
        if len(served) == 1:
            return served[0]
        raise UserError(
            f"{self.name} serves {', '.join(served) or 'no model'}; expected one model, or one"
            f" called {name}@{version} or {name}"
        )

    def _call(self, request):
        from openai import OpenAIError

        try:
            return request()
        except OpenAIError as error:
            raise UserError(f"the server {self.name} did not answer as expected: {error}") from None
