"""vLLM, in a process that ends with this one (:mod:`inference.engines.vllm_worker`)."""

import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from aigq.settings import UserError
from inference.engines import Completion, Decoder, EngineUnavailable, Request, Sampling

WORKER = "inference.engines.vllm_worker"
_START_SECONDS = 300.0


class VllmEngine:
    """vLLM with whole-prompt scheduling and prefix caching, in the checkpoint's own dtype.

    Raises :class:`EngineUnavailable` where vLLM is not installed or does not start.
    """

    name = "vllm"

    def __init__(self, checkpoint: Path, tokenizer: Any, *, max_length: int):
        if find_spec("vllm") is None:
            raise EngineUnavailable("it is not installed")
        click.echo("starting vLLM (half a minute)", err=True)
        self._decode = Decoder(tokenizer)
        # vLLM and its libraries write a page of warnings, some of it from C++.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._worker = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        overdue = threading.Event()

        def give_up() -> None:
            overdue.set()
            self._worker.kill()

        limit = threading.Timer(_START_SECONDS, give_up)
        limit.daemon = True
        limit.start()
        try:
            self._ask((checkpoint, max_length))
        except _WorkerEnded as end:
            self.close()
            late = f"it did not start within {_START_SECONDS:g} s"
            raise EngineUnavailable(late if overdue.is_set() else str(end)) from None
        finally:
            limit.cancel()

    def generate(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        schemas: Sequence[Mapping[str, Any]] | None = None,
    ) -> list[Completion]:
        """``schemas``: a JSON schema per request, which its completion is made to follow.

        Raises :class:`UserError` with the cause where vLLM ends meanwhile.
        """
        common = {"max_tokens": sampling.max_tokens, "stop_token_ids": [self._decode.eos]}
        drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k}
        parameters = [
            common | ({"temperature": 0.0} if r.seed is None else drawn | {"seed": r.seed})
            for r in requests
        ]
        for p, schema in zip(parameters, schemas or [], strict=bool(schemas)):
            p["json_schema"] = schema
        try:
            answers = self._ask(([r.prompt for r in requests], parameters))
        except _WorkerEnded as end:
            raise UserError(f"vLLM ended while it generated: {end}") from None
        return [self._decode(ids) for ids in answers]

    def close(self) -> None:
        self._end_worker()
        self._worker.stdout.close()
        self._log.close()

    def _ask(self, message: Any) -> Any:
        try:
            pickle.dump(message, self._worker.stdin)
            self._worker.stdin.flush()
            return pickle.load(self._worker.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise _WorkerEnded(self._cause(self._end_worker())) from None

    def _end_worker(self) -> int:
        """Close the worker's stdin, which ends it; returns its exit code."""
        # What is still buffered for a worker that is gone cannot be flushed.
        with suppress(BrokenPipeError):
            self._worker.stdin.close()
        return self._worker.wait()

    def _cause(self, code: int) -> str:
        """Why the worker ended, in one line: the signal, else the last exception in its log."""
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        self._log.seek(0)
        errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception): .+", self._log.read(), re.M)
        return errors[-1].strip()[:300] if errors else f"its process ended with code {code}"


class _WorkerEnded(RuntimeError):
    """The worker is gone; says why."""
