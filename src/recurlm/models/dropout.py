"""Dropout of single units, of units for a whole sequence, and of whole word types."""

import torch.nn.functional as F
from torch import Tensor, nn


def mask(shape: tuple[int, ...], probability: float, like: Tensor) -> Tensor:
    """Zeros with `probability`, elsewhere 1 / (1 - probability)."""
    return like.new_empty(shape).bernoulli_(1 - probability).div_(1 - probability)


class SequenceDropout(nn.Module):
    """Drops units of (T, B, H); `locked` uses one mask (B, H) for all time steps (Gal and Ghahramani 2016)."""

    def __init__(self, probability: float, *, locked: bool) -> None:
        super().__init__()
        self.probability, self.locked = probability, locked

    def forward(self, input: Tensor) -> Tensor:
        """The input itself outside training."""
        if not self.training or not self.probability:
            return input
        if self.locked:
            return input * mask((1, *input.shape[1:]), self.probability, input)
        return F.dropout(input, self.probability)

    def extra_repr(self) -> str:
        return f"{self.probability}, locked={self.locked}"


def drop_word_types(embedded: Tensor, tokens: Tensor, vocabulary_size: int, probability: float) -> Tensor:
    """Drop each word type everywhere in the batch or nowhere (Gal and Ghahramani 2016).

    embedded (T, B, E), tokens (T, B).
    """
    return embedded * F.embedding(tokens, mask((vocabulary_size, 1), probability, embedded))
