"""A linear recurrence over time, elementwise: S_n = keep_n S_{n-1} + new_n.

keep and new are (T, B, H), first (B, H) is S_0; the result is S_1 to S_T (T, B, H).
"""

from typing import Any

import torch
from torch import Tensor


def linear_scan(keep: Tensor, new: Tensor, first: Tensor) -> Tensor:
    """Scans in parallel on a GPU and step by step on a CPU, where the parallel scan is slower."""
    return parallel_scan(keep, new, first) if keep.is_cuda else scan_by_steps(keep, new, first)


def scan_by_steps(keep: Tensor, new: Tensor, first: Tensor) -> Tensor:
    """The plain reference: one step after another."""
    states = []
    state = first
    for keep_n, new_n in zip(keep, new, strict=True):
        state = keep_n * state + new_n
        states.append(state)
    return torch.stack(states)


def parallel_scan(keep: Tensor, new: Tensor, first: Tensor) -> Tensor:
    """Scans in log2 T passes over the whole sequence (Hillis and Steele 1986, Blelloch 1990).

    Two consecutive steps combine into one: keep = keep_2 keep_1, new = keep_2 new_1 + new_2. The scan uses neither
    division nor logarithms, so values of any sign and keeps of 0 are as exact as step by step. It is differentiable
    once in every argument; the gradient is a scan from the end to the beginning.
    """
    states: Tensor = _ParallelScan.apply(keep, new, first)  # type: ignore[no-untyped-call]
    return states


class _ParallelScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, new: Tensor, first: Tensor) -> Tensor:
        states = _from_zero(keep, torch.cat([torch.addcmul(new[:1], keep[:1], first[None]), new[1:]]))
        ctx.save_for_backward(keep, first, states)
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, first, states = ctx.saved_tensors
        # E_n = grad_n + keep_{n+1} E_{n+1}
        later = torch.cat([keep[1:], torch.zeros_like(keep[:1])])
        error = _from_zero(later.flip(0), grad.flip(0)).flip(0)
        before = torch.cat([first[None], states[:-1]])
        return error * before, error, error[0] * keep[0]


def _from_zero(keep: Tensor, new: Tensor) -> Tensor:
    """The scan with S_0 = 0; after each pass every step covers twice as many steps before it."""
    reach = 1
    while reach < len(new):
        new = torch.cat([new[:reach], torch.addcmul(new[reach:], keep[reach:], new[:-reach])])
        keep = torch.cat([keep[:reach], keep[reach:] * keep[:-reach]])
        reach *= 2
    return new
