"""The equations, one step each: the simple cell, the LSTM and its kin, the GRU, layers without a recurrent matrix.

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
import torch.nn.functional as F
from torch import Tensor, nn

from recurlm.config import CellKind, InputGate, ModelOptions
from recurlm.kernels import recurrent_sweep
from recurlm.kernels.linear_scan import linear_scan
from recurlm.kernels.masked_state_sweep import lstm_with_masked_state
from recurlm.models.dropout import mask, weight_mask
from recurlm.models.state import LayerState


class Cell(nn.Module, ABC):
    """One layer's parameters and its step; weight_ih (G H, I) and bias_ih (G H) act on the input."""

    gates: int
    state_names: tuple[str, ...] = ("h",)
    weight_ih: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size

    @abstractmethod
    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """One time step: input (B, I) and the state before it; returns the output (B, H) and the new state."""

    @abstractmethod
    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """All time steps: input (T, B, I); returns outputs (T, B, H) and the last state. Fast where there is a way."""

    @property
    def carried(self) -> int:
        """How many tensors a step hands to the next."""
        return len(self.state_names)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each of them."""
        return (self.hidden_size,) * self.carried

    def initial_state(self, batch: int) -> LayerState:
        """Zeros: nothing has been read."""
        return tuple(self.weight_ih.new_zeros(batch, size) for size in self.state_sizes)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class RecurrentCell(Cell):
    """A layer whose step multiplies the hidden state, by weight_hh (G H, H) and bias_hh (G H)."""

    cudnn_mode: ClassVar[str | None] = None
    sweeps_masked_state: ClassVar[bool] = False

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, input_size))
        self.weight_hh = nn.Parameter(torch.zeros(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))
        self.bias_hh = nn.Parameter(torch.zeros(rows))
        self._dropped_weight_hh: Tensor | None = None
        self._state_mask: Tensor | None = None

    @abstractmethod
    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """One time step, given what `from_input` makes of the input."""

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return self.advance(self.from_input(input), state)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        # the input's products do not wait for the state, so they are one product for all steps
        return recurrent_sweep.step_by_step(self.advance, self.from_input(input), state)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Another device or type is another memory for the weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.cudnn_mode is not None:
            recurrent_sweep.flatten_for_cudnn(self.weights, self.cudnn_mode)
        return self

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
        """U I_n and its bias, for all gates: input (..., I), result (..., G H)."""
        return input @ self.weight_ih.t() + self.bias_ih

    def from_hidden(self, hidden: Tensor) -> Tensor:
        """W S_{n-1} and its bias, for all gates (B, G H)."""
        return self.recurrent_product(hidden) + self.bias_hh

    def recurrent_product(self, hidden: Tensor) -> Tensor:
        """W S_{n-1} alone, after dropout of either."""
        return self.dropped_state(hidden) @ self.weights[1].t()

    def dropped_state(self, hidden: Tensor) -> Tensor:
        """m ∘ S_{n-1}: the hidden state after dropout."""
        return hidden if self._state_mask is None else hidden * self._state_mask


class SimpleCell(RecurrentCell):
    """S_n = f(W S_{n-1} + U I_n), and O_n = S_n: the softmax g(V S_n) is the language model's (Elman 1990)."""

    gates = 1

    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden = self.activation(from_input + self.from_hidden(state[0]))
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


