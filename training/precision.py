"""What arithmetic this machine is fast in."""

import torch


def bf16_is_fast() -> bool:
    """Whether this machine multiplies bf16 matrices in hardware (GPU, or CPU with AVX512-BF16)."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
