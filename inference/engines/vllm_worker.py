"""The process that holds vLLM: requests come in on stdin, completions go out on stdout, pickled.

A process of its own because vLLM looks into every module that is loaded and stumbles over Feast's,
and because a processor that it cannot use ends it. It ends with the job, also with one that is
killed: then stdin ends. (The processes that vLLM would start by itself outlive a killed job.)
"""

import os
import pickle
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    # GiB, on the CPU; a small model's 256 concurrent requests need less.
    "VLLM_CPU_KVCACHE_SPACE": "2",
}


def main() -> None:
    # Results have the descriptor to themselves: whatever else writes to stdout goes to the log.
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(inbox,), daemon=True).start()
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    llm = _start(*inbox.get())
    _send(results, "ready")
    while True:
        _send(results, _generate(llm, *inbox.get()))


def _receive(inbox: queue.SimpleQueue) -> None:
    try:
        while True:
            inbox.put(pickle.load(sys.stdin.buffer))
    finally:
        # Whatever the end looks like: a job killed while it wrote leaves half a message.
        os._exit(0)


def _send(results: Any, value: Any) -> None:
    pickle.dump(value, results)
    results.flush()


def _start(checkpoint: Path, max_length: int) -> Any:
    import torch
    from transformers import AutoConfig
    from vllm import LLM

    return LLM(
        model=str(checkpoint),
        # "auto" would turn fp32 checkpoints into half precision.
        dtype=AutoConfig.from_pretrained(checkpoint).dtype or torch.float32,
        max_model_len=max_length,
        max_num_batched_tokens=max(8192, max_length),
        # With prompts cut in chunks, a request with a seed ends the CPU engine ("CPU Generator
        # does not use offset", 0.32).
        enable_chunked_prefill=False,
        enable_prefix_caching=True,
        # Compiling takes longer than it saves on models that a CPU can run.
        enforce_eager=not torch.cuda.is_available(),
        # The checkpoint's sampling defaults are not ours.
        generation_config="vllm",
        # White space between fields is all that a JSON schema cannot bound.
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        disable_log_stats=True,
    )


def _generate(
    llm: Any, prompts: Sequence[Sequence[int]], parameters: Sequence[Mapping[str, Any]]
) -> list[list[int]]:
    outputs = llm.generate(
        [{"prompt_token_ids": list(prompt)} for prompt in prompts],
        [_sampling(**p) for p in parameters],
        use_tqdm=False,
    )
    return [list(output.outputs[0].token_ids) for output in outputs]


def _sampling(json_schema: Mapping[str, Any] | None = None, **parameters: Any) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    guided = StructuredOutputsParams(json=dict(json_schema)) if json_schema else None
    return SamplingParams(**parameters, structured_outputs=guided, detokenize=False)


if __name__ == "__main__":
    main()
