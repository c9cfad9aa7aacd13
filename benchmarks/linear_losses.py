"""The softmax layer's loss in our chunks and tiles beside torch's own chunked one, time and memory."""

import ctypes
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks._measure import Spread
from benchmarks._report import Options, Result, Row, run
from recurlm.devices import bf16_is_fast, keep_freed_memory
from recurlm.kernels import linear_cross_entropy as loss_module
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from recurlm.kernels.native import has_bfloat16_tiles

Loss = Callable[[], Tensor]
SHAPES = [(tokens, hidden, 10_000) for tokens in (640, 2240) for hidden in (256, 650)]
LARGE = 200_000
SHAPES += [(640, 256, LARGE), (2240, 256, LARGE), (640, 650, LARGE)]
LOGITS_OF_REFERENCE = 10**8
"""With more the reference alone would need gigabytes."""
CLEAR_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def measure(options: Options) -> Result:
    """Milliseconds of forward and backward in turn, and the most memory that one call takes beyond its leaves."""
    keep_freed_memory()
    shapes = options.pick(SHAPES, SHAPES, [(16, 8, 50)])
    rows = []
    for precision in ("fp32", "bf16") if bf16_is_fast() else ("fp32",):
        for tokens, hidden, vocabulary in shapes:
            leaves, losses = _losses(precision, tokens, hidden, vocabulary)
            repeats = options.pick(31 if vocabulary < LARGE else 7, 7 if vocabulary < LARGE else 2, 2)
            rows += _rows(f"{precision}, N {tokens}, H {hidden}, V {vocabulary:,}", leaves, losses, repeats)
    return Result("linear losses", f"cpu, {torch.get_num_threads()} threads, median of calls in turn", rows)


def _losses(precision: str, tokens: int, hidden: int, vocabulary: int) -> tuple[list[Tensor], dict[str, Loss]]:
    """The leaves, and the sum of losses by each contestant."""
    torch.manual_seed(1)
    input = torch.randn(tokens, hidden).requires_grad_()
    weight = (torch.randn(vocabulary, hidden) / 10).requires_grad_()
    bias = torch.zeros(vocabulary).requires_grad_()
    target = torch.randint(vocabulary, (tokens,))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def chunks() -> Tensor:
        total, _ = loss_module._ChunkedLoss.apply(input, weight, bias, target, -100, dtype, True)
        return total

    def torch_s(**chunking: Any) -> Tensor:
        # the operation ignores autocast
        x, w, b = input.to(dtype), weight.to(dtype), bias.to(dtype)
        options = torch.nn.LinearCrossEntropyOptions(**chunking)
        return F.linear_cross_entropy(x, w, target, linear_bias=b, reduction="sum", options=options)

    def reference() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return linear_cross_entropy_reference(input, weight, bias, target)[0]

    def tiles() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return linear_cross_entropy(input, weight, bias, target)[0]

    found = {"chunks": chunks}
    if hasattr(F, "linear_cross_entropy"):
        rows = min(tokens, max(loss_module.CHUNK_BYTES // (vocabulary * dtype.itemsize), hidden))
        found["F.linear_cross_entropy"] = torch_s
        found["the same, chunks as ours"] = partial(torch_s, chunking_method=None, batch_chunk_size=rows)
    if tokens * vocabulary <= LOGITS_OF_REFERENCE:
        found["linear, cross_entropy"] = reference
    if precision == "bf16" and has_bfloat16_tiles():
        found["tiles"] = tiles
    return [input, weight, bias], found


def _rows(job: str, leaves: list[Tensor], losses: dict[str, Loss], repeats: int) -> list[Row]:
    times: dict[str, list[float]] = {name: [] for name in losses}
    memory: dict[str, float] = {}
    for number in range(2 + repeats):
        for name, loss in losses.items():
            for leaf in leaves:
                leaf.grad = None
            before = _clear_peak()
            start = time.perf_counter()
            loss().backward()
            if number >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
            memory[name] = max(memory.get(name, 0), _resident("VmHWM") - before)
    ours, *others = losses
    rows = [Row(job, name, Spread.of(values), "ms") for name, values in times.items()]
    for other in others:
        # a call is too short for ratios round by round
        ratio = Spread.of([statistics.median(times[other]) / statistics.median(times[ours])])
        rows.append(Row(job, ours, Spread.of(times[ours]), "ms", other, ratio))
    return rows + [Row(f"{job}: memory", name, Spread.of([used]), "MB") for name, used in memory.items()]


def _clear_peak() -> float:
    """Forgets the peak so far and the memory that is freed but kept; returns the megabytes in use."""
    if CLEAR_PEAK.exists():
        getattr(ctypes.CDLL(None), "malloc_trim", lambda kept: None)(0)
        CLEAR_PEAK.write_text("5")
    return _resident("VmRSS")


def _resident(field: str) -> float:
    """Megabytes of the process's status; 0 where the system has none."""
    if not STATUS.exists():
        return 0.0
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1000


def main() -> None:
    """Print and record it."""
    run("linear-losses", __doc__, measure)


if __name__ == "__main__":
    main()
