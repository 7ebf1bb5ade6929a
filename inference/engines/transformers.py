"""Batched ``generate`` of transformers, on a GPU where there is one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inference.engines import Completion, Decoder, Request, Sampling

# Prompt and completion tokens of one batch, padding counted.
_BATCH_TOKENS = 32_768


class TransformersEngine:
    """The checkpoint in its own dtype; prompts padded on the left, batches of similar length."""

    name = "transformers"

    def __init__(self, checkpoint: Path, tokenizer: Any):
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto")
        self._model.eval().to(self._device)
        self._decode = Decoder(tokenizer)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion]:
        found: dict[int, Completion] = {}
        for batch in _batches(requests, sampling.max_tokens):
            for index, ids in zip(
                batch, self._batch([requests[i] for i in batch], sampling), strict=True
            ):
                found[index] = self._decode(ids)
        return [found[index] for index in range(len(requests))]

    def close(self) -> None:
        self._model = None

    def _batch(self, requests: list[Request], sampling: Sampling) -> list[list[int]]:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        width = max(len(r.prompt) for r in requests)
        # Padding is masked, so any token will do for it.
        pad = self._decode.eos
        ids = torch.full((len(requests), width), pad, device=self._device)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(requests):
            start = width - len(request.prompt)
            ids[row, start:] = torch.tensor(request.prompt, device=self._device)
            mask[row, start:] = 1
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                logits_processor=LogitsProcessorList(
                    [_perturbed([r.seed for r in requests], sampling)]
                ),
                # Its own: the checkpoint's may sample.
                generation_config=GenerationConfig(
                    max_new_tokens=sampling.max_tokens,
                    do_sample=False,
                    eos_token_id=self._decode.eos,
                    pad_token_id=pad,
                ),
            )
        return output[:, width:].tolist()


def _batches(requests: Sequence[Request], max_tokens: int) -> Iterator[list[int]]:
    """Indices of requests in batches under the token budget, longest prompts first."""
    order = sorted(range(len(requests)), key=lambda i: -len(requests[i].prompt))
    batch: list[int] = []
    for index in order:
        width = len(requests[batch[0]].prompt if batch else requests[index].prompt) + max_tokens
        if batch and (len(batch) + 1) * width > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _perturbed(seeds: list[int | None], sampling: Sampling):
    """Turns greedy decoding of the rows with a seed into sampling (Gumbel-max trick).

    argmax(logits / T + Gumbel noise) over the top k is a draw from their softmax. The noise of a
    row comes from a generator of its own, so it does not depend on the rest of the batch.
    """
    import torch

    rows = [row for row, seed in enumerate(seeds) if seed is not None]
    generators = [torch.Generator().manual_seed(seeds[row]) for row in rows]

    def process(_input_ids, scores):
        if not rows:
            return scores
        k = min(sampling.top_k, scores.shape[-1])
        values, tokens = scores[rows].float().topk(k, dim=-1)
        uniform = torch.stack([torch.rand(k, generator=g, dtype=torch.float64) for g in generators])
        noise = -torch.log(-torch.log(uniform.clamp_min(1e-300)))
        winner = (values.double() / sampling.temperature + noise.to(values.device)).argmax(-1)
        scores = scores.clone()
        scores[rows, tokens.gather(-1, winner[:, None])[:, 0]] = torch.inf
        return scores

    return process
