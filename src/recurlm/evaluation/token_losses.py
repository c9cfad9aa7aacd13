"""-ln p of every token of a text, read as one stream or sentence by sentence."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.devices import autocast
from recurlm.distributed import ALONE, Team
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import LayerStates, Restarts, map_state, restart
from recurlm.text.batching import IGNORED, length_groups, padded_rows, plain_stream, sentence_batch
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import EOS_ID

STREAM_CHUNK = 512
"""Time steps of a stream that are computed at once."""
SENTENCE_BUDGET = 4096
"""Padded positions of sentences that are computed at once."""

PositionedLosses = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Positions (N,) of tokens in a text, and -ln p (N,) of each."""


@dataclass(frozen=True)
class SentenceGroup:
    """Sentences that are computed at once, each from a zero state.

    input, target: (B, T), padded · positions: of the targets in the text (B, T).
    """

    input: NDArray[Any]
    target: NDArray[Any]
    positions: NDArray[np.int64]


@torch.no_grad()
def token_losses(
    model: LanguageModel,
    input: Tensor,
    target: Tensor,
    state: LayerStates,
    precision: str = "fp32",
    restarts: Restarts | None = None,
) -> tuple[Tensor, LayerStates]:
    """-ln p of each target, without dropout, and the state after the last step.

    input and target are (T, B). The losses are (T, B), float64 on the CPU, and zero where the target is ignored.
    precision: fp32 or bf16, the type of matrix products · restarts: where a column's state is zero before the input.
    """
    device = model.device
    with evaluating(model), autocast(precision, device):
        hidden, state = model.hidden(input.to(device), state, restarts)
        losses = losses_of(model, hidden.flatten(0, 1), target.to(device).flatten())
    return losses.cpu().view(input.shape), state


def losses_of(model: LanguageModel, hidden: Tensor, target: Tensor) -> Tensor:
    """-ln p (...) of each target (...) after the last layer's outputs (..., H), in float64; zero where ignored."""
    _, losses = model.decoder.losses(hidden, target)
    return losses.double()


