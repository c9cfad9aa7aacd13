"""Dynamic evaluation: the model keeps learning from the text that it is measured on (Krause et al. 2018).

The model predicts each segment of a few tokens before it learns from it, so no token is predicted by weights that have
seen it. Afterward, the model has its old weights again.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.evaluation.options import need_natural, need_not_negative, need_positive, need_share
from recurlm.evaluation.perplexity import Tick
from recurlm.models.language_model import LanguageModel, evaluating, restored
from recurlm.models.state import LayerStates, detach
from recurlm.text.batching import IGNORED, Batch, plain_stream
from recurlm.text.codec import EncodedText

STATISTICS_COLUMNS = 100
"""Columns of the training text whose gradients are averaged before they are squared.

The number is that of the paper's program; the scale of `rate` and `epsilon` depends on it.
"""

Roots = list[Tensor]
"""For each parameter, the root mean square of its gradients on the training text."""

Update = Callable[[list[Tensor], list[Tensor], list[Tensor]], None]
"""Changes the weights in place; takes the weights, the weights before the text, and the gradients."""


@dataclass(frozen=True)
class DynamicSGD:
    """Gradient descent on the mean loss g of each segment: theta <- theta + decay (theta0 - theta) - rate g."""

    rate: float = 0.1
    decay: float = 0.0
    segment: int = 5

    def __post_init__(self) -> None:
        need_not_negative(rate=self.rate)
        need_share(decay=self.decay)
        need_natural(segment=self.segment)

    def update(self, weights: list[Tensor], anchors: list[Tensor], gradients: list[Tensor]) -> None:
        """Takes one step, in place."""
        for weight, anchor, gradient in zip(weights, anchors, gradients, strict=True):
            if self.decay:
                weight.lerp_(anchor, self.decay)
            weight.sub_(gradient, alpha=self.rate)


@dataclass(frozen=True)
class DynamicRMS:
    """As `DynamicSGD`, but scaled for each parameter by the root mean square R of its gradient on the training text.

    theta <- theta + min(decay R / mean R, 1) (theta0 - theta) - rate g / (R + epsilon). mean R is the mean over
    matrices and biases of their means, as in the paper's program. R comes from the first `gathered` tokens.
    """

    rate: float = 5e-5
    decay: float = 0.002
    epsilon: float = 2e-5
    segment: int = 5
    gathered: int = 200_000

    def __post_init__(self) -> None:
        need_not_negative(rate=self.rate, decay=self.decay)
        need_positive(epsilon=self.epsilon)
        need_natural(segment=self.segment, gathered=self.gathered)

    def update_by(self, roots: Roots) -> Update:
        """The rule for one step with these roots."""
        mean = torch.stack([root.mean() for root in roots]).mean()
        pulls = [(self.decay * root / mean).clamp(max=1) for root in roots]
        rates = [self.rate / (root + self.epsilon) for root in roots]

        def update(weights: list[Tensor], anchors: list[Tensor], gradients: list[Tensor]) -> None:
            for weight, anchor, gradient, pull, rate in zip(weights, anchors, gradients, pulls, rates, strict=True):
                weight.lerp_(anchor, pull).addcmul_(gradient, rate, value=-1)

        return update


def root_mean_squares(model: LanguageModel, training: EncodedText, segment: int, *, tick: Tick | None = None) -> Roots:
    """Root mean square of the gradients of the segments' mean losses, without dropout, over a training text.

    The text is read in `STATISTICS_COLUMNS` columns, or fewer where it is too short for a segment in each.
    """
    columns = min(STATISTICS_COLUMNS, max(1, len(training.ids) // segment))
    source = plain_stream(training, segment, columns)
    squares = [torch.zeros_like(parameter) for parameter in model.parameters()]
    state = model.initial_state(columns)
    with evaluating(model):
        for batch in source.batches(0):
            _, gradients, state = _gradients(model, batch, state)
            for square, gradient in zip(squares, gradients, strict=True):
                square.addcmul_(gradient, gradient)
            if tick is not None:
                tick(int(batch.counted.sum()))
    return [square.div_(source.length(0)).sqrt_() for square in squares]


def dynamic_losses(
    model: LanguageModel, text: EncodedText, segment: int, update: Update
) -> Generator[Tensor, None, None]:
    """-ln p of each token under the protocol `stream`; the model learns from each segment after it predicts it.

    Yields losses (segment,) in float64. The old weights are restored when the iterator ends, is closed, or fails.
    """
    weights = [parameter.detach() for parameter in model.parameters()]
    state = model.initial_state(1)
    with evaluating(model), restored(weights) as anchors:
        for batch in plain_stream(text, segment).batches(0):
            losses, gradients, state = _gradients(model, batch, state)
            update(weights, anchors, gradients)
            yield losses


def _gradients(model: LanguageModel, batch: Batch, state: LayerStates) -> tuple[Tensor, list[Tensor], LayerStates]:
    """Losses (T B,) of a batch, the gradient of their mean for each parameter, and the state after the batch."""
    batch = batch.to(model.device)
    with torch.enable_grad():
        hidden, state = model.hidden(batch.input, state, batch.restarts)
        total, losses = model.decoder.losses(hidden, batch.target)
        mean = total / (batch.target != IGNORED).sum()
        gradients = torch.autograd.grad(mean, list(model.parameters()))
    return losses.double().cpu().flatten(), list(gradients), detach(state)
