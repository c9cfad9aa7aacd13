"""The softmax layer and its loss in one operation that never holds all the logits.

L = sum over n of log sum_v exp(w_v . x_n + b_v) - (w_t(n) . x_n + b_t(n))

The gradient is known as soon as the logits of a position are: p - onehot. So a chunk of positions is carried
through forward and backward at once and its logits are forgotten.
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

CHUNK_BYTES = 24 << 20
BLOCK_ELEMENTS = 1 << 23


def linear_cross_entropy_reference(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignored: int = -100,
    *,
    skip_ignored: bool = True,
) -> tuple[Tensor, Tensor]:
    """The plain twin: all logits at once, which leaves nothing to skip.

    input (N, H), weight (V, H), bias (V) or None, target (N) ids.
    Returns the sum of losses in nats, differentiable, and the losses (N) of each position, not differentiable,
    zero where the target is `ignored`.
    """
    losses = F.cross_entropy(F.linear(input, weight, bias), target, reduction="none", ignore_index=ignored)
    return losses.sum(), losses.detach()


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    ignored: int = -100,
    *,
    skip_ignored: bool = True,
) -> tuple[Tensor, Tensor]:
    """The same in chunks, computed in autocast's type where autocast is on; the sums are kept in float32.

    `skip_ignored` leaves ignored positions out of the work; how many they are must then be asked of the device.
    Without it they are computed and come to nothing: every shape follows from the arguments' shapes, and the host never
    waits, as a CUDA graph needs it.
    """
    device, dtype = input.device.type, product_type(input)
    if not torch.is_grad_enabled():
        # inside, `needs_input_grad` knows nothing of no_grad
        input, weight, bias = input.detach(), weight.detach(), None if bias is None else bias.detach()
    tiled = skip_ignored and device == "cpu" and dtype == torch.bfloat16 and weight.dtype == torch.float32
    loss = _TiledLoss if loss_in_tiles(tiled) else _ChunkedLoss
    with torch.autocast(device, enabled=False):
        total, losses = loss.apply(input, weight, bias, target, ignored, dtype, skip_ignored)  # type: ignore[no-untyped-call]
    return total, losses


def loss_in_tiles(bf16: bool) -> bool:
    """Whether a loss in this precision is computed on this CPU in the native library's tiles."""
    return bf16 and has_bfloat16_tiles()


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
        wide = torch.promote_types(input.dtype, torch.float32)
        losses = input.new_zeros(len(input), dtype=wide)
        teaches_input, teaches_weight, teaches_bias = ctx.needs_input_grad[:3]
        grad_input = torch.zeros_like(input, dtype=wide) if teaches_input else None
        grad_weight = torch.empty_like(weight, dtype=wide) if teaches_weight else None
        grad_bias = torch.empty_like(bias, dtype=wide) if teaches_bias and bias is not None else None
        needs_gradient = any(ctx.needs_input_grad)
        blocks = _blocks(weight)
        if len(blocks) == 1:
            weight = weight.to(dtype)
        real = target != ignored
        for number, chunk in enumerate(_chunks(real, weight, dtype, skip_ignored)):
            put = Tensor.add_ if number else Tensor.copy_
            x = input[chunk].to(dtype)
            error = _logits(x, weight, blocks)  # logits until softmax_loss has written over them
            if skip_ignored:
                losses[chunk], grad_bias_part = softmax_loss(error, bias, target[chunk], needs_gradient)
            else:
                losses[chunk], grad_bias_part = masked_softmax_loss(
                    error, bias, target[chunk], needs_gradient, real[chunk]
                )
            if grad_input is not None:
                grad_input[chunk] = _grad_input(error, weight, blocks, wide)
            if grad_weight is not None:
                for block in blocks:
                    put(grad_weight[block], matrix_product(error[:, block].t(), x))
            if grad_bias is not None and grad_bias_part is not None:
                put(grad_bias, grad_bias_part)
        ctx.mark_non_differentiable(losses)
        ctx.save_for_backward(grad_input, grad_weight, grad_bias)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *scaled_gradients(ctx, grad_total), None, None, None, None


class _TiledLoss(torch.autograd.Function):
    """All positions at once through the native library: a block of words goes through all products in the cache."""

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
        positions = (target != ignored).nonzero()[:, 0]
        real, (words, inputs) = len(positions), weight.shape
        targets = target[positions].contiguous()
        if real and not 0 <= int(targets.min()) <= int(targets.max()) < words:
            raise IndexError(f"targets must lie between 0 and {words - 1}")
        x = with_slack(real, inputs)
        x.copy_(input if real == len(input) else input[positions])
        found = torch.zeros(real)
        gradients = [
            None if tensor is None or not wanted else torch.empty(shape)
            for tensor, wanted, shape in zip(
                (input, weight, bias), ctx.needs_input_grad, ((real, inputs), weight.shape, (words,)), strict=False
            )
        ]
        bias = None if bias is None else bias.float().contiguous()
        call(
            "recurlm_linear_cross_entropy",
            [x, weight.contiguous(), bias, targets, found, *gradients],
            [real, inputs, words],
        )
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
    """The gradients that forward saved, each or None, times that of the total; in place unless wanted again."""
    scale = torch.mul if graph_is_kept() else Tensor.mul_
    return tuple(None if gradient is None else scale(gradient, grad_total) for gradient in ctx.saved_tensors)


def _chunks(real: Tensor, weight: Tensor, dtype: torch.dtype, skip_ignored: bool) -> Sequence[Tensor | slice]:
    """Equal parts with small logits, yet enough positions to be worth one more visit to all the weights."""
    vocabulary, hidden = weight.shape
    rows = max(CHUNK_BYTES // (vocabulary * dtype.itemsize), hidden)
    positions = real.nonzero()[:, 0] if skip_ignored else real
    size = len(positions)
    count = max(1, math.ceil(size / rows))
    if size == len(real):  # slices are views, where picked positions are copies
        return [slice(size * part // count, size * (part + 1) // count) for part in range(count)]
    return positions.tensor_split(count)


def _blocks(weight: Tensor) -> list[slice]:
    """Rows of the weight taken at once: of a large one, no second copy is ever whole."""
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
