"""How much memory a training will take per GPU (or CPU process), before a weight is made.

The model is built from its real configuration class on torch's meta device, which has shapes and
no numbers. Weights, gradients and optimiser state are counted; activations are what autograd would
keep for the backward pass, found by running the real forward pass of one and of two layers there.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from training.parts import PAD_TO, Example, padded
from training.settings import TrainSettings

GIB = 2**30
# Which memory a training is short of.
MEMORY = "GPU memory" if torch.cuda.is_available() else "memory"


@dataclass(frozen=True)
class Batch:
    """A micro-batch: padded ``rows`` x ``width`` tokens, logits at the last ``predicted`` ones."""

    rows: int
    width: int
    predicted: int


@dataclass(frozen=True)
class Memory:
    """Bytes per process, by what holds them."""

    parameters: int
    trainable: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of them at the peak, which is when the backward pass begins."""
        return self.weights + self.gradients + self.optimizer + self.activations


def largest_batches(
    examples: Sequence[Example],
    plan: Sequence[Sequence[int]],
    *,
    accumulation: int,
    world: int,
    packed: bool,
) -> list[Batch]:
    """The micro-batches of ``plan`` that no other exceeds in all that memory grows with: tokens,
    pairs of tokens, and predicted ones, padding counted. One of them takes the most."""
    batches = set()
    for step in plan:
        for part in np.array_split(step, accumulation * world):
            found = [examples[i] for i in part]
            sizes = [len(e.input_ids) for e in found]
            if packed:
                targets = sum(e.target_tokens for e in found)
                batches.add(Batch(1, padded(sum(sizes)), targets))
            elif found:
                width = padded(max(sizes))
                first = min(e.target_start for e in found) // PAD_TO * PAD_TO
                batches.add(Batch(len(found), width, width - first))
    sizes = {b: np.array([b.width, b.width**2, b.predicted]) * b.rows for b in batches}
    return [
        batch
        for batch, size in sizes.items()
        if not any((other >= size).all() and (other > size).any() for other in sizes.values())
    ]


def peak_bytes() -> int:
    """The most this process has held so far: of a GPU's memory where there is one, else of the
    machine's, libraries and samples included."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    # Not getrusage, whose peak begins with that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def predict(
    config: Any,
    settings: TrainSettings,
    batches: Sequence[Batch],
    *,
    bf16: bool,
    world: int = 1,
    fused_attention: bool,
    lora: Any = None,
    weights_dtype: str = "float32",
) -> Memory:
    """The peak of a step with whichever of ``batches`` takes the most. ``lora``: a peft
    configuration where adapters are trained.

    ``fused_attention``: no matrix of attention weights is kept (any kernel but ``eager``).
    ``bf16``: autocast, which keeps bf16 copies of trained fp32 matrices during a step.
    """
    dtype = getattr(torch, weights_dtype)
    model = _on_meta(config, dtype)
    if lora is not None:
        from peft import get_peft_model

        with torch.device("meta"):
            model = get_peft_model(model, lora)
    parameters = list(model.parameters())
    trained = [p for p in parameters if p.requires_grad]
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    weights = sum(p.numel() * p.itemsize for p in parameters)
    if bf16:
        cast = [p for p in parameters if p.ndim > 1 and p.itemsize == 4 and id(p) not in tables]
        weights += sum(p.numel() * 2 for p in cast)
    trainable = sum(p.numel() for p in trained)
    gradients = sum(p.numel() * p.itemsize for p in trained)
    if world > 1:  # the buckets that processes exchange them in
        gradients *= 2
    matrices = sum(p.numel() for p in trained if p.ndim == 2 and id(p) not in tables)
    with_muon = matrices if settings.muon_learning_rate is not None else 0
    return Memory(
        parameters=sum(p.numel() for p in parameters),
        trainable=trainable,
        weights=weights,
        gradients=gradients,
        # AdamW keeps two numbers for each weight, Muon one.
        optimizer=4 * (2 * trainable - with_muon),
        activations=max(
            _activations(config, settings, batch, bf16, fused_attention) for batch in batches
        ),
    )


def _activations(
    config: Any, settings: TrainSettings, batch: Batch, bf16: bool, fused: bool
) -> int:
    dtype = torch.bfloat16 if bf16 else torch.float32
    one, two = (_kept(_of_layers(config, n), batch, dtype, fused) for n in (1, 2))
    layer, head = two - one, one - (two - one)
    config = config.get_text_config()
    count = config.num_hidden_layers
    if settings.gradient_checkpointing:  # each layer's input, and one layer at a time
        layers = count * batch.rows * batch.width * config.hidden_size * dtype.itemsize + layer
    else:
        layers = count * layer
    # The gradients of the logits, in fp32 and in the model's precision.
    logits = batch.rows * batch.predicted * config.vocab_size
    return head + layers + logits * (4 + (dtype.itemsize if bf16 else 0))


def _kept(config: Any, batch: Batch, dtype: torch.dtype, fused: bool) -> int:
    """Bytes that autograd keeps of a forward pass with loss, besides the weights."""
    of_text = config.get_text_config()
    sizes = {value for value in of_text.to_dict().values() if type(value) is int}
    sizes.add(getattr(of_text, "head_dim", 0) * of_text.num_attention_heads)
    while fused and batch.width in sizes:
        # Attention weights are told by their shape, which in a row as wide as a head queries have.
        batch = replace(batch, width=batch.width + PAD_TO)
    model = _on_meta(config, dtype).train()
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        is_attention = tensor.shape[-2:] == (batch.width, batch.width)
        if storage._cdata not in own and not (fused and is_attention):
            kept[storage._cdata] = storage  # held, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.zeros((batch.rows, batch.width), dtype=torch.long, device="meta")
        where = torch.arange(batch.width - batch.predicted, batch.width, device="meta")
        # A finished mask: making one looks at numbers.
        mask = torch.zeros((batch.rows, 1, batch.width, batch.width), dtype=dtype, device="meta")
        logits = model(
            input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=where
        ).logits
        F.cross_entropy(
            logits.float().flatten(0, 1),
            torch.zeros(batch.rows * batch.predicted, dtype=torch.long, device="meta"),
            reduction="sum",
        )
    return sum(storage.nbytes() for storage in kept.values())


def _of_layers(config: Any, count: int) -> Any:
    config = copy.deepcopy(config)
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    return config


def _on_meta(config: Any, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    config = copy.deepcopy(config)
    if getattr(config, "num_experts", None):
        # One product over all experts, as GPUs compute it; a loop over experts looks at numbers.
        config._experts_implementation = "grouped_mm"
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
