"""The LSTM and its variants: a bound input gate, layer normalization, the Mogrifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recurlm.config import InputGate
from recurlm.kernels import recurrent_sweep
from recurlm.kernels.masked_state_sweep import lstm_with_masked_state
from recurlm.models.cell import RecurrentCell
from recurlm.models.state import LayerState


class MemoryCell(RecurrentCell):
    """The step that all LSTMs share, from the sums of the gates: input gate, forget, candidate, output gate.

    The input gate is `free`, `capped` at 1 - f_n (Melis et al. 2020), or `coupled`, which is 1 - f_n and has no
    weights (Greff et al. 2015). With a capped or coupled gate, |C_n| stays below 1.
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
        """Computes C_n and h_n from the sums of all gates (B, G H) and C_{n-1} (B, H); returns output and new state."""
        *entry, forget, candidate, output_gate = sums.chunk(self.gates, dim=-1)
        forget = torch.sigmoid(forget)
        input_gate = torch.sigmoid(entry[0]) if entry else 1 - forget
        if self.input_gate == "capped":
            input_gate = torch.minimum(input_gate, 1 - forget)
        candidate, output_gate = torch.tanh(candidate), torch.sigmoid(output_gate)
        self.observe(input_gate=input_gate, forget=forget, candidate=candidate, output_gate=output_gate)
        cell = forget * cell + input_gate * candidate
        hidden = output_gate * torch.tanh(self.shown(cell))
        return hidden, (hidden, cell)

    def shown(self, cell: Tensor) -> Tensor:
        """The cell state as the output gate sees it."""
        return cell

    @property
    def forget_rows(self) -> slice:
        """The rows of the forget gate in weights and biases."""
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

    Each pair (W, b) is stored in two parts: weight_ih and bias_ih act on x, weight_hh and bias_hh on h.
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
    """The LSTM whose input gate is bound by the forget gate; no library has a fast path for it.

    capped      I_n  = min(sigmoid(W_i [h_{n-1}, x_n] + b_i), 1 - f_n)
    coupled     I_n  = 1 - f_n
    """


class LayerNormLSTMCell(MemoryCell):
    """The LSTM with layer normalization (Ba et al. 2016, equations 20 to 22).

    all gates   (I, f, CX, O)_n = LN(U x_n; gain_ih, bias_ih) + LN(W h_{n-1}; gain_hh, bias_hh)
    hidden      h_n  = sigmoid(O_n) tanh(LN(C_n; gain_cell, bias_cell))

    LN(v; gain, bias) = gain (v - mean(v)) / sqrt(var(v) + 1e-5) + bias, over all G H sums together, or over the H
    elements of the cell state. The paper's additional bias b is the sum of bias_ih and bias_hh.
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
        """The factors of normalized values; ones at the start."""
        return self.gain_ih, self.gain_hh, self.gain_cell


class MogrifierCell(MemoryCell):
    """The LSTM whose input and hidden state gate each other before each step (Melis et al. 2020, equations 1 and 2).

    odd rounds  x = 2 sigmoid(Q h + b) x
    even rounds h = 2 sigmoid(R x + b) h

    followed by the LSTM step of this x and this h. Every round has its own Q (I, H) or R (H, I), either a full matrix
    or a product of low rank, (I, rank) times (rank, H). Two details come from the authors' program: the bias, and that
    dropout of the state precedes the rounds. No part of a step can be computed before the previous step is done.
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
        return hidden @ self.weights[1].t()  # dropout came before the rounds


def _factored(inputs: int, outputs: int, rank: int | None) -> nn.Module:
    """An affine map with a full matrix, or with the product of (outputs, rank) and (rank, inputs)."""
    if rank is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, outputs))


def _layer_norm(value: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(value.to(gain.dtype), gain.shape, gain, bias)
