"""The softmax layer and its loss in one operation that never holds all the logits.

L = sum over n of log sum_v exp(w_v . x_n + b_v) - (w_t(n) . x_n + b_t(n))

The gradient of a position follows from its logits alone: p - onehot. So the forward pass computes the gradients of a
chunk of positions as soon as it has their logits, and then drops the logits.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recurlm.kernels.matrix_product import matrix_product, product_type
from recurlm.kernels.native import call, has_bfloat16_tiles, with_slack
from recurlm.kernels.softmax_loss import masked_softmax_loss, softmax_loss
from recurlm.kernels.torch_private import graph_is_kept

IGNORED = -100
"""The target whose position is left out of the loss, as `torch.nn.functional.cross_entropy` has it."""
CHUNK_BYTES = 24 << 20
"""Most bytes of logits in a chunk of positions."""
BLOCK_ELEMENTS = 1 << 23
"""Most elements of a block of the weight's rows."""


def linear_cross_entropy_reference(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignored: int = IGNORED,
    *,
    skip_ignored: bool = True,
) -> tuple[Tensor, Tensor]:
    """The plain reference, which computes all logits at once and so skips nothing.

    input (N, H), weight (V, H), bias (V,) or None, target (N,) ids. Returns the sum of losses in nats, differentiable,
    and the losses (N,), not differentiable, zero where the target is `ignored`.
    """
    losses = F.cross_entropy(F.linear(input, weight, bias), target, reduction="none", ignore_index=ignored)
    return losses.sum(), losses.detach()


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignored: int = IGNORED,
    *,
    skip_ignored: bool = True,
) -> tuple[Tensor, Tensor]:
    """Same arguments and results as the reference; products in autocast's type where it is on, sums in float32.

    With `skip_ignored`, ignored positions cost no work, but the host waits for the device to count them. Without it,
    they are computed and contribute zero: all shapes follow from the shapes of the arguments and the host never
    waits, which a CUDA graph requires.
    """
    device, dtype = input.device.type, product_type(input)
    if not torch.is_grad_enabled():
        # inside the function, `needs_input_grad` does not reflect no_grad
        input, weight, bias = input.detach(), weight.detach(), None if bias is None else bias.detach()
    tiled = skip_ignored and device == "cpu" and dtype == torch.bfloat16 and weight.dtype == torch.float32
    loss = _TiledLoss if loss_in_tiles(tiled) else _ChunkedLoss
    with torch.autocast(device, enabled=False):
        total, losses = loss.apply(input, weight, bias, target, ignored, dtype, skip_ignored)  # type: ignore[no-untyped-call]
    return total, losses


def loss_in_tiles(bf16: bool) -> bool:
    """Whether a loss in this precision is computed in the native library's tiles on this CPU."""
    return bf16 and has_bfloat16_tiles()


class _Gradients:
    """Gradients in float32 or wider of the arguments that need one; None for the others."""

    def __init__(self, ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, wide: torch.dtype) -> None:
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        self.input = torch.zeros_like(input, dtype=wide) if needs_input else None
        self.weight = torch.empty_like(weight, dtype=wide) if needs_weight else None
        self.bias = torch.empty_like(bias, dtype=wide) if needs_bias and bias is not None else None

    def add_weight(self, number: int, error: Tensor, x: Tensor, blocks: Sequence[slice]) -> None:
        """Adds the part of chunk `number`, whose errors are (n, V) and whose inputs are (n, H)."""
        if self.weight is not None:
            for block in blocks:
                _put(number, self.weight[block], matrix_product(error[:, block].t(), x))

    def add_bias(self, number: int, part: Tensor | None) -> None:
        """Adds the part (V,) of chunk `number`."""
        if self.bias is not None and part is not None:
            _put(number, self.bias, part)


def _put(number: int, total: Tensor, part: Tensor) -> None:
    """Adds to a total; the first part is copied, so the total may start uninitialized."""
    put = Tensor.add_ if number else Tensor.copy_
    put(total, part)


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        ignored: int,
        dtype: torch.dtype,
        skip_ignored: bool,
    ) -> tuple[Tensor, Tensor]:
        """Chunk by chunk of positions. Autograd passes every tensor as an argument of its own, so there are many."""
        wide = torch.promote_types(input.dtype, torch.float32)
        losses = input.new_zeros(len(input), dtype=wide)
        gradients = _Gradients(ctx, input, weight, bias, wide)
        needs_gradient = any(ctx.needs_input_grad)
        blocks = _weight_blocks(weight)
        if len(blocks) == 1:
            weight = weight.to(dtype)
        real = target != ignored
        for number, chunk in enumerate(_position_chunks(real, weight, dtype, skip_ignored)):
            x = input[chunk].to(dtype)
            error = _logits(x, weight, blocks)  # logits, until the loss overwrites them with errors
            if skip_ignored:
                losses[chunk], bias_part = softmax_loss(error, bias, target[chunk], needs_gradient)
            else:
                losses[chunk], bias_part = masked_softmax_loss(error, bias, target[chunk], needs_gradient, real[chunk])
            if gradients.input is not None:
                gradients.input[chunk] = _grad_input(error, weight, blocks, wide)
            gradients.add_weight(number, error, x, blocks)
            gradients.add_bias(number, bias_part)
        ctx.mark_non_differentiable(losses)
        ctx.save_for_backward(gradients.input, gradients.weight, gradients.bias)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *scaled_gradients(ctx, grad_total), None, None, None, None


