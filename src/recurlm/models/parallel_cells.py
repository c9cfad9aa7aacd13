"""Cells without a recurrent matrix, whose steps are one scan over time: the minimal GRU and the QRNN."""

import torch
from torch import Tensor, nn

from recurlm.kernels.linear_scan import linear_scan
from recurlm.models.cell import Cell
from recurlm.models.state import LayerState


class ParallelCell(Cell):
    """A layer without a recurrent matrix: S_n = keep_n S_{n-1} + new_n, so all steps are one scan over time.

    weight_ih (G H, window I) acts on the last `window` inputs, the newest last.
    """

    def __init__(self, input_size: int, hidden_size: int, window: int = 1) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = nn.Parameter(torch.zeros(rows, window * input_size))
        self.bias_ih = nn.Parameter(torch.zeros(rows))

    def from_input(self, read: Tensor) -> Tensor:
        """U x plus its bias, for all gates: read (..., window I) are the inputs x, result (..., G H)."""
        return read @ self.weight_ih.t() + self.bias_ih


class MinGRUCell(ParallelCell):
    """The GRU whose gate and candidate do not depend on the state (Feng et al. 2024, section 3.1).

    update    z_n = sigmoid(U_z x_n + b_z)
    candidate n_n = U_n x_n + b_n
    hidden    h_n = (1 - z_n) h_{n-1} + z_n n_n

    A z_n near 1 lets the candidate in; in the GRU it keeps the old state.
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
        """1 - z_n and z_n n_n, from input (..., I); results (..., H)."""
        update, candidate = self.from_input(input).chunk(2, dim=-1)
        update = torch.sigmoid(update)
        self.observe(update=update, candidate=candidate)
        return 1 - update, update * candidate


class QRNNCell(ParallelCell):
    """Quasi-recurrent layer with fo-pooling (Bradbury et al. 2017, equations 3 and 5).

    candidate   CX_n = tanh(U_c [x_{n-1}, x_n] + b_c)
    forget      f_n  = sigmoid(U_f [x_{n-1}, x_n] + b_f)
    output gate O_n  = sigmoid(U_o [x_{n-1}, x_n] + b_o)
    cell        C_n  = f_n C_{n-1} + (1 - f_n) CX_n
    output      h_n  = O_n C_n

    These are the equations of window 2, whose state holds x_{n-1} (B, I) beside C_n; window 1 reads x_n alone. The
    gates are stored in this order.
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
        """f_n, (1 - f_n) CX_n, and O_n, from the inputs read (..., window I); results (..., H)."""
        candidate, forget, output_gate = self.from_input(read).chunk(3, dim=-1)
        forget, candidate, output_gate = torch.sigmoid(forget), torch.tanh(candidate), torch.sigmoid(output_gate)
        self.observe(forget=forget, candidate=candidate, output_gate=output_gate)
        return forget, (1 - forget) * candidate, output_gate

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size, self.input_size)[: self.window]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, window={self.window}"
