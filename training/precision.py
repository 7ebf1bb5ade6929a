"""What arithmetic this machine is fast in."""

from typing import Any

import torch


def bf16_is_fast() -> bool:
    """Whether this machine multiplies bf16 matrices in hardware (GPU, or CPU with AVX512-BF16)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def set_fast_attention(model: Any, *, bf16: bool) -> None:
    """Have ``model`` (of transformers) use the attention that is fast here; on GPUs, its own."""
    if not torch.cuda.is_available():
        model.set_attn_implementation(_attention_on_cpu(bf16=bf16))


def attention_is_fused(*, bf16: bool, on_gpu: bool) -> bool:
    """Whether attention as of :func:`set_fast_attention` keeps no matrix of attention weights."""
    return on_gpu or _attention_on_cpu(bf16=bf16) == "sdpa"


def _attention_on_cpu(*, bf16: bool) -> str:
    """At list lengths the fused kernel takes half the time of plain matrix products in fp32, and a
    fifth more than they under autocast."""
    return "eager" if bf16 else "sdpa"
