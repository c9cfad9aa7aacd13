"""A stack of recurrent layers, unrolled over time with shared parameters."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from recurlm.config import ModelOptions
from recurlm.kernels.recurrent_sweep import step_by_step
from recurlm.models.cell import Cell, RecurrentCell
from recurlm.models.cells import build_cells
from recurlm.models.dropout import SequenceDropout
from recurlm.models.state import LayerState, LayerStates, Restarts, sweep_restarting


class RecurrentStack(nn.Module):
    """L cells; the outputs of one layer are the inputs of the next.

    Takes input (T, B, E), the state of L layers, and where columns restart from zeros; returns outputs (T, B, H of the
    last layer) and the state after step T. A residual layer adds its input to its output; with `skip` the outputs are
    the sums of all layers' outputs. With `fast = False` every cell is computed step by step from its equations. So is a
    cell that has no sweep for dropout of the state, while training with such dropout.
    """

    def __init__(self, options: ModelOptions) -> None:
        super().__init__()
        self.layers = nn.ModuleList(build_cells(options))
        self.between = nn.ModuleList(
            SequenceDropout(probability, locked=options.dropout.locked) for probability in options.dropouts_between
        )
        self.residuals = options.residuals
        self.skip = options.skip
        self.dropout = options.dropout
        self.fast = True

    def forward(
        self, input: Tensor, state: LayerStates, restarts: Restarts | None = None
    ) -> tuple[Tensor, LayerStates]:
        after, outputs = [], []
        output = input
        for number, (layer, layer_state) in enumerate(zip(self.cells, state, strict=True)):
            below = output if number == 0 else self.between[number - 1](output)
            output, last = self._sweep(layer, below, layer_state, restarts)
            if self.residuals[number]:
                output = output + below
            after.append(last)
            outputs.append(output)
        return self._top(outputs), tuple(after)

    def _sweep(
        self, layer: Cell, input: Tensor, state: LayerState, restarts: Restarts | None
    ) -> tuple[Tensor, LayerState]:
        fast, rates = self.fast, self.dropout
        dropping: AbstractContextManager[None] = nullcontext()
        if isinstance(layer, RecurrentCell):
            masked = self.training and rates.state > 0
            fast = fast and (layer.sweeps_masked_state or not masked)
            dropping = layer.dropping(input.shape[1], recurrent_weights=rates.recurrent_weights, state=rates.state)
        with dropping:
            return sweep_restarting(layer.sweep if fast else partial(step_by_step, layer), input, state, restarts)

    def step(self, input: Tensor, state: LayerStates) -> tuple[Tensor, LayerStates]:
        """Computes one time step without dropout: input (B, E); returns the output (B, H) and the new state."""
        after, outputs = [], []
        output = input
        for layer, residual, layer_state in zip(self.cells, self.residuals, state, strict=True):
            below = output
            output, last = layer(below, layer_state)
            if residual:
                output = output + below
            after.append(last)
            outputs.append(output)
        return self._top(outputs), tuple(after)

    def _top(self, outputs: list[Tensor]) -> Tensor:
        return torch.stack(outputs).sum(0) if self.skip else outputs[-1]

    @property
    def cells(self) -> list[Cell]:
        """The layers, from input to output."""
        return [layer for layer in self.layers if isinstance(layer, Cell)]

    def initial_state(self, batch: int) -> LayerStates:
        """Zeros for every layer."""
        return tuple(layer.initial_state(batch) for layer in self.cells)
