"""The equations, one step each: the simple recurrent cell, the LSTM, the GRU.

Names are those of docs/notation.md. Weights are stacked gate by gate in PyTorch's order. A cell is one class;
to run it over a sequence by hand:

    state = cell.initial_state(batch)
    for input in inputs:  # (T, B, I)
        output, state = cell(input, state)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from recurlm.kernels import recurrent_sweep
from recurlm.kernels.masked_state_sweep import lstm_with_masked_state
from recurlm.models.dropout import mask, weight_mask
from recurlm.models.state import LayerState


class Cell(nn.Module, ABC):
    """One recurrent layer's parameters and its step: weight_ih (G H, I), weight_hh (G H, H), biases (G H)."""

    gates: ClassVar[int]
    carried: ClassVar[int] = 1
    cudnn_mode: ClassVar[str | None] = None
    sweeps_masked_state: ClassVar[bool] = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows))
        self._dropped_weight_hh: Tensor | None = None
        self._state_mask: Tensor | None = None

    @abstractmethod
    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """One time step: input (B, I), state of (B, H) tensors; returns the output (B, H) and the new state."""

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """All time steps: input (T, B, I); returns outputs (T, B, H) and the last state. Fast where there is a way."""
        return recurrent_sweep.step_by_step(self, input, state)

    def initial_state(self, batch: int) -> LayerState:
        """Zeros: nothing has been read."""
        return tuple(self.weight_hh.new_zeros(batch, self.hidden_size) for _ in range(self.carried))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Another device or type is another memory for the weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.cudnn_mode is not None:
            recurrent_sweep.flatten(self.weights, self.cudnn_mode)
        return self

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"

    @contextmanager
    def dropping(self, batch: int, *, recurrent_weights: float, state: float) -> Iterator[None]:
        """Inside, while training, every step of the cell has the same masks; a mask is 0 or 1 / (1 - p).

        recurrent_weights: W ∘ M with one M (G H, H) for the batch, known to steps and sweeps (DropConnect, Wan et al.
        2013; on recurrent weights Merity et al. 2018, 2) · state: W (m ∘ S_{n-1}) with one m (H) for each sequence,
        known to steps and to sweeps of cells that say so in `sweeps_masked_state` (Gal and Ghahramani 2016, eq. 7;
        Semeniuta et al. 2016). What a cell carries past W, as a GRU its hidden state, stays whole.
        """
        if self.training and recurrent_weights:
            self._dropped_weight_hh = self.weight_hh * weight_mask(self.weight_hh, recurrent_weights)
        if self.training and state:
            self._state_mask = mask((batch, self.hidden_size), state, self.weight_hh)
        try:
            yield
        finally:
            self._dropped_weight_hh = self._state_mask = None

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input weights, recurrent weights as they are after dropout, and their biases."""
        weight_hh = self.weight_hh if self._dropped_weight_hh is None else self._dropped_weight_hh
        return self.weight_ih, weight_hh, self.bias_ih, self.bias_hh

    def from_input(self, input: Tensor) -> Tensor:
        """U I_n and its bias, for all gates (B, G H)."""
        return input @ self.weight_ih.t() + self.bias_ih

    def from_hidden(self, hidden: Tensor) -> Tensor:
        """W S_{n-1} and its bias, for all gates (B, G H)."""
        if self._state_mask is not None:
            hidden = hidden * self._state_mask
        return hidden @ self.weights[1].t() + self.bias_hh


class SimpleCell(Cell):
    """S_n = f(W S_{n-1} + U I_n), and O_n = S_n: the softmax g(V S_n) is the language model's (Elman 1990)."""

    gates = 1

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden = self.activation(self.from_input(input) + self.from_hidden(state[0]))
        return hidden, (hidden,)

    @abstractmethod
    def activation(self, value: Tensor) -> Tensor:
        """f"""


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


class LSTMCell(Cell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

    forget      f_n  = sigmoid(W_f [h_{n-1}, x_n] + b_f)
    input gate  I_n  = sigmoid(W_i [h_{n-1}, x_n] + b_i)
    candidate   CX_n = tanh(W_c [h_{n-1}, x_n] + b_c)
    cell        C_n  = f_n C_{n-1} + I_n CX_n
    output gate O_n  = sigmoid(W_o [h_{n-1}, x_n] + b_o)
    hidden      h_n  = O_n tanh(C_n)

    Each pair (W, b) is stored as its part on x (weight_ih, bias_ih) and its part on h (weight_hh, bias_hh).
    """

    gates = 4
    carried = 2
    cudnn_mode = "LSTM"
    sweeps_masked_state = True

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, cell = state
        sums = self.from_input(input) + self.from_hidden(hidden)
        input_gate, forget, candidate, output_gate = sums.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
        return hidden, (hidden, cell)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, cell = state
        if self._state_mask is not None:
            return lstm_with_masked_state(self.weights, input, (hidden, cell), self._state_mask)
        return recurrent_sweep.lstm(self.weights, input, state)


class GRUCell(Cell):
    """Gated recurrent unit in cuDNN's and MXNet's form (Cho et al. 2014).

    reset     r_n = sigmoid(U_r x_n + b_r + W_r h_{n-1} + b'_r)
    update    z_n = sigmoid(U_z x_n + b_z + W_z h_{n-1} + b'_z)
    candidate n_n = tanh(U_n x_n + b_n + r_n (W_n h_{n-1} + b'_n))
    hidden    h_n = (1 - z_n) n_n + z_n h_{n-1}
    """

    gates = 3
    cudnn_mode = "GRU"

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        (hidden,) = state
        reset_x, update_x, candidate_x = self.from_input(input).chunk(3, dim=-1)
        reset_h, update_h, candidate_h = self.from_hidden(hidden).chunk(3, dim=-1)
        reset = torch.sigmoid(reset_x + reset_h)
        update = torch.sigmoid(update_x + update_h)
        candidate = torch.tanh(candidate_x + reset * candidate_h)
        hidden = (1 - update) * candidate + update * hidden
        return hidden, (hidden,)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.gru(self.weights, input, state)


CELLS: dict[str, type[Cell]] = {
    "tanh": TanhCell,
    "relu": ReluCell,
    "sigmoid": SigmoidCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
}
