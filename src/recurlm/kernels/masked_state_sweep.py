"""One LSTM layer over all time steps, with a mask (B, H) on the hidden state that enters the recurrent product.

The plain reference is `recurrent_sweep.step_by_step` of a cell that drops its state. One product with the input comes
before the loop over time, and one product for each weight's gradient after it; the loop has only the recurrent
products.
"""

from typing import Any

import torch
from torch import Tensor

from recurlm.kernels.matrix_product import product_type


def lstm_with_masked_state(
    weights: tuple[Tensor, Tensor, Tensor, Tensor], input: Tensor, state: tuple[Tensor, Tensor], mask: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """input (T, B, I); returns outputs (T, B, H) and the last state. Differentiable once in all but the mask.

    Products are in autocast's type where it is on; everything else is in the type of the weights.
    """
    dtype = product_type(weights[1])
    with torch.autocast(input.device.type, enabled=False):
        output, hidden, cell = _MaskedLSTM.apply(input, *state, *weights, mask, dtype)  # type: ignore[no-untyped-call]
    return output, (hidden, cell)


class _MaskedLSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        mask: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Autograd passes every tensor as an argument of its own, so there are many."""
        read = input.to(dtype)
        gates = (read @ weight_ih.to(dtype).t()).to(weight_ih.dtype).add_(bias_ih + bias_hh)
        steps, batch, units = len(input), *hidden.shape
        fed = read.new_empty(steps, batch, units)
        output = hidden.new_empty(steps, batch, units)
        cells = cell.new_empty(steps + 1, batch, units)
        cells[0] = cell
        recurrent = weight_hh.to(dtype).t()
        for n in range(steps):
            fed[n] = hidden * mask
            gates[n] += fed[n] @ recurrent
            input_gate, forget, candidate, output_gate = gates[n].chunk(4, dim=-1)
            gates[n, :, : 2 * units].sigmoid_()
            candidate.tanh_()
            output_gate.sigmoid_()
            torch.addcmul(forget * cells[n], input_gate, candidate, out=cells[n + 1])
            hidden = torch.mul(output_gate, cells[n + 1].tanh(), out=output[n])
        ctx.save_for_backward(read, fed, gates, cells, weight_ih, weight_hh, mask)
        return output, output[-1].clone(), cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor | None, ...]:
        read, fed, gates, cells, weight_ih, weight_hh, mask = ctx.saved_tensors
        recurrent = weight_hh.to(read.dtype)
        errors = gates.new_empty(gates.shape, dtype=read.dtype)
        for n in reversed(range(len(gates))):
            input_gate, forget, candidate, output_gate = gates[n].chunk(4, dim=-1)
            squashed = cells[n + 1].tanh()
            grad_hidden = grad_hidden + grad_output[n]
            grad_cell = grad_cell + grad_hidden * output_gate * (1 - squashed**2)
            of_gates = (
                grad_cell * candidate * input_gate * (1 - input_gate),
                grad_cell * cells[n] * forget * (1 - forget),
                grad_cell * input_gate * (1 - candidate**2),
                grad_hidden * squashed * output_gate * (1 - output_gate),
            )
            errors[n] = torch.cat(of_gates, dim=-1)
            grad_cell = grad_cell * forget
            grad_hidden = (errors[n] @ recurrent) * mask
        rows = errors.flatten(0, 1)
        wide = weight_hh.dtype
        grad_input = errors @ weight_ih.to(read.dtype) if ctx.needs_input_grad[0] else None
        grad_ih = (rows.t() @ read.flatten(0, 1)).to(wide)
        grad_hh = (rows.t() @ fed.flatten(0, 1)).to(wide)
        grad_bias = rows.sum(0, dtype=wide)
        return grad_input, grad_hidden, grad_cell, grad_ih, grad_hh, grad_bias, grad_bias, None, None
