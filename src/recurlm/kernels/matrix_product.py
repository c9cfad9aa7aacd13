"""One matrix product, by the library that is quick at it."""

import functools

import torch
from torch import Tensor


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K) times b (K, M).

    In float32 on AMD's processors through oneDNN: the BLAS in torch's packages, MKL, leaves them half idle.
    """
    if a.device.type == "cpu" and a.dtype == torch.float32 and a.numel() and b.numel() and _prefers_onednn():
        if a.stride(0) == 1 < a.stride(1):  # oneDNN likes its first matrix by rows, so (b' a')'
            return _onednn(b.t(), a).t()
        return _onednn(a, b.t())
    return a @ b


def product_type(operand: Tensor) -> torch.dtype:
    """The type in which products are computed: autocast's where it is on for the operand's device, else its own."""
    device = operand.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else operand.dtype


def _onednn(input: Tensor, weight: Tensor) -> Tensor:
    linear = torch.ops.mkldnn._linear_pointwise
    return linear(_dense(input), _dense(weight), None, "none", [], "")  # type: ignore[no-any-return]


def _dense(matrix: Tensor) -> Tensor:
    """Without gaps between rows or columns, for which oneDNN would take a path a thousand times slower."""
    if matrix.is_contiguous() or matrix.t().is_contiguous():
        return matrix
    return matrix.t().contiguous().t() if matrix.stride(0) == 1 else matrix.contiguous()


@functools.cache
def _prefers_onednn() -> bool:
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return (
        "AMD" in str(capabilities.get("cpu_name"))
        and torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