class MemoryCell(RecurrentCell):
    """What every LSTM does with the sums of its gates: input gate, forget, candidate, output gate.

    The input gate is `free`, `capped` at 1 - f_n (Melis et al. 2020), or `coupled`, 1 - f_n itself, and then has no
    weights (Greff et al. 2015). Capped or coupled, |C_n| stays below 1.
    """

    gates = 4
    state_names = ("h", "c")
    sweeps_masked_state = True

    def __init__(self, input_size: int, hidden_size: int, input_gate: InputGate = "free") -> None:
        self.input_gate = input_gate
        self.gates = 3 if input_gate == "coupled" else 4
        super().__init__(input_size, hidden_size)

    def advance(self, from_input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, cell = state
        return self.remember(from_input + self.from_hidden(hidden), cell)

    def remember(self, sums: Tensor, cell: Tensor) -> tuple[Tensor, LayerState]:
        """C_n and h_n from the sums of all gates (B, G H) and C_{n-1} (B, H); returns the output and the new state."""
        *entry, forget, candidate, output_gate = sums.chunk(self.gates, dim=-1)
        forget = torch.sigmoid(forget)
        input_gate = torch.sigmoid(entry[0]) if entry else 1 - forget
        if self.input_gate == "capped":
            input_gate = torch.minimum(input_gate, 1 - forget)
        cell = forget * cell + input_gate * torch.tanh(candidate)
        hidden = torch.sigmoid(output_gate) * torch.tanh(self.shown(cell))
        return hidden, (hidden, cell)

    def shown(self, cell: Tensor) -> Tensor:
        """The cell state as the output gate sees it."""
        return cell

    @property
    def forget_rows(self) -> slice:
        """Where the forget gate stands in weights and biases."""
        first = (self.gates - 3) * self.hidden_size
        return slice(first, first + self.hidden_size)

    def extra_repr(self) -> str:
        bound = "" if self.input_gate == "free" else f", input_gate={self.input_gate}"
        return super().extra_repr() + bound


class LSTMCell(MemoryCell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997, Gers et al. 2000).

    forget      f_n  = sigmoid(W_f [h_{n-1}, x_n] + b_f)
    input gate  I_n  = sigmoid(W_i [h_{n-1}, x_n] + b_i)
    candidate   CX_n = tanh(W_c [h_{n-1}, x_n] + b_c)
    cell        C_n  = f_n C_{n-1} + I_n CX_n
    output gate O_n  = sigmoid(W_o [h_{n-1}, x_n] + b_o)
    hidden      h_n  = O_n tanh(C_n)

    Each pair (W, b) is stored as its part on x (weight_ih, bias_ih) and its part on h (weight_hh, bias_hh).
    """

    cudnn_mode = "LSTM"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, cell = state
        if self._state_mask is not None:
            return lstm_with_masked_state(self.weights, input, (hidden, cell), self._state_mask)
        return recurrent_sweep.lstm(self.weights, input, state)


class BoundLSTMCell(MemoryCell):
    """The LSTM whose input gate is bound by the forget gate, capped or coupled; no library has a fast path for it.

    capped      I_n  = min(sigmoid(W_i [h_{n-1}, x_n] + b_i), 1 - f_n)
    coupled     I_n  = 1 - f_n
    """


class LayerNormLSTMCell(MemoryCell):
    """The LSTM with layer normalisation (Ba et al. 2016, equations 20 to 22).

    all gates   (I, f, CX, O)_n = LN(U x_n; gain_ih, bias_ih) + LN(W h_{n-1}; gain_hh, bias_hh)
    hidden      h_n  = sigmoid(O_n) tanh(LN(C_n; gain_cell, bias_cell))

    LN(v; gain, bias) = gain (v - mean(v)) / sqrt(var(v) + 1e-5) + bias, over all G H sums together, and over the H
    numbers of the cell state. The paper's further bias b is the sum of the two.
    """

    def __init__(self, input_size: int, hidden_size: int, input_gate: InputGate = "free") -> None:
        super().__init__(input_size, hidden_size, input_gate)
        rows = self.gates * hidden_size
        self.gain_ih = nn.Parameter(torch.ones(rows))
        self.gain_hh = nn.Parameter(torch.ones(rows))
        self.gain_cell = nn.Parameter(torch.ones(hidden_size))
        self.bias_cell = nn.Parameter(torch.zeros(hidden_size))

    def from_input(self, input: Tensor) -> Tensor:
        return _layer_norm(input @ self.weight_ih.t(), self.gain_ih, self.bias_ih)

    def from_hidden(self, hidden: Tensor) -> Tensor:
        return _layer_norm(self.recurrent_product(hidden), self.gain_hh, self.bias_hh)

    def shown(self, cell: Tensor) -> Tensor:
        return _layer_norm(cell, self.gain_cell, self.bias_cell)

    @property
    def gains(self) -> tuple[Tensor, Tensor, Tensor]:
        """What multiplies normalised numbers; ones at the start."""
        return self.gain_ih, self.gain_hh, self.gain_cell


class MogrifierCell(MemoryCell):
    """The LSTM whose input and hidden state gate each other before each step (Melis et al. 2020, equations 1 and 2).

    odd rounds  x = 2 sigmoid(Q h + b) x
    even rounds h = 2 sigmoid(R x + b) h

    and then the LSTM of this x and this h. Q (I, H) and R (H, I) are another pair each round, whole or of a low rank,
    the product of (I, rank) and (rank, H). The bias is that of the authors' program, and so is that dropout of the
    state comes before the rounds. Nothing of a step can be computed before the step before it.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        input_gate: InputGate = "free",
        *,
        rounds: int = 5,
        rank: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, input_gate)
        sizes = (hidden_size, input_size), (input_size, hidden_size)
        self.rounds = nn.ModuleList(_factored(*sizes[number % 2], rank) for number in range(rounds))

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden, cell = self.dropped_state(state[0]), state[1]
        for number, gate in enumerate(self.rounds):
            if number % 2 == 0:
                input = 2 * torch.sigmoid(gate(hidden)) * input
            else:
                hidden = 2 * torch.sigmoid(gate(input)) * hidden
        return super().forward(input, (hidden, cell))

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.step_by_step(self, input, state)

    def recurrent_product(self, hidden: Tensor) -> Tensor:
        return hidden @ self.weights[1].t()  # the rounds have made this h of the dropped one


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
        hidden = (1 - update) * candidate + update * hidden
        return hidden, (hidden,)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        return recurrent_sweep.gru(self.weights, input, state)


