"""Penalties on the outputs of the last layer, added to the cross entropy (Merity, McCann and Socher 2017).

activation  AR  = alpha mean(d_n ∘ d_n)                         d_n: output after dropout
slowness    TAR = beta mean((h_n - h_{n-1}) ∘ (h_n - h_{n-1}))    h_n: output before dropout, within the batch

Means are over the time steps, columns and units of all positions of the batch. TAR leaves out the differences across
the beginning of a document inside the batch, where the state restarts.
"""

import torch
from torch import Tensor

from recurlm.config import Training
from recurlm.models.state import Restarts


def output_penalty(raw: Tensor, dropped: Tensor, options: Training, restarts: Restarts | None = None) -> Tensor | float:
    """AR + TAR in nats a token, of outputs (T, B, H) before and after dropout; 0.0 if the recipe has no penalty."""
    penalty: Tensor | float = 0.0
    if options.activation_penalty:
        penalty = penalty + options.activation_penalty * dropped.float().square().mean()
    if options.slowness_penalty and len(raw) > 1:
        penalty = penalty + options.slowness_penalty * _slowness(raw, restarts)
    return penalty


def _slowness(raw: Tensor, restarts: Restarts | None) -> Tensor:
    squares = raw.float().diff(dim=0).square()
    if restarts is None or not restarts[1:].any():
        return squares.mean()
    within = torch.from_numpy(~restarts[1:])[..., None].to(squares.device)
    return squares.mul(within).sum() / max(int((~restarts[1:]).sum()) * raw.shape[-1], 1)


def minimized(cross_entropy: Tensor, penalty: Tensor | float, targets: Tensor | int, divisor: Tensor | int) -> Tensor:
    """(sum of nats + penalty for each target) / divisor, so the penalty has the same weight in every reduction."""
    if isinstance(penalty, float):
        return cross_entropy / divisor
    return (cross_entropy + penalty * targets) / divisor
