"""Dropout of single units, of units for a whole sequence, of word types, and of weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class KeptColumns:
    """The columns of a batch that this process computes: `columns` of `total`, from number `first` on."""

    first: int
    columns: int
    total: int


_kept: ContextVar[KeptColumns | None] = ContextVar("kept columns", default=None)


@contextmanager
def keeping_columns(kept: KeptColumns | None) -> Iterator[None]:
    """Inside, masks are drawn for all columns of a batch and cut to those that this process computes.

    So every process draws the same random numbers, those that a process alone would draw.
    """
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)


def mask(shape: tuple[int, ...], probability: float, like: Tensor) -> Tensor:
    """A mask whose entries are 0 with `probability` and 1 / (1 - probability) otherwise."""
    return like.new_empty(shape).bernoulli_(1 - probability).div_(1 - probability)


def column_mask(shape: tuple[int, ...], probability: float, like: Tensor, *, dim: int) -> Tensor:
    """As `mask`, for the columns of a batch, which stand in the dimension `dim`."""
    kept = _kept.get()
    if kept is None:
        return mask(shape, probability, like)
    whole = (*shape[:dim], kept.total, *shape[dim + 1 :])
    return mask(whole, probability, like).narrow(dim, kept.first, kept.columns)


def weight_mask(weight: Tensor, probability: float) -> Tensor:
    """As `mask`, for a large matrix: 16 random bits per entry, so the probability is a multiple of 2^-16.

    Four entries share one draw of the generator, which on a CPU takes a fifth of the time of `mask`.
    """
    count = weight.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64, device=weight.device).random_(-(2**63), None)
    kept = max(round((1 - probability) * 2**16), 1)
    lottery = words.view(torch.int16)[:count].view(weight.shape).float()
    return lottery.lt_(kept - 2**15).mul_(2**16 / kept).to(weight.dtype)


class SequenceDropout(nn.Module):
    """Drops units of (T, B, H); with `locked`, one mask (B, H) serves all time steps (Gal and Ghahramani 2016)."""

    def __init__(self, probability: float, *, locked: bool) -> None:
        super().__init__()
        self.probability, self.locked = probability, locked

    def forward(self, input: Tensor) -> Tensor:
        """Returns the input unchanged outside training."""
        if not self.training or not self.probability:
            return input
        if self.locked:
            return input * column_mask((1, *input.shape[1:]), self.probability, input, dim=1)
        kept = _kept.get()
        if kept is None:
            return F.dropout(input, self.probability)
        # the random numbers of `F.dropout` for all columns
        noise = F.dropout(input.new_ones(len(input), kept.total, *input.shape[2:]), self.probability)
        return input * noise.narrow(1, kept.first, kept.columns)

    def extra_repr(self) -> str:
        return f"{self.probability}, locked={self.locked}"


def drop_word_types(embedded: Tensor, tokens: Tensor, vocabulary_size: int, probability: float) -> Tensor:
    """Drops each word type everywhere in the batch or nowhere (Gal and Ghahramani 2016).

    embedded (T, B, E), tokens (T, B).
    """
    return embedded * F.embedding(tokens, mask((vocabulary_size, 1), probability, embedded))
