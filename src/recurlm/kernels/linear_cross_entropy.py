"""The softmax layer and its loss in one operation that never holds all the logits.

L = sum over n of log sum_v exp(w_v . x_n + b_v) - (w_t(n) . x_n + b_t(n))

The gradient is known as soon as the logits of a position are: p - onehot. So a chunk of positions is carried
through forward and backward at once and its logits are forgotten.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_ELEMENTS = 1 << 22


def linear_cross_entropy_reference(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, ignored: int = -100
) -> tuple[Tensor, Tensor]:
    """The plain twin: all logits at once.

    input (N, H), weight (V, H), bias (V) or None, target (N) ids.
    Returns the sum of losses in nats, differentiable, and the losses (N) of each position, not differentiable,
    zero where the target is `ignored`.
    """
    losses = F.cross_entropy(F.linear(input, weight, bias), target, reduction="none", ignore_index=ignored)
    return losses.sum(), losses.detach()


def linear_cross_entropy(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, ignored: int = -100
) -> tuple[Tensor, Tensor]:
    """The same in chunks, computed in autocast's type where autocast is on; the sums are kept in float32."""
    device = input.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else input.dtype
    if not torch.is_grad_enabled():
        # inside, `needs_input_grad` knows nothing of no_grad
        input, weight, bias = input.detach(), weight.detach(), None if bias is None else bias.detach()
    with torch.autocast(device, enabled=False):
        total, losses = _ChunkedLoss.apply(input, weight, bias, target, ignored, dtype)  # type: ignore[no-untyped-call]
    return total, losses


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
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(input.dtype, torch.float32)
        losses = input.new_zeros(len(input), dtype=wide)
        positions = (target != ignored).nonzero()[:, 0]
        needs_gradient = any(ctx.needs_input_grad[:3])
        grad_input = torch.zeros_like(input, dtype=wide) if needs_gradient else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if needs_gradient else None
        grad_bias = torch.zeros_like(bias, dtype=wide) if needs_gradient and bias is not None else None
        narrow_weight = weight.to(dtype)
        for chunk in torch.split(positions, max(1, CHUNK_ELEMENTS // len(weight))):
            x = input[chunk].to(dtype)
            logits = (x @ narrow_weight.t()).to(wide)
            if bias is not None:
                logits += bias
            correct = target[chunk, None]
            log_total = logits.logsumexp(1, keepdim=True)
            losses[chunk] = (log_total - logits.gather(1, correct))[:, 0]
            if grad_input is None or grad_weight is None:
                continue
            error = logits.sub_(log_total).exp_()
            error.scatter_add_(1, correct, error.new_full(correct.shape, -1.0))
            if grad_bias is not None:
                grad_bias += error.sum(0)
            error = error.to(dtype)
            grad_input[chunk] = (error @ narrow_weight).to(wide)
            grad_weight += error.t() @ x
        ctx.mark_non_differentiable(losses)
        ctx.gradients = (grad_input, grad_weight, grad_bias)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if gradient is None else gradient * grad_total for gradient in ctx.gradients)
        return (*gradients, None, None, None)
