"""Where to compute and in which type: detected, not assumed."""

import ctypes
import sys
from contextlib import AbstractContextManager

import torch

from recurlm.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")
LARGEST_KEPT_BLOCK = 32 << 20
"""glibc allows no more."""


def bf16_is_fast() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware (AMX or AVX-512 BF16)."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next step instead of handing it back; elsewhere nothing happens.

    Each step frees and wants the same blocks, and fetching them anew costs page faults: about a tenth of a training
    step on a CPU. The largest blocks are handed back all the same: kept, they would be split, and the next one of
    their size would come on top.
    """
    trim_threshold, mmap_threshold = -1, -3
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, LARGEST_KEPT_BLOCK)


def resolve_device(name: str) -> torch.device:
    """The device for a name of `DEVICES`. Raises UsageError for others and for CUDA where there is none."""
    if name not in DEVICES:
        raise UsageError(f"--device {name}: must be one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is to be seen here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32 or bf16 for a name of `PRECISIONS`. Raises UsageError for others."""
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: must be one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else bf16_is_fast()
    return "bf16" if fast else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in bfloat16 where the precision says so; weights and sums stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
