"""An OpenAI-compatible completions server, for example ``vllm serve`` on another machine."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aigq.settings import UserError
from inference.engines import Completion, Decoder, Request, Sampling
from inference.openai_client import open_client

_CONCURRENT = 64


class ServerEngine:
    """Sends prompts as token ids, so the server must serve the same checkpoint, and say so: by the
    model's id, or its ``root``.

    ``address`` and what is tried again: see :func:`open_client`; an error that remains is a
    :class:`UserError` naming the server.
    """

    def __init__(self, address: str, checkpoint: Path, tokenizer: Any):
        self._client, self.name = open_client(address)
        self._decode = Decoder(tokenizer)
        self._model = self._served(checkpoint)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        with ThreadPoolExecutor(_CONCURRENT) as pool:
            return list(pool.map(lambda request: self._complete(request, sampling), requests))

    def close(self) -> None:
        self._client.close()

    def _complete(self, request: Request, sampling: Sampling) -> Completion:
        # Not in OpenAI's own API; vLLM and SGLang know them. Without it a list that holds special
        # tokens would come back as one that does not.
        extra: dict[str, Any] = {"skip_special_tokens": False}
        drawn: dict[str, Any] = {"temperature": 0.0}
        if request.seed is not None:
            drawn = {"temperature": sampling.temperature, "seed": request.seed}
            extra["top_k"] = sampling.top_k
        answer = self._call(
            lambda: self._client.completions.create(
                model=self._model,
                prompt=list(request.prompt),
                max_tokens=sampling.max_tokens,
                extra_body=extra,
                **drawn,
            )
        )
        if not answer.choices:
            raise UserError(
                f"the server {self.name} answered without a completion: {answer.model_dump_json()}"
            )
        choice = answer.choices[0]
        tokens = answer.usage.completion_tokens if answer.usage else None
        finished = choice.finish_reason == "stop"
        return self._decode.from_text(choice.text, finished=finished, tokens=tokens)

    def _served(self, checkpoint: Path) -> str:
        """The server's name for the checkpoint; any other would read the token ids as nonsense."""
        served = self._call(lambda: self._client.models.list().data)
        version, name = checkpoint.name, checkpoint.parent.name
        for wanted in (str(checkpoint), f"{name}@{version}", name):
            for model in served:
                # vLLM's `root` is the path it was started with.
                if wanted in (model.id, getattr(model, "root", None)):
                    return model.id
        raise UserError(
            f"{self.name} serves {', '.join(m.id for m in served) or 'no model'}, not"
            f" {name}@{version}: start it with"
            f" `vllm serve {checkpoint} --served-model-name {name}@{version}`"
        )

    def _call(self, request):
        from openai import OpenAIError

        try:
            return request()
        except OpenAIError as error:
            raise UserError(f"the server {self.name} did not answer as expected: {error}") from None
