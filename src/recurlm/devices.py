"""Where to compute, in which number type, and with which operations. Each operation is tried on this machine.

A library may contain an operation that this processor cannot run. Environment variables such as ONEDNN_MAX_CPU_ISA and
ATEN_CPU_CAPABILITY hide parts of a processor from some libraries and not from others. Processor flags therefore do not
tell what runs. `runs` tries one small operation of each kind once and keeps the answer.
"""

import ctypes
import functools
import platform
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch

from recurlm.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda")
LARGEST_KEPT_BLOCK = 32 << 20
"""The largest threshold that glibc allows, in bytes."""


Operation = Literal["lstm fp32", "lstm bf16", "product bf16", "onednn product fp32"]
"""The operations that `runs` can try. It tries an LSTM forward, forward for training, and backward."""


@functools.cache
def runs(operation: Operation) -> bool:
    """Whether torch computes this operation on this CPU. Tries it once with small tensors."""
    try:
        _TRIALS[operation]()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True


def _try_lstm(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = (32, 8), (32, 8), (32,), (32,)
    weights = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    input, state = torch.ones(2, 3, 8), (torch.zeros(1, 3, 8), torch.zeros(1, 3, 8))
    # the first caller may be inside no_grad or autocast
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        for learning in (False, True):
            with torch.set_grad_enabled(learning):
                output = torch.lstm(input, state, weights, True, 1, 0.0, learning, False, False)[0]
    with torch.enable_grad():
        torch.autograd.grad(output.float().sum(), weights)


def _try_bf16_product() -> None:
    torch.ones(8, 8, dtype=torch.bfloat16) @ torch.ones(8, 8, dtype=torch.bfloat16)


def _try_onednn_product() -> None:
    matrix = torch.ones(8, 8)
    torch.ops.mkldnn._linear_pointwise(matrix, matrix, None, "none", [], "")


_TRIALS: Mapping[Operation, Callable[[], None]] = {
    "lstm fp32": functools.partial(_try_lstm, torch.float32),
    "lstm bf16": functools.partial(_try_lstm, torch.bfloat16),
    "product bf16": _try_bf16_product,
    "onednn product fp32": _try_onednn_product,
}


@functools.cache
def bf16_is_fast() -> bool:
    """Whether torch multiplies bfloat16 matrices in this processor's bfloat16 units (AMX or AVX-512 BF16).

    Without these units, or if torch may not use them, a bfloat16 product takes several times as long as a float32 one.
    """
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    there = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return bool(there) and runs("product bf16") and _products_flush_denormals()


def _products_flush_denormals() -> bool:
    """Whether products use the bfloat16 units: they flush denormal products to zero, float32 arithmetic keeps them.

    Source: Intel 64 and IA-32 Architectures Software Developer's Manual, VDPBF16PS and TDPBF16PS.
    """
    tiny = torch.full((64, 64), 2.0**-66).bfloat16()
    return not bool((tiny @ tiny).any())


@functools.cache
def prefers_onednn_products() -> bool:
    """Whether float32 products should use oneDNN: torch's own BLAS, MKL, leaves half of an AMD processor idle."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return "AMD" in str(capabilities.get("cpu_name")) and mkl and runs("onednn product fp32")


def processor_name() -> str:
    """The system's name for the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    told = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return told or str(capabilities.get("cpu_name") or platform.processor() or platform.machine())


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step. Other systems are not changed.

    Each step frees and allocates the same blocks. Returning them to the system costs page faults, about a tenth of a
    training step on a CPU. The largest blocks are still returned: if kept, they would be split, and the next large
    block would need new memory on top.
    """
    trim_threshold, mmap_threshold = -1, -3
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, LARGEST_KEPT_BLOCK)


def return_freed_memory() -> None:
    """Makes glibc return to the system what it kept of freed memory, in a process that goes on with other work."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of glibc; None on systems that have another library."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def resolve_device(name: str) -> torch.device:
    """The device for a name in `DEVICES`. Raises UsageError for other names, and for CUDA without a CUDA device."""
    if name not in DEVICES:
        raise UsageError(f"--device {name}: must be one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device found; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """fp32 or bf16 for a name in `PRECISIONS`. Raises UsageError for other names."""
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: must be one of {', '.join(PRECISIONS)}")
    if name != "auto":
        return name
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else bf16_is_fast()
    return "bf16" if fast else "fp32"


def slower_than_fp32(precision: str, device: torch.device) -> str | None:
    """A remark for a user whose choice of bf16 costs time on this device; None where bf16 is fast."""
    if precision == "bf16" and device.type == "cpu" and not bf16_is_fast():
        return "bf16 is slower than fp32 on this processor, which does not multiply bfloat16 in hardware"
    return None


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """A context in which matrix products use bfloat16 if `precision` is bf16. Weights and sums stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
