"""A model's memory over a text: the state and the gates of every layer after each token, and each prediction."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.errors import InputError
from recurlm.models.cell import Cell
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.text.vocabulary import EOS_ID

MOST_TOKENS = 10_000
STATE_NAMES = {"h": "hidden", "c": "cell"}
"""Names of docs/notation.md for the parts of a state; the last input that a QRNN carries is not shown."""

DECODED_AT_ONCE = 64
"""Tokens whose predictions are computed together; one at a time, most of the time goes into the decoder's weights."""

Values = NDArray[np.float32]


@dataclass(frozen=True)
class LayerTrace:
    """One layer over T tokens: values (T, H) of its state and gates after each token, by name."""

    cell: str
    values: dict[str, Values]

    @property
    def size(self) -> int:
        """H, the number of units."""
        return int(next(iter(self.values.values())).shape[1])


@dataclass(frozen=True)
class Trace:
    """A model's memory over T tokens.

    ids: the tokens read · surprisal, entropy: in bits, of each token before the model read it · rank: 1 for the
    likeliest token · guesses: the likeliest ids before each token with their probabilities · layers: from input to
    output.
    """

    ids: tuple[int, ...]
    surprisal: NDArray[np.float64]
    entropy: NDArray[np.float64]
    rank: NDArray[np.int64]
    guesses: tuple[tuple[tuple[int, float], ...], ...]
    layers: tuple[LayerTrace, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the values of all layers."""
        return sum(values.nbytes for layer in self.layers for values in layer.values.values())

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the states and gates that some layer has, states first."""
        names = dict.fromkeys(name for layer in self.layers for name in layer.values)
        return tuple(sorted(names, key=("cell", "hidden", *names).index))

    def layers_with(self, part: str) -> list[tuple[int, LayerTrace]]:
        """The layers that have a part, with their numbers from 1. Raises InputError where none has it."""
        layers = [(number, layer) for number, layer in enumerate(self.layers, 1) if part in layer.values]
        if not layers:
            raise InputError(f"the model has no {part}; it has {', '.join(self.parts)}")
        return layers


@torch.no_grad()
def trace(
    model: LanguageModel, ids: Sequence[int], *, guesses: int = 3, tick: Callable[[int], None] | None = None
) -> Trace:
    """Reads ids after ``<eos>`` from a state of zeros, step by step in the model's own type.

    `tick` hears of each token that was read, and may raise to end the work. Raises InputError for no ids, and for more
    than `MOST_TOKENS`.
    """
    if not 0 < len(ids) <= MOST_TOKENS:
        raise InputError(f"the text has {len(ids):,} tokens; give from 1 to {MOST_TOKENS:,}")
    cells = model.stack.cells
    states: list[dict[str, list[Tensor]]] = [{} for _ in cells]
    eos, *tokens = torch.tensor([EOS_ID, *ids], device=model.device)[:, None]
    with evaluating(model), ExitStack() as stack:
        output, state = model.stack.step(model.embedding(eos), model.initial_state(1))
        gates = [stack.enter_context(cell.observing()) for cell in cells]
        outputs = [output]
        for token in tokens:
            output, state = model.stack.step(model.embedding(token), state)
            outputs.append(output)
            for cell, layer_state, kept in zip(cells, state, states, strict=True):
                for name, value in zip(cell.state_names, layer_state, strict=True):
                    if name in STATE_NAMES:
                        kept.setdefault(STATE_NAMES[name], []).append(value)
            if tick is not None:
                tick(1)
        predictions = list(_predictions(model, torch.cat(outputs[:-1]), torch.cat(tokens), guesses))
    layers = tuple(map(_layer, cells, states, gates))
    surprisal, entropy, rank, guessed = zip(*predictions, strict=True)
    return Trace(tuple(ids), np.array(surprisal), np.array(entropy), np.array(rank), guessed, layers)


Prediction = tuple[float, float, int, tuple[tuple[int, float], ...]]
"""Surprisal and entropy in bits, rank, and the likeliest ids with their probabilities."""


def _predictions(model: LanguageModel, outputs: Tensor, ids: Tensor, guesses: int) -> Iterator[Prediction]:
    """The predictions that the outputs (T, H) lead to, each judged by the id (T,) that follows."""
    for some, following in zip(torch.split(outputs, DECODED_AT_ONCE), torch.split(ids, DECODED_AT_ONCE), strict=True):
        logprobs = model.decoder(some).double().log_softmax(-1)
        own = logprobs.gather(-1, following[:, None])
        entropy = torch.special.entr(logprobs.exp()).sum(-1) / math.log(2)
        rank = (logprobs > own).sum(-1) + 1
        best = logprobs.topk(min(guesses, logprobs.shape[-1]), -1)
        surprisal = -own.squeeze(-1) / math.log(2)
        shares = best.values.exp().tolist()
        pairs = [tuple(zip(*row, strict=True)) for row in zip(best.indices.tolist(), shares, strict=True)]
        yield from zip(surprisal.tolist(), entropy.tolist(), rank.tolist(), pairs, strict=True)


def _layer(cell: Cell, state: dict[str, list[Tensor]], gates: dict[str, list[Tensor]]) -> LayerTrace:
    values = {name: _stacked(rows) for name, rows in (state | gates).items()}
    return LayerTrace(type(cell).__name__.removesuffix("Cell"), values)


def _stacked(rows: list[Tensor]) -> Values:
    stacked: Values = torch.cat(rows).float().cpu().numpy()
    return stacked