class _TiledLoss(torch.autograd.Function):
    """All positions at once in the native library, which takes a block of words through all products in cache."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        ignored: int,
        dtype: torch.dtype,
        skip_ignored: bool,
    ) -> tuple[Tensor, Tensor]:
        """The arguments of `_ChunkedLoss`, which this class replaces: autograd passes every tensor on its own."""
        positions = (target != ignored).nonzero()[:, 0]
        real, (words, inputs) = len(positions), weight.shape
        targets = _checked(target[positions].contiguous(), words)
        x = with_slack(real, inputs)
        x.copy_(input if real == len(input) else input[positions])
        found = torch.zeros(real)
        shapes = (real, inputs), weight.shape, (words,)
        wanted = [
            tensor is not None and needs
            for tensor, needs in zip((input, weight, bias), ctx.needs_input_grad, strict=False)
        ]
        gradients = [torch.empty(shape) if is_wanted else None for is_wanted, shape in zip(wanted, shapes, strict=True)]
        bias = None if bias is None else bias.float().contiguous()
        tensors = [x, weight.contiguous(), bias, targets, found, *gradients]
        call("recurlm_linear_cross_entropy", tensors, [real, inputs, words])
        losses = input.new_zeros(len(input), dtype=torch.float32)
        losses[positions] = found
        if gradients[0] is not None and real < len(input):
            gradients[0] = torch.zeros(input.shape).index_copy_(0, positions, gradients[0])
        ctx.mark_non_differentiable(losses)
        ctx.save_for_backward(*gradients)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *scaled_gradients(ctx, grad_total), None, None, None, None


def scaled_gradients(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients that forward saved, each or None, times the gradient of the total.

    They are scaled in place unless another backward pass may follow.
    """
    scale = torch.mul if graph_is_kept() else Tensor.mul_
    return tuple(None if gradient is None else scale(gradient, grad_total) for gradient in ctx.saved_tensors)


def _checked(targets: Tensor, words: int) -> Tensor:
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < words:
        raise IndexError(f"targets must lie between 0 and {words - 1}")
    return targets


def _position_chunks(real: Tensor, weight: Tensor, dtype: torch.dtype, skip_ignored: bool) -> Sequence[Tensor | slice]:
    """Equal groups of positions, few enough for small logits, yet enough to pay for reading all the weights again."""
    vocabulary, hidden = weight.shape
    rows = max(CHUNK_BYTES // (vocabulary * dtype.itemsize), hidden)
    positions = real.nonzero()[:, 0] if skip_ignored else real
    size = len(positions)
    count = max(1, math.ceil(size / rows))
    if size == len(real):  # a slice is a view, picked positions are a copy
        return [slice(size * part // count, size * (part + 1) // count) for part in range(count)]
    return positions.tensor_split(count)


def _weight_blocks(weight: Tensor) -> list[slice]:
    """Rows of the weight that are converted at once, so that there is never a second copy of a large weight."""
    vocabulary, hidden = weight.shape
    rows = max(1, BLOCK_ELEMENTS // hidden)
    return [slice(start, start + rows) for start in range(0, vocabulary, rows)]


def _logits(input: Tensor, weight: Tensor, blocks: list[slice]) -> Tensor:
    if len(blocks) == 1:
        return matrix_product(input, weight.to(input.dtype).t())
    logits = input.new_empty(len(input), len(weight))
    for block in blocks:
        logits[:, block] = matrix_product(input, weight[block].to(input.dtype).t())
    return logits


def _grad_input(error: Tensor, weight: Tensor, blocks: list[slice], wide: torch.dtype) -> Tensor:
    if len(blocks) == 1:
        return matrix_product(error, weight.to(error.dtype)).to(wide)
    total = error.new_zeros(len(error), weight.shape[1], dtype=wide)
    for block in blocks:
        total += matrix_product(error[:, block], weight[block].to(error.dtype))
    return total
