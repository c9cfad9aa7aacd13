"""The sweep with a masked state against torch's own derivatives of the equations, written out step by step."""

import pytest
import torch
from torch import Tensor

from recurlm.kernels.masked_state_sweep import lstm_with_masked_state

STEPS, BATCH, INPUTS, UNITS = 5, 3, 4, 6


def values(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Input, first state and weights, all of which want a gradient, and the mask."""
    torch.manual_seed(0)
    sizes = [(STEPS, BATCH, INPUTS), (BATCH, UNITS), (BATCH, UNITS)]
    sizes += [(4 * UNITS, INPUTS), (4 * UNITS, UNITS), (4 * UNITS,), (4 * UNITS,)]
    leaves = [torch.randn(size, dtype=dtype).requires_grad_() for size in sizes]
    return [*leaves, torch.bernoulli(torch.full((BATCH, UNITS), 0.6, dtype=dtype)) / 0.6]


def by_hand(
    input: Tensor, hidden: Tensor, cell: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    outputs = []
    for step in input:
        gates = step @ w_ih.t() + b_ih + (hidden * mask) @ w_hh.t() + b_hh
        i, f, g, o = gates.chunk(4, dim=-1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs), hidden, cell


def swept(input: Tensor, hidden: Tensor, cell: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    *weights, mask = rest
    output, (hidden, cell) = lstm_with_masked_state(tuple(weights), input, (hidden, cell), mask)
    return output, hidden, cell


@pytest.mark.parametrize("lost", [(), (1, 2), (0,)], ids=["all results", "the outputs alone", "the last state alone"])
def test_values_and_gradients_are_those_of_the_equations(lost):
    arguments = values()
    of_loss = [torch.randn(5, 3, 6), torch.randn(3, 6), torch.randn(3, 6)]
    found = []
    for sweep in (by_hand, swept):
        results = sweep(*arguments)
        loss = sum(
            (result * part).sum()
            for n, (result, part) in enumerate(zip(results, of_loss, strict=True))
            if n not in lost
        )
        found.append([*results, *torch.autograd.grad(loss, arguments[:-1])])
    for ours, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, plain)


def test_an_input_without_a_gradient_gets_none():
    arguments = values()
    arguments[0] = arguments[0].detach()
    swept(*arguments)[0].sum().backward()
    assert arguments[0].grad is None
    assert all(each.grad is not None for each in arguments[1:-1])


def test_under_autocast_only_the_products_are_rounded():
    arguments = values(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        results = swept(*arguments)
    for ours, plain in zip(results, by_hand(*arguments), strict=True):
        assert ours.dtype == torch.float32
        assert 1e-5 < (ours - plain).norm() / plain.norm() < 2**-5
