"""vLLM in processes of this machine."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from inference.engines import Completion, Decoder, EngineUnavailable, Request, Sampling

_CPU_ENVIRONMENT = {
    # GiB; a small model's 256 concurrent requests need less.
    "VLLM_CPU_KVCACHE_SPACE": "2",
}
_ENVIRONMENT = {
    # A fork would inherit the locks of DuckDB's and torch's threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class VllmEngine:
    """vLLM with whole-prompt scheduling and prefix caching, in the checkpoint's own dtype.

    Raises :class:`EngineUnavailable` where vLLM cannot be imported or its processes do not start.
    """

    name = "vllm"

    def __init__(self, checkpoint: Path, tokenizer: Any, *, max_length: int):
        self._decode = Decoder(tokenizer)
        click.echo("starting vLLM (half a minute)", err=True)
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        with _output_to_file() as log:
            try:
                self._llm = _start(checkpoint, max_length)
            # Whatever it is, the caller can go on without vLLM.
            except Exception as error:
                raise EngineUnavailable(_cause(error, log)) from error

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        from vllm import SamplingParams

        common = {
            "max_tokens": sampling.max_tokens,
            "stop_token_ids": [self._decode.eos],
            "detokenize": False,
        }
        outputs = self._llm.generate(
            [{"prompt_token_ids": list(r.prompt)} for r in requests],
            [
                SamplingParams(temperature=0.0, **common)
                if r.seed is None
                else SamplingParams(
                    temperature=sampling.temperature, top_k=sampling.top_k, seed=r.seed, **common
                )
                for r in requests
            ],
            use_tqdm=False,
        )
        return [self._decode(o.outputs[0].token_ids) for o in outputs]

    def close(self) -> None:
        with _output_to_file():
            self._llm.llm_engine.engine_core.shutdown()
        self._llm = None


def _start(checkpoint: Path, max_length: int) -> Any:
    import torch
    from transformers import AutoConfig

    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        for key, value in _CPU_ENVIRONMENT.items():
            os.environ.setdefault(key, value)
    from vllm import LLM

    # vLLM's "auto" would turn fp32 checkpoints into half precision.
    dtype = AutoConfig.from_pretrained(checkpoint).dtype or torch.float32
    return LLM(
        model=str(checkpoint),
        dtype=dtype,
        max_model_len=max_length,
        max_num_batched_tokens=max(8192, max_length),
        # With chunks of prompts, a request with a seed ends the CPU engine ("CPU Generator does
        # not use offset", 0.32).
        enable_chunked_prefill=False,
        enable_prefix_caching=True,
        # Compiling takes longer than it saves on models that a CPU can run.
        enforce_eager=on_cpu,
        # The checkpoint's sampling defaults are not ours.
        generation_config="vllm",
        disable_log_stats=True,
    )


@contextmanager
def _output_to_file() -> Iterator[Any]:
    """Send file descriptors 1 and 2 to a temporary file: vLLM's processes inherit them and keep
    writing there, while this process gets its own back."""
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        saved = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in saved:
                os.dup2(log.fileno(), number)
            yield log
        finally:
            for number, copy in saved:
                os.dup2(copy, number)
                os.close(copy)


def _cause(error: Exception, log: Any) -> str:
    """One line on why the start failed: the first error in the log, else the exception's own."""
    log.seek(0)
    for line in log:
        # The engine's process says it first, e.g. "(EngineCore pid=9) ERROR ...] ValueError: ...".
        found = re.search(r"\b(\w*(?:Error|Exception): .+)", line)
        if found:
            return found[1].strip()[:300]
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
