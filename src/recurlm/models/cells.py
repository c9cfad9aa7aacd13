"""The cells by name, and the equations of the simple cells and the GRU, one step each.

The LSTM and its variants are in `lstm_cells.py`, cells without a recurrent matrix in `parallel_cells.py`.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from recurlm.config import CellKind, ModelOptions
from recurlm.kernels import recurrent_sweep
from recurlm.models.cell import Cell, RecurrentCell
from recurlm.models.lstm_cells import BoundLSTMCell, LayerNormLSTMCell, LSTMCell, MogrifierCell
from recurlm.models.parallel_cells import MinGRUCell, QRNNCell
from recurlm.models.state import LayerState


class SimpleCell(RecurrentCell):
    """S_n = f(W S_{n-1} + U I_n), and O_n = S_n; the softmax g(V S_n) belongs to the language model (Elman 1990)."""

    gates = 1

    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden = self.activation(from_input + self.from_hidden(state[0]))
        return hidden, (hidden,)

    @abstractmethod
    def activation(self, value: Tensor) -> Tensor:
        """The function f."""


class TanhCell(SimpleCell):
    """The simple cell with f = tanh."""

    cudnn_mode = "RNN_TANH"

    def activation(self, value: Tensor) -> Tensor:
        return torch.tanh(value)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.tanh(self.weights, input, state)


class ReluCell(SimpleCell):
    """The simple cell with f = max(0, x)."""

    cudnn_mode = "RNN_RELU"

    def activation(self, value: Tensor) -> Tensor:
        return torch.relu(value)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.relu(self.weights, input, state)


class SigmoidCell(SimpleCell):
    """The simple cell with f = 1 / (1 + exp(-x)); no library has a fast path for it."""

    def activation(self, value: Tensor) -> Tensor:
        return torch.sigmoid(value)


class GRUCell(RecurrentCell):
    """Gated recurrent unit in cuDNN's and MXNet's form (Cho et al. 2014).

    reset     r_n = sigmoid(U_r x_n + b_r + W_r h_{n-1} + b'_r)
    update    z_n = sigmoid(U_z x_n + b_z + W_z h_{n-1} + b'_z)
    candidate n_n = tanh(U_n x_n + b_n + r_n (W_n h_{n-1} + b'_n))
    hidden    h_n = (1 - z_n) n_n + z_n h_{n-1}
    """

    gates = 3
    cudnn_mode = "GRU"

    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        (hidden,) = state
        reset_x, update_x, candidate_x = from_input.chunk(3, dim=-1)
        reset_h, update_h, candidate_h = self.from_hidden(hidden).chunk(3, dim=-1)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)
        candidate = torch.tanh(candidate_x + reset * candidate_h)
        self.observe(reset=reset, update=update, candidate=candidate)
        hidden = (1 - update) * candidate + update * hidden
        return hidden, (hidden,)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.gru(self.weights, input, state)


CELLS: dict[CellKind, type[Cell]] = {
    "lstm": LSTMCell,
    "mogrifier": MogrifierCell,
    "layer-norm-lstm": LayerNormLSTMCell,
    "gru": GRUCell,
    "mingru": MinGRUCell,
    "qrnn": QRNNCell,
    "tanh": TanhCell,
    "relu": ReluCell,
    "sigmoid": SigmoidCell,
}


def build_cells(options: ModelOptions) -> list[Cell]:
    """The layers that a recipe asks for, from input to output, before their weights are drawn."""
    return [_build(options, number) for number in range(len(options.hidden_sizes))]


def _build(options: ModelOptions, number: int) -> Cell:
    kind, sizes, gate = options.cells[number], options.layer_sizes[number], options.input_gate
    if kind == "lstm" and gate != "free":
        return BoundLSTMCell(*sizes, gate)
    if kind == "mogrifier":
        return MogrifierCell(*sizes, gate, rounds=options.mogrifier.rounds, rank=options.mogrifier.rank)
    if kind == "layer-norm-lstm":
        return LayerNormLSTMCell(*sizes, gate)
    if kind == "qrnn":
        return QRNNCell(*sizes, options.windows[number])
    return CELLS[kind](*sizes)
