"""One matrix product, through the library that computes it fastest."""

import torch
from torch import Tensor

from recurlm.devices import bf16_is_fast, prefers_onednn_products
from recurlm.kernels.torch_private import onednn_linear


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """a (N, K) times b (K, M).

    Float32 products on AMD processors go through oneDNN. On a processor without bfloat16 units, bfloat16 matrices are
    widened to float32: the sums are the same, and torch's bfloat16 product takes up to fifty times as long.
    """
    if a.device.type != "cpu" or not a.numel() or not b.numel():
        return a @ b
    if a.dtype == torch.bfloat16 and not bf16_is_fast():
        return matrix_product(a.float(), b.float()).to(a.dtype)
    if a.dtype == torch.float32 and prefers_onednn_products():
        if a.stride(0) == 1 < a.stride(1):  # oneDNN prefers a row-major first matrix, so compute (b' a')'
            return _onednn(b.t(), a).t()
        return _onednn(a, b.t())
    return a @ b


def product_type(operand: Tensor) -> torch.dtype:
    """The type of matrix products: autocast's where it is on for the operand's device, else the operand's own."""
    device = operand.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else operand.dtype


def _onednn(input: Tensor, weight: Tensor) -> Tensor:
    return onednn_linear(_dense(input), _dense(weight))


def _dense(matrix: Tensor) -> Tensor:
    """A matrix without gaps between rows or columns; with gaps oneDNN takes a path a thousand times slower."""
    if matrix.is_contiguous() or matrix.t().is_contiguous():
        return matrix
    return matrix.t().contiguous().t() if matrix.stride(0) == 1 else matrix.contiguous()
