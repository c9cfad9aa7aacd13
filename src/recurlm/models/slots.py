"""A fixed number of slots, each with the state of one text; any of them advance together, token by token.

What a slot computes does not depend, to the bit, on which other slots advance with it.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from recurlm.errors import InputError
from recurlm.kernels.linear import (
    PackedModel,
    draw_native,
    draw_plain,
    generate,
    log_totals_native,
    log_totals_plain,
)
from recurlm.kernels.native import with_slack
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import LayerStates, map_state
from recurlm.models.stepping import TileStepper, steps_in_tiles

OUT_OF_RANGE = "the state leads beyond the range of numbers; start again without it"


class Slots(Protocol):
    """Texts that advance side by side; slots are numbered from 0."""

    count: int

    def place(self, slot: int, layers: LayerStates) -> None:
        """Puts a state, tensors (1, H), into a slot."""

    def layers(self, slot: int) -> LayerStates:
        """A copy of the state in a slot, tensors (1, H) in float32."""

    def read(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Each slot reads its token; returns the last layer's outputs (N, H), which the next call may overwrite."""

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits (N, V) in float32 of what follows outputs of `read`; the next call may overwrite them."""

    def draw(self, logits: Tensor, temperatures: Tensor, shares: Tensor) -> Tensor:
        """Ids (N,), drawn as `draw_plain` draws; overwrites the logits."""

    def log_totals(self, logits: Tensor) -> Tensor:
        """The logarithms (N,) of the sums of e^logit: what a logit lacks to be a log-probability; float64."""

    def burst(
        self, slots: Sequence[int], tokens: Sequence[int], temperatures: Tensor, shares: Tensor, banned: Sequence[int]
    ) -> Tensor:
        """Each slot reads its token, draws the next, reads it, and so on: ids (T, N) drawn by shares (T, N).

        Computes what T rounds of `read`, `logits` and `draw` compute, and leaves the last id unread.
        """


def open_slots(model: LanguageModel, count: int) -> Slots:
    """Slots that step in tiles where model and processor allow it, otherwise by the equations."""
    return TileSlots(model, count) if steps_in_tiles(model) else PlainSlots(model, count)


ROWS_TOGETHER = 16
"""Products compute rows in blocks, and the rows of an incomplete last block may round differently."""


class PlainSlots:
    """Steps by the equations, in the model's own type and on its device.

    A product of N rows may round differently for another N, so every step computes all slots, in whole blocks.
    """

    def __init__(self, model: LanguageModel, count: int) -> None:
        self.model, self.count = model, count
        self._rows = math.ceil(count / ROWS_TOGETHER) * ROWS_TOGETHER
        self._state = model.initial_state(self._rows)

    def place(self, slot: int, layers: LayerStates) -> None:
        for here, given in zip(_flat(self._state), _flat(layers), strict=True):
            here[slot] = given[0]

    def layers(self, slot: int) -> LayerStates:
        return map_state(lambda tensor: tensor[slot : slot + 1].to("cpu", torch.float32, copy=True), self._state)

    @torch.no_grad()
    def read(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        device = self.model.device
        chosen = torch.tensor(slots, device=device)
        input = torch.zeros(self._rows, dtype=torch.int64, device=device)
        input[chosen] = torch.tensor(tokens, device=device)
        with evaluating(self.model):
            outputs, after = self.model.stack.step(self.model.embedding(input), self._state)
        for here, next_ in zip(_flat(self._state), _flat(after), strict=True):
            here[chosen] = next_[chosen].to(here.dtype)
        return outputs[chosen]

    @torch.no_grad()
    def logits(self, outputs: Tensor) -> Tensor:
        padded = outputs.new_zeros(self._rows, outputs.shape[1])
        padded[: len(outputs)] = outputs
        logits: Tensor = self.model.decoder(padded)
        return logits[: len(outputs)].float().cpu()

    def draw(self, logits: Tensor, temperatures: Tensor, shares: Tensor) -> Tensor:
        return draw_plain(logits, temperatures, shares)

    def log_totals(self, logits: Tensor) -> Tensor:
        return log_totals_plain(logits)

    def burst(
        self, slots: Sequence[int], tokens: Sequence[int], temperatures: Tensor, shares: Tensor, banned: Sequence[int]
    ) -> Tensor:
        drawn = []
        ids = torch.tensor(tokens)
        for share in shares:
            logits = self.logits(self.read(slots, ids.tolist()))
            ids = self.draw(
                logits.index_fill(-1, torch.tensor(banned, dtype=torch.int64), -torch.inf), temperatures, share
            )
            drawn.append(ids)
        return torch.stack(drawn)


class TileSlots:
    """Steps LSTM layers in bfloat16 tiles, which compute each row alone; only the slots asked for are computed."""

    def __init__(self, model: LanguageModel, count: int) -> None:
        self.count = count
        self._stepper = TileStepper(model, model.initial_state(count))
        packed = self._stepper.model
        self._embedding, self._layers, self._decoder = packed.embedding, packed.layers, packed.decoder
        self._bias = packed.decoder.bias
        self._hidden = [torch.zeros(count, layer.units, dtype=torch.bfloat16) for layer in self._layers]
        self._cell = [torch.zeros(count, layer.units) for layer in self._layers]
        self._outputs = with_slack(count, self._layers[-1].units).zero_()
        self._logits = packed.logits
        self._banned: tuple[int, ...] = ()

    def place(self, slot: int, layers: LayerStates) -> None:
        """Raises InputError for a state that no text leads to.

        A tile reads past the end of a row into the next one, and multiplies that by zero. So no row may ever hold a
        number that is not finite; from hidden values of at most 1 and finite cells, an LSTM leads to no other.
        """
        if not all(_is_reachable(*layer) for layer in layers):
            raise InputError(OUT_OF_RANGE)
        for hidden, cell, (given_hidden, given_cell) in zip(self._hidden, self._cell, layers, strict=True):
            hidden[slot], cell[slot] = given_hidden[0], given_cell[0]

    def layers(self, slot: int) -> LayerStates:
        row = slice(slot, slot + 1)
        return tuple(
            (hidden[row].float(), cell[row].clone()) for hidden, cell in zip(self._hidden, self._cell, strict=True)
        )

    def read(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        chosen = self._load(slots)
        output = self._embedding[torch.tensor(tokens)]
        for layer in self._layers:
            output = layer.step(output)
        self._store(chosen)
        return output

    def logits(self, outputs: Tensor) -> Tensor:
        self._ban(())
        rows = slice(0, len(outputs))
        self._outputs[rows] = outputs
        return self._decoder(self._outputs[rows], self._logits[rows])

    def draw(self, logits: Tensor, temperatures: Tensor, shares: Tensor) -> Tensor:
        return draw_native(logits, temperatures, shares)

    def log_totals(self, logits: Tensor) -> Tensor:
        return log_totals_native(logits)

    def burst(
        self, slots: Sequence[int], tokens: Sequence[int], temperatures: Tensor, shares: Tensor, banned: Sequence[int]
    ) -> Tensor:
        chosen = self._load(slots)
        self._ban(tuple(banned))
        model = PackedModel(self._embedding, self._layers, self._decoder, self._logits)
        drawn = generate(model, torch.tensor(tokens), temperatures, shares)
        self._store(chosen)
        return drawn

    def _load(self, slots: Sequence[int]) -> Tensor:
        chosen = torch.tensor(slots)
        for layer, hidden, cell in zip(self._layers, self._hidden, self._cell, strict=True):
            layer.load(hidden[chosen], cell[chosen])
        return chosen

    def _store(self, chosen: Tensor) -> None:
        for layer, hidden, cell in zip(self._layers, self._hidden, self._cell, strict=True):
            hidden[chosen], cell[chosen] = layer.state

    def _ban(self, banned: tuple[int, ...]) -> None:
        if banned != self._banned:
            self._decoder.bias, self._banned = self._bias, banned
            if banned:
                self._decoder.ban(banned)


def _is_reachable(hidden: Tensor, cell: Tensor) -> bool:
    return bool((hidden.abs() <= 1).all() and cell.isfinite().all())


def _flat(layers: LayerStates) -> list[Tensor]:
    return [tensor for layer in layers for tensor in layer]
