"""The elementwise part of the softmax layer, in place: from logits to losses and errors.

loss = log sum_v exp(l_v) - l_t     error_v = exp(l_v) / sum_u exp(l_u) - [v = t]     l = logits + bias
"""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from recurlm.kernels.native import native_library

SoftmaxLoss = Callable[[Tensor, Tensor | None, Tensor, bool], tuple[Tensor, Tensor | None]]
NATIVE_NAMES = {torch.float32: "recurlm_softmax_loss_float32", torch.bfloat16: "recurlm_softmax_loss_bfloat16"}
PARAMETERS = [*[ctypes.c_void_p] * 5, *[ctypes.c_int64] * 3, ctypes.c_int32]


def softmax_loss(logits: Tensor, bias: Tensor | None, target: Tensor, gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Losses (N,) in nats of logits (N, V) plus bias (V,) for targets (N,), in float32 or wider.

    With `gradient`, the errors overwrite the logits, and with a bias the second result is their sum over positions
    (V,). Raises IndexError or RuntimeError for a target outside the columns.
    """
    native = logits.device.type == "cpu" and logits.dtype in NATIVE_NAMES and native_library() is not None
    implementation: SoftmaxLoss = softmax_loss_native if native else softmax_loss_plain
    return implementation(logits, bias, target, gradient)


def softmax_loss_plain(
    logits: Tensor, bias: Tensor | None, target: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The plain reference, for any device and type."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if bias is not None:
        wide = wide + bias
    correct = target[:, None]
    log_total = wide.logsumexp(1, keepdim=True)
    losses = (log_total - wide.gather(1, correct))[:, 0]
    if not gradient:
        return losses, None
    error = (wide - log_total).exp_()
    error.scatter_add_(1, correct, error.new_full(correct.shape, -1.0))
    logits.copy_(error)
    return losses, None if bias is None else error.sum(0)


def masked_softmax_loss(
    logits: Tensor, bias: Tensor | None, target: Tensor, gradient: bool, real: Tensor
) -> tuple[Tensor, Tensor | None]:
    """As `softmax_loss` where `real` (N,) is true; elsewhere losses and errors are zero for any target.

    It suits a GPU: few passes over the logits, and the host never waits for the device.
    """
    wide_type = torch.promote_types(logits.dtype, torch.float32)
    wide = logits.to(wide_type) if bias is None else logits + bias.to(wide_type)
    masked = ~real
    correct = target.masked_fill(masked, 0)[:, None]
    log_probabilities = wide.log_softmax(1)
    log_correct = log_probabilities.gather(1, correct)
    losses = -log_correct[:, 0].masked_fill(masked, 0)
    if not gradient:
        return losses, None
    torch.exp(log_probabilities, out=logits)
    logits.scatter_(1, correct, log_correct.expm1().to(logits.dtype))
    logits.masked_fill_(masked[:, None], 0)
    return losses, None if bias is None else logits.sum(0, dtype=losses.dtype)


def softmax_loss_native(
    logits: Tensor, bias: Tensor | None, target: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """The C++ version for contiguous float32 and bfloat16 on the CPU; each row stays in cache."""
    function = getattr(native_library(), NATIVE_NAMES[logits.dtype])
    function.argtypes, function.restype = PARAMETERS, None
    rows, size = logits.shape
    if rows and not 0 <= int(target.min()) <= int(target.max()) < size:
        raise IndexError(f"targets must lie between 0 and {size - 1}")
    parts = max(1, min(torch.get_num_threads(), rows))
    bias = None if bias is None else bias.to(torch.float32).contiguous()
    target = target.to(torch.int64).contiguous()
    losses = torch.empty(rows)
    grad_bias = torch.zeros(parts, size) if gradient and bias is not None else None
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in (logits, bias, target, losses, grad_bias)]
    function(*pointers, rows, size, parts, gradient)
    return losses, None if grad_bias is None else grad_bias.sum(0)
