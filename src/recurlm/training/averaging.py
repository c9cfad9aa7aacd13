"""Averages of weights over steps, validated and kept in place of the last weights.

a_n = a_{n-1} + max(1 / n, 1 - decay) (w_n - a_{n-1})        n: weights averaged so far, these included

With decay 1 this is the mean of w_1 ... w_n (Polyak and Juditsky 1992). With a smaller decay, older weights fade
exponentially once n is large enough, and the first weights need no correction for bias.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from recurlm.config import Average, ExponentialAverage, NonMonotoneAverage, TailAverage
from recurlm.errors import CorruptFileError
from recurlm.kernels.torch_private import lerp_in_place
from recurlm.models.language_model import LanguageModel, restored

COUNT = "count"


class WeightAverage:
    """The average of the weights of a model: empty, and without effect, until the first weights are added."""

    def __init__(self, model: LanguageModel, decay: float = 1.0) -> None:
        self.decay = decay
        self.count = 0
        named = dict(model.named_parameters())
        self.names, self.weights = list(named), [weight.detach() for weight in named.values()]
        self.values: list[Tensor] = []

    def add(self) -> None:
        """Adds the present weights of the model."""
        self.count += 1
        if not self.values:
            self.values = [weight.clone() for weight in self.weights]
        lerp_in_place(self.values, self.weights, max(1 / self.count, 1 - self.decay))

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Inside, the model has the average as its weights; its own weights return at the end."""
        if not self.values:
            yield
            return
        with restored(self.weights):
            for weight, value in zip(self.weights, self.values, strict=True):
                weight.copy_(value)
            yield

    def tensors(self) -> dict[str, Tensor]:
        """The average, as a checkpoint keeps it."""
        named = dict(zip(self.names, self.values, strict=False))
        return {COUNT: torch.tensor(self.count)} | named

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Restores what `tensors` returned. Raises CorruptFileError if it belongs to another model."""
        self.count = int(saved[COUNT]) if COUNT in saved else -1
        if self.count < 0 or set(saved) != {COUNT, *(self.names if self.count else ())}:
            raise CorruptFileError("checkpoint: the average of the weights is another model's")
        pairs = zip(self.names, self.weights, strict=True)
        self.values = [saved[name].to(weight.device) for name, weight in pairs] if self.count else []


def open_average(options: Average, model: LanguageModel) -> WeightAverage | None:
    """The average of a recipe, or None if the recipe has no average."""
    if options.kind == "none":
        return None
    return WeightAverage(model, options.decay if isinstance(options, ExponentialAverage) else 1.0)


def addition_is_due(options: Average, *, count: int, step: int, share: float, validations: Sequence[float]) -> bool:
    """Whether the weights after a step enter the average.

    count: weights averaged so far · step: from 1 · share: fraction of the run that is done · validations: losses so
    far, one for each validation.
    """
    if options.kind == "none":
        return False
    if count:
        return step % options.every == 0
    return average_begins(options, share=share, validations=validations)


def average_begins(options: Average, *, share: float, validations: Sequence[float]) -> bool:
    """Whether the first weights enter the average.

    share: fraction of the run that is done · validations: losses so far, one for each validation.
    """
    if isinstance(options, TailAverage):
        return share >= options.start
    if isinstance(options, NonMonotoneAverage):
        return is_non_monotone(validations, options.interval)
    return isinstance(options, ExponentialAverage)


def is_non_monotone(validations: Sequence[float], interval: int) -> bool:
    """Whether the last validation is worse than the best of the earlier validations, the `interval` before it left out.

    The trigger of NT-ASGD (Merity et al. 2018, algorithm 1): v_t > min(v_0 ... v_{t-n-1}).
    """
    if not validations:
        return False
    *before, last = validations
    earlier = before[: max(len(before) - interval, 0)]
    return bool(earlier) and last > min(earlier)
