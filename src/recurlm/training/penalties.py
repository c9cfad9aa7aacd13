"""Penalties on the outputs of the last layer, added to the cross entropy (Merity, McCann and Socher 2017).

activation  AR  = alpha mean(d_n ∘ d_n)                         d_n: output after dropout
slowness    TAR = beta mean((h_n - h_{n-1}) ∘ (h_n - h_{n-1}))    h_n: output before dropout, within the batch

Means are over the time steps, columns and units of all positions of the batch. TAR leaves out the differences across
the beginning of a document inside the batch, where the state restarts.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from recurlm.config import Training
from recurlm.models.state import Restarts
from recurlm.text.batching import Batch


class Shares(NamedTuple):
    """What a part of a batch contributes to the means of the whole batch, from its own means."""

    activation: float = 1.0
    slowness: float = 1.0

    @classmethod
    def of(cls, batch: Batch) -> "Shares":
        """The shares of a batch, or of the columns of a larger one that a process reads."""
        if batch.part is None:
            return cls()
        if not batch.part.columns:
            return cls(0.0, 0.0)
        differences = _differences(batch) / max(_differences(batch.whole), 1)
        return cls(batch.part.columns / batch.whole.columns, differences)


def _differences(batch: Batch) -> int:
    """The number of pairs of neighboring steps without a restart between them."""
    restarts = 0 if batch.restarts is None else int(batch.restarts[1:].sum())
    return (len(batch.input) - 1) * batch.columns - restarts


WHOLE = Shares()


def output_penalty(
    raw: Tensor, dropped: Tensor, options: Training, restarts: Restarts | None = None, shares: Shares = WHOLE
) -> Tensor | float:
    """AR + TAR in nats a token, of outputs (T, B, H) before and after dropout; 0.0 if the recipe has no penalty.

    Of a part of a batch, what the part contributes to the penalty of the whole, by its `shares`.
    """
    penalty: Tensor | float = 0.0
    if options.activation_penalty:
        penalty = penalty + options.activation_penalty * shares.activation * _wide(dropped).square().mean()
    if options.slowness_penalty and len(raw) > 1:
        penalty = penalty + options.slowness_penalty * shares.slowness * _slowness(raw, restarts)
    return penalty


def _wide(outputs: Tensor) -> Tensor:
    """The outputs in float32, or in their own type where it is wider."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _slowness(raw: Tensor, restarts: Restarts | None) -> Tensor:
    squares = _wide(raw).diff(dim=0).square()
    if restarts is None or not restarts[1:].any():
        return squares.mean()
    within = torch.from_numpy(~restarts[1:])[..., None].to(squares.device)
    return squares.mul(within).sum() / max(int((~restarts[1:]).sum()) * raw.shape[-1], 1)


def minimized(cross_entropy: Tensor, penalty: Tensor | float, targets: Tensor | int, divisor: Tensor | int) -> Tensor:
    """(sum of nats + penalty for each target) / divisor, so the penalty has the same weight in every reduction."""
    if isinstance(penalty, float):
        return cross_entropy / divisor
    return (cross_entropy + penalty * targets) / divisor
