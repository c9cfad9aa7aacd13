"""One LSTM layer over all time steps in bfloat16 tiles, fast on hardware that multiplies such tiles.

Arguments and results are those of `recurrent_sweep.lstm`. Products are in bfloat16 with float32 sums, gates and cell
state in float32. The hidden state is rounded to bfloat16 once per step, because the next product takes it so.
"""

from typing import Any

import torch
from torch import Tensor

from recurlm.kernels.native import TILE_COLUMNS, TILE_DEPTH, TILE_SIZE, call, tiles, with_slack


def lstm_tiles(
    weights: tuple[Tensor, Tensor, Tensor, Tensor], input: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """input (T, B, I); outputs (T, B, H) are bfloat16, the last state (B, H) is float32. Differentiable in all."""
    output, hidden, cell = _LSTMLayer.apply(input, *state, *weights, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return output, (hidden, cell)


def pack_gates(weight: Tensor) -> Tensor:
    """Converts a weight matrix (4 H, I) to the bfloat16 tiles that the library multiplies."""
    units, depth = len(weight) // 4, weight.shape[1]
    packed = torch.empty(tiles(units, TILE_COLUMNS) * tiles(depth, TILE_DEPTH) * 4 * TILE_SIZE, dtype=torch.bfloat16)
    call("recurlm_lstm_pack", [weight.float().contiguous(), packed], [units, depth])
    return packed


class _LSTMLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        first_hidden: Tensor,
        first_cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        learning: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Autograd passes every tensor as an argument of its own, so there are many."""
        steps, batch, inputs = input.shape
        units = weight_hh.shape[1]
        rows = steps * batch
        read = with_slack(rows, inputs)
        read.copy_(input.reshape(rows, inputs))
        hidden = with_slack(batch + rows, units)
        if units % TILE_DEPTH:
            hidden.zero_()  # the last row's tile of a step may read from the next step, which is not written yet
        hidden[:batch] = first_hidden
        cell = torch.empty(batch + rows, units)
        cell[:batch] = first_cell
        gates = torch.empty(rows, 4 * units, dtype=torch.bfloat16) if learning else None
        packed = [pack_gates(weight) for weight in (weight_ih, weight_hh)]
        bias = (bias_ih + bias_hh).float()
        call("recurlm_lstm_forward", [read, *packed, bias, hidden, cell, gates], [steps, batch, inputs, units])
        if gates is not None:
            ctx.save_for_backward(read, hidden, cell, gates, weight_ih, weight_hh)
        ctx.shape = steps, batch, inputs, units
        output = hidden[batch:].view(steps, batch, units)
        return output, hidden[rows:].to(torch.float32), cell[rows:].clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:
        read, hidden, cell, gates, weight_ih, weight_hh = ctx.saved_tensors
        steps, batch, inputs, units = ctx.shape
        rows = steps * batch
        errors = with_slack(rows, 4 * units)
        grad_output = grad_output.to(torch.bfloat16).contiguous()
        grad_cell = grad_cell.to(torch.float32, copy=True).contiguous()
        given = [grad_output, weight_hh.float().contiguous(), gates, cell, grad_hidden.float().contiguous(), grad_cell]
        call("recurlm_lstm_backward", [*given, errors], [steps, batch, units])
        half = torch.bfloat16
        wanted = ctx.needs_input_grad
        grad_input = (errors @ weight_ih.to(half)).view(steps, batch, inputs) if wanted[0] else None
        grad_first = errors[:batch] @ weight_hh.to(half) if wanted[1] else None
        grad_ih = (errors.t() @ read).to(weight_ih.dtype) if wanted[3] else None
        grad_hh = (errors.t() @ hidden[:rows]).to(weight_hh.dtype) if wanted[4] else None
        grad_bias = errors.sum(0, dtype=torch.float32) if wanted[5] or wanted[6] else None
        return grad_input, grad_first, grad_cell, grad_ih, grad_hh, grad_bias, grad_bias, None


class PackedLSTM:
    """One layer, step by step without gradient; it holds the weights as bfloat16 tiles, and the state."""

    def __init__(self, weights: tuple[Tensor, Tensor, Tensor, Tensor], hidden: Tensor, cell: Tensor) -> None:
        """weights as for `lstm_tiles`; hidden and cell (B, H) are the state to start from."""
        weight_ih, weight_hh, bias_ih, bias_hh = (weight.detach() for weight in weights)
        self.packed = [pack_gates(weight_ih), pack_gates(weight_hh)]
        self.bias = (bias_ih + bias_hh).float()
        self.inputs, self.units = weight_ih.shape[1], weight_hh.shape[1]
        self.most = len(hidden)
        self.input = with_slack(self.most, self.inputs).zero_()  # a tile reads into the row after the last one
        self.hidden = with_slack(2 * self.most, self.units).zero_()  # state before the step and after it
        self.cell = torch.empty(2 * self.most, self.units)
        self.load(hidden, cell)

    def load(self, hidden: Tensor, cell: Tensor) -> None:
        """Replaces the state by hidden and cell (B, H); B is at most what it was at first."""
        rows = len(hidden)
        if rows > self.most:
            raise ValueError(f"{rows} sequences, and the layer has room for {self.most}")
        self.rows, self.before, self.after = rows, slice(0, rows), slice(rows, 2 * rows)
        self.hidden[self.after], self.cell[self.after] = hidden, cell

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """Hidden (B, H) in bfloat16 and cell (B, H) in float32 after the last step, which the next step overwrites."""
        return self.hidden[self.after], self.cell[self.after]

    def step(self, input: Tensor) -> Tensor:
        """input (B, I); returns the output (B, H) in bfloat16, which the next step overwrites."""
        self.input[self.before] = input
        self.hidden[self.before] = self.hidden[self.after]
        self.cell[self.before] = self.cell[self.after]
        tensors = [self.input, *self.packed, self.bias, self.hidden, self.cell, None]
        call("recurlm_lstm_forward", tensors, [1, self.rows, self.inputs, self.units])
        return self.hidden[self.after]