class ParallelCell(Cell):
    """A layer without a recurrent matrix, S_n = keep_n S_{n-1} + new_n, whose steps are one scan over time.

    weight_ih (G H, window I) acts on the last `window` inputs, the newest last.
    """

    def __init__(self, input_size: int, hidden_size: int, window: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, window * input_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))

    def from_input(self, read: Tensor) -> Tensor:
        """U on what is read, and its bias, for all gates: read (..., window I), result (..., G H)."""
        return read @ self.weight_ih.t() + self.bias_ih


class MinGRUCell(ParallelCell):
    """The GRU whose gate and candidate do not look at the state (Feng et al. 2024, section 3.1).

    update    z_n = sigmoid(U_z x_n + b_z)
    candidate n_n = U_n x_n + b_n
    hidden    h_n = (1 - z_n) h_{n-1} + z_n n_n

    z_n lets the new in, the other way round than the GRU's.
    """

    gates = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        keep, new = self.terms(input)
        hidden = keep * state[0] + new
        return hidden, (hidden,)

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        hidden = linear_scan(*self.terms(input), state[0])
        return hidden, (hidden[-1],)

    def terms(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """1 - z_n and z_n n_n: input (..., I), results (..., H)."""
        update, candidate = self.from_input(input).chunk(2, dim=-1)
        update = torch.sigmoid(update)
        return 1 - update, update * candidate


class QRNNCell(ParallelCell):
    """Quasi-recurrent layer with fo-pooling (Bradbury et al. 2017, equations 3 and 5).

    candidate   CX_n = tanh(U_c [x_{n-1}, x_n] + b_c)
    forget      f_n  = sigmoid(U_f [x_{n-1}, x_n] + b_f)
    output gate O_n  = sigmoid(U_o [x_{n-1}, x_n] + b_o)
    cell        C_n  = f_n C_{n-1} + (1 - f_n) CX_n
    output      h_n  = O_n C_n

    That is window 2, which carries x_{n-1} (B, I) beside C_n; window 1 reads x_n alone. The gates stand in this order.
    """

    gates = 3

    def __init__(self, input_size: int, hidden_size: int, window: int = 2) -> None:
        super().__init__(input_size, hidden_size, window)
        self.window = window
        self.state_names = ("c", "x")[:window]

    def forward(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        keep, new, output_gate = self.terms(torch.cat([*state[1:], input], dim=-1))
        cell = keep * state[0] + new
        return output_gate * cell, (cell, input)[: self.window]

    def sweep(self, input: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        before = [torch.cat([last[None], input[:-1]]) for last in state[1:]]
        keep, new, output_gate = self.terms(torch.cat([*before, input], dim=-1))
        cells = linear_scan(keep, new, state[0])
        return output_gate * cells, (cells[-1], input[-1])[: self.window]

    def terms(self, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f_n, (1 - f_n) CX_n and O_n: read (..., window I), results (..., H)."""
        candidate, forget, output_gate = self.from_input(read).chunk(3, dim=-1)
        forget = torch.sigmoid(forget)
        return forget, (1 - forget) * torch.tanh(candidate), torch.sigmoid(output_gate)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size, self.input_size)[: self.window]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, window={self.window}"


def _factored(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """An affine map whose matrix is whole, or the product of (outputs, rank) and (rank, inputs)."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def _layer_norm(value: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(value.to(gain.dtype), gain.shape, gain, bias)


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
    """The layers that a recipe asks for, from input to output, their weights still to be drawn."""
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