def column_rows(text: EncodedText, columns: int) -> int:
    """Number of tokens in each column of a text cut into `columns`; the last column may have fewer."""
    return -(-len(text.ids) // columns)


def stream_losses(
    model: LanguageModel,
    text: EncodedText,
    columns: int = 1,
    chunk: int = STREAM_CHUNK,
    warm_up: int = 0,
    team: Team = ALONE,
) -> Iterator[PositionedLosses]:
    """Losses of a text that is cut into `columns` streams, `chunk` time steps at once.

    The state restarts where a document of the text begins. Each column but the first starts with the state after
    `warm_up` tokens before it. The processes of a team share the columns, if these are enough for all, and each yields
    the losses of all.
    """
    streams = plain_stream(text, chunk, columns)
    team = _able(team, columns)
    own = team.columns(columns)
    state = map_state(lambda tensor: tensor[own], _warm_state(model, text, columns, warm_up))
    first = 0
    for batch in streams.batches(0):
        restarts = None if batch.restarts is None else batch.restarts[:, own]
        found, state = token_losses(model, batch.input[:, own], batch.target[:, own], state, restarts=restarts)
        losses = _together(found.t(), columns, team).t()
        steps = first + np.arange(len(batch.input))
        positions = steps[:, None] + streams.rows * np.arange(columns)
        counted = batch.counted.numpy()
        yield positions[counted], losses.numpy()[counted]
        first += len(batch.input)


def _able(team: Team, rows: int) -> Team:
    """The team if there are rows for each of its processes; else each process computes all of them."""
    return team if rows >= team.count else ALONE


def _together(found: Tensor, rows: int, team: Team) -> Tensor:
    """The losses of all `rows` (rows, ...), from those of the rows of this process."""
    if team.count == 1:
        return found
    whole = found.new_zeros(rows, *found.shape[1:])
    whole[team.columns(rows)] = found
    team.add(whole)
    return whole


@torch.no_grad()
def _warm_state(model: LanguageModel, text: EncodedText, columns: int, warm_up: int) -> LayerStates:
    """The state in which each column starts: zeros for the first, the state after the tokens before it for the others.

    `warm_up` must be smaller than the number of tokens in a column. The warm-up itself starts as a stream does, with
    ``<eos>`` after zeros: other tokens after zeros can lead to states from which a model needs hundreds of tokens to
    recover.
    """
    state = model.initial_state(columns)
    if not warm_up:
        return state
    starts = np.arange(columns) * column_rows(text, columns)
    positions = np.clip(starts + np.arange(-1 - warm_up, -1)[:, None], 0, len(text.ids) - 1)
    input_ = np.concatenate([np.full((1, columns), EOS_ID), text.ids[positions].astype(np.int64)])
    predicted = starts + np.arange(-1 - warm_up, 0)[:, None]
    restarts = text.begin_documents(predicted)
    with evaluating(model), autocast("fp32", model.device):
        _, state = model.hidden(torch.from_numpy(input_).to(model.device), state, restarts)
    return restart(state, starts == 0)


def sentence_losses(
    model: LanguageModel, text: EncodedText, budget: int = SENTENCE_BUDGET, team: Team = ALONE
) -> Iterator[PositionedLosses]:
    """Losses of a text whose sentences all start from a zero state, `budget` padded positions at once.

    The processes of a team share the groups, and each yields the losses of all.
    """
    for group, losses in group_losses(model, _sentence_groups(text, budget), budget, team):
        counted = group.target != IGNORED
        yield group.positions[counted], losses[counted]


def _sentence_groups(text: EncodedText, budget: int) -> Iterator[SentenceGroup]:
    starts, lengths = sentence_bounds(text)
    for group in length_groups(lengths.tolist(), budget):
        width = int(lengths[group].max())
        input_, target = sentence_batch(padded_rows(text.ids, starts[group], lengths[group], width))
        yield SentenceGroup(input_, target, starts[group][:, None] + np.arange(width))


def group_losses(
    model: LanguageModel, groups: Iterable[SentenceGroup], budget: int = SENTENCE_BUDGET, team: Team = ALONE
) -> Iterator[tuple[SentenceGroup, NDArray[np.float64]]]:
    """Each group with its losses (B, T), in order; `budget` positions are computed at once.

    The processes of a team take the groups in turn, and each yields all of them. One process computes a whole group,
    so the losses are the same, bit for bit, for any number of processes.
    """
    groups = iter(groups)
    while turn := list(itertools.islice(groups, team.count)):
        found = [torch.zeros(group.target.shape, dtype=torch.float64) for group in turn]
        if team.rank < len(turn):
            found[team.rank] = _row_losses(model, turn[team.rank], budget)
        if team.count > 1:
            summed = torch.cat([losses.flatten() for losses in found])
            team.add(summed)
            parts = torch.split(summed, [losses.numel() for losses in found])
            found = [part.view_as(losses) for part, losses in zip(parts, found, strict=True)]
        yield from zip(turn, (losses.numpy() for losses in found), strict=True)


def _row_losses(model: LanguageModel, group: SentenceGroup, budget: int) -> Tensor:
    """Losses (B, T) of a group, `budget` positions at once."""
    rows = len(group.input)
    state = model.initial_state(rows)
    found = []
    steps = (torch.split(torch.from_numpy(each).t(), max(1, budget // rows)) for each in (group.input, group.target))
    for inputs, targets in zip(*steps, strict=True):
        losses, state = token_losses(model, inputs, targets, state)
        found.append(losses)
    return torch.cat(found).t()


def sentence_bounds(text: EncodedText) -> tuple[NDArray[Any], NDArray[Any]]:
    """For each sentence, the position of its first token and its length with ``<eos>``."""
    ends = text.ends
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends - starts
