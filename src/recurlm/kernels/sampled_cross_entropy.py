"""The softmax layer's loss estimated from a sample S of its V columns, for training only.

    L = sum over n of  log(exp(l_nt) + sum over s in S without t of exp(l_ns) / pi_s) - l_nt     l = x W' + b, t = t(n)

pi_s is the probability that column s is in S. Dividing by it makes the sum an unbiased estimate of the sum over all
columns (Horvitz and Thompson 1952); its logarithm is slightly too small on average. Importance sampling for a softmax:
Bengio and Senecal 2003, Jean et al. 2015. With all columns in S, it is the softmax layer's own loss.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from recurlm.kernels.linear_cross_entropy import IGNORED, scaled_gradients
from recurlm.kernels.matrix_product import matrix_product, product_type
from recurlm.kernels.softmax_loss import masked_softmax_loss, softmax_loss


class Sample(NamedTuple):
    """The drawn columns (S,), and ln pi (V,) of all columns."""

    columns: Tensor
    log_inclusion: Tensor


def inclusion_probabilities(columns: int, size: int, exponent: float) -> Tensor:
    """pi (V,) = min(1, c / rank^exponent), with c such that they sum to `size`, at most V; float64, on the CPU."""
    share = torch.arange(1, columns + 1, dtype=torch.float64, device="cpu").pow(-exponent)
    certain = 0
    while certain < size:
        scaled = share[certain:] * ((size - certain) / share[certain:].sum())
        more = int((scaled >= 1).sum())
        if not more:
            return torch.cat([share.new_ones(certain), scaled])
        certain += more
    return (torch.arange(columns, device="cpu") < size).double()


def draw_columns(cumulated: Tensor, size: int) -> Tensor:
    """Draws `size` different columns, in increasing order, by their probabilities, given as cumulative sum (V,).

    One random number serves all: from it, steps of one go through the cumulative sum (systematic sampling, Madow 1949).
    """
    points = torch.arange(size, device=cumulated.device) + torch.rand_like(cumulated[:1])
    return torch.searchsorted(cumulated, points, right=True).clamp_(max=len(cumulated) - 1)


def sampled_cross_entropy_reference(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, sample: Sample, *, skip_ignored: bool = True
) -> tuple[Tensor, Tensor]:
    """The plain reference, which computes all columns and masks those that were not drawn.

    input (N, H), weight (V, H), bias (V,) or None, target (N,) ids. Returns the sum of losses in nats, differentiable,
    and the losses (N,), not differentiable, zero where the target is `IGNORED`.
    """
    logits = F.linear(input, weight, bias)
    real = target != IGNORED
    own = F.one_hot(target.masked_fill(~real, 0), len(weight)).bool()
    drawn = torch.zeros(len(weight), dtype=torch.bool, device=logits.device).index_fill(0, sample.columns, True)
    others = (logits - sample.log_inclusion).masked_fill(own | ~drawn, -torch.inf)
    losses = torch.where(own, logits, others).logsumexp(1) - logits[own]
    losses = losses * real
    return losses.sum(), losses.detach()


def sampled_cross_entropy(
    input: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, sample: Sample, *, skip_ignored: bool = True
) -> tuple[Tensor, Tensor]:
    """Same as the reference, from the drawn columns and the targets alone; products in autocast's type where it is on.

    `skip_ignored` as for `linear_cross_entropy`.
    """
    dtype = product_type(input)
    with torch.autocast(input.device.type, enabled=False):
        total, losses = _SampledLoss.apply(input, weight, bias, target, *sample, dtype, skip_ignored)  # type: ignore[no-untyped-call]
    return total, losses


class _SampledLoss(torch.autograd.Function):
    """The target's logit is one more column beside the sample; a target that was drawn as well counts once."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        columns: Tensor,
        log_inclusion: Tensor,
        dtype: torch.dtype,
        skip_ignored: bool,
    ) -> tuple[Tensor, Tensor]:
        """Autograd passes every tensor as an argument of its own, so there are many."""
        wide = torch.promote_types(input.dtype, torch.float32)
        real = target != IGNORED
        chosen = real.nonzero()[:, 0] if skip_ignored else slice(None)
        x, ids = input[chosen].to(dtype), target[chosen]
        if not skip_ignored:
            ids = ids.masked_fill(~real, 0)
        drawn, own = weight[columns].to(dtype), F.embedding(ids, weight).to(dtype)
        offsets = -log_inclusion[columns].to(wide)
        own_logits = (x.to(wide) * own.to(wide)).sum(1, keepdim=True)
        if bias is not None:
            own_logits += bias[ids, None]
            offsets += bias[columns]
        logits = torch.cat([matrix_product(x, drawn.t()), own_logits.to(dtype)], 1)
        found, grad_offsets = _loss_in_place(logits, offsets, columns, ids, None if skip_ignored else real)
        size = len(columns)
        # rows of an odd length make products slow, so the sample's errors are copied
        error, own_error = logits[:, :size].contiguous(), logits[:, size:].to(wide)
        grad_input = torch.zeros_like(input, dtype=wide)
        grad_input[chosen] = matrix_product(error, drawn).to(wide).addcmul_(own_error, own.to(wide))
        sample_part, own_part = matrix_product(error.t(), x).to(wide), own_error * x.to(wide)
        grad_weight = _scattered(weight, columns, sample_part, ids, own_part)
        grad_bias = None
        if bias is not None:
            grad_bias = _scattered(bias, columns, grad_offsets[:size].to(wide), ids, own_error[:, 0])
        losses = torch.zeros(len(input), dtype=wide, device=input.device)
        losses[chosen] = found.to(wide)
        ctx.mark_non_differentiable(losses)
        ctx.save_for_backward(grad_input, grad_weight, grad_bias)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return *scaled_gradients(ctx, grad_total), None, None, None, None, None


def _scattered(like: Tensor, columns: Tensor, sample_part: Tensor, ids: Tensor, own_part: Tensor) -> Tensor:
    """A gradient in the shape of `like`: the sample's part at its columns, plus the targets' part at ids."""
    gradient = torch.zeros_like(like, dtype=own_part.dtype)
    return gradient.index_add_(0, columns, sample_part).index_add_(0, ids, own_part)


def _loss_in_place(
    logits: Tensor, offsets: Tensor, columns: Tensor, ids: Tensor, real: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Losses (n,) and the gradient of the offsets (S + 1,); logits (n, S + 1) become errors.

    real (n,): false where the target is ignored; None where no target is.
    """
    size = len(columns)
    logits[:, :size].masked_fill_(columns == ids[:, None], -torch.inf)
    offsets = torch.cat([offsets, offsets.new_zeros(1)])
    last = torch.full_like(ids, size)
    if real is None:
        found, grad_offsets = softmax_loss(logits, offsets, last, True)
    else:
        found, grad_offsets = masked_softmax_loss(logits, offsets, last, True, real)
    assert grad_offsets is not None
    return found, grad_offsets
