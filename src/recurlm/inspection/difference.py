"""How two memories that read texts with one difference move apart and meet again, and how long a word is remembered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import LayerStates
from recurlm.text.vocabulary import EOS_ID

Distances = NDArray[np.float64]
Tick = Callable[[int], None]
"""Hears of each token that was read; may raise to end the work."""

PLACES = 64
"""Places of a text at which a word is replaced to measure how long words are remembered."""


@dataclass(frozen=True)
class Divergence:
    """Two texts with the same end: where their common end begins in each, and the distances of their memories.

    distances (L + 1, N): for each layer, the distance of the two states after the last different token and after each
    token of the common end, as a share of their mean length: 0 where they are equal, around 1.4 where they have nothing
    in common; in the last row, the total variation of the two predictions, from 0 to 1.
    """

    first: int
    second: int
    distances: Distances


@torch.no_grad()
def divergence(
    model: LanguageModel, first: Sequence[int], second: Sequence[int], *, tick: Tick | None = None
) -> Divergence:
    """Compares the memories of a model that reads two texts, ids each, which end alike.

    Raises InputError where the texts are equal or have no common end.
    """
    end = _common_end(first, second)
    if end == 0 or (len(first) == len(second) == end):
        raise InputError("the two texts must differ, and end with the same token at least")
    starts = len(first) - end, len(second) - end
    with evaluating(model):
        both = [_after(model, text[:start]) for text, start in zip((first, second), starts, strict=True)]
        state = _side_by_side(*(layers for layers, _ in both))
        last = torch.tensor([token for _, token in both])
        distances = _distances(model, state, last, first[starts[0] :], tick)
    return Divergence(*starts, distances[:, :, 0])


@torch.no_grad()
def remembrance(
    model: LanguageModel, ids: Sequence[int], *, steps: int, seed: int = 1, tick: Tick | None = None
) -> Distances:
    """How far the memory still is, after 0 to `steps` further tokens, from what it would be had one word been another.

    Distances (L + 1, steps + 1) as those of `Divergence`, averaged over `PLACES` places of the text at most; at each
    the token is replaced by one drawn from elsewhere in the text. Raises InputError for a text that is too short.
    """
    room = len(ids) - steps
    if room < 1 or len(set(ids)) < 2:
        raise InputError(f"the text has {len(ids):,} tokens, of {len(set(ids)):,} kinds; give a longer one")
    draw = np.random.default_rng(seed)
    places = np.sort(draw.permutation(room)[:PLACES])
    others = np.array([_another(draw, ids, ids[place]) for place in places])
    text = np.asarray(ids)
    with evaluating(model):
        before = _states_before(model, ids, places)
        state = _side_by_side(before, before)
        last = torch.from_numpy(np.concatenate([text[places], others]))
        following = text[places + np.arange(1, steps + 1)[:, None]]
        mean: Distances = _distances(model, state, last, following, tick).mean(-1)
    return mean


def _common_end(first: Sequence[int], second: Sequence[int]) -> int:
    pairs = zip(reversed(first), reversed(second), strict=False)
    return next((length for length, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def _after(model: LanguageModel, ids: Sequence[int]) -> tuple[LayerStates, int]:
    """The state (1, H) before the last token of ``<eos>`` and ids, and that token."""
    state = model.initial_state(1)
    *read, last = [EOS_ID, *ids]
    if read:
        _, state = model.hidden(torch.tensor(read, device=model.device)[:, None], state)
    return state, last


def _states_before(model: LanguageModel, ids: Sequence[int], places: NDArray[np.int64]) -> LayerStates:
    """The states (N, H) before the tokens at places of a text."""
    kept, state, read = [], model.initial_state(1), 0
    before = [EOS_ID, *ids]
    for place in places:
        if piece := before[read : place + 1]:
            _, state = model.hidden(torch.tensor(piece, device=model.device)[:, None], state)
        read = int(place) + 1
        kept.append(state)
    return tuple(tuple(map(torch.cat, zip(*layer, strict=True))) for layer in zip(*kept, strict=True))


def _side_by_side(first: LayerStates, second: LayerStates) -> LayerStates:
    pairs = zip(first, second, strict=True)
    return tuple(tuple(torch.cat(parts) for parts in zip(one, other, strict=True)) for one, other in pairs)


def _distances(
    model: LanguageModel,
    state: LayerStates,
    last: Tensor,
    following: Sequence[int] | NDArray[np.int64],
    tick: Tick | None,
) -> Distances:
    """Distances (L + 1, N + 1, B) of the first half of 2 B columns from the second: after `last` and each token on.

    last (2 B,): what each column reads first · following (N,) or (N, B): what both halves read then.
    """
    columns = len(last) // 2
    rest = np.asarray(following, np.int64)
    rows = [last, *(torch.from_numpy(np.resize(row, 2 * columns)) for row in rest)]
    found = []
    for tokens in rows:
        logits, state = model.step(tokens.to(model.device), state)
        probabilities = logits.double().softmax(-1)
        variation = (probabilities[:columns] - probabilities[columns:]).abs().sum(-1) / 2
        found.append(torch.stack([*(_apart(torch.cat(layer, -1), columns) for layer in state), variation]))
        if tick is not None:
            tick(1)
    return torch.stack(found, 1).cpu().numpy()


def _apart(state: Tensor, columns: int) -> Tensor:
    """Distances (B,) of the first half of the columns of a state (2 B, H) from the second, by their mean length."""
    lengths: Tensor = torch.linalg.vector_norm(state.double(), dim=-1)
    mean = (lengths[:columns] + lengths[columns:]) / 2
    apart: Tensor = torch.linalg.vector_norm((state[:columns] - state[columns:]).double(), dim=-1)
    return apart / mean.clamp(min=1e-12)


def _another(draw: np.random.Generator, ids: Sequence[int], token: int) -> int:
    """A token drawn from a text until it differs from a given one."""
    while (other := ids[int(draw.integers(len(ids)))]) == token:
        pass
    return int(other)
