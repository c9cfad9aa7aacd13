"""Packed products and native draws against torch and the plain draw."""

import pytest
import torch
import torch.nn.functional as F

from marks import needs_tiles
from recurlm.kernels.linear import PackedLinear, draw_native, draw_plain, log_totals_native, log_totals_plain
from recurlm.kernels.native import with_slack


@needs_tiles
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 1, 1), (1, 32, 32), (5, 40, 70), (64, 33, 17), (19, 7, 100)]
)
def test_a_packed_layer_is_torchs_layer_of_rounded_weights(rows, inputs, outputs, bias):
    generator = torch.Generator().manual_seed(rows + inputs + outputs)
    weight = torch.randn(outputs, inputs, generator=generator)
    offsets = torch.randn(outputs, generator=generator) if bias else None
    input = with_slack(rows, inputs)
    input.copy_(torch.randn(rows, inputs, generator=generator))
    output = PackedLinear(weight, offsets)(input, torch.empty(rows, outputs))
    expected = F.linear(input.float(), weight.bfloat16().float(), offsets)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


@needs_tiles
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("columns", [1, 6, 16, 33, 1000])
def test_native_draws_are_the_plain_ones(columns, temperature):
    generator = torch.Generator().manual_seed(columns)
    logits = 3 * torch.randn(400, columns, generator=generator)
    shares = torch.rand(400, dtype=torch.float64, generator=generator)
    expected = draw_plain(logits, temperature, shares)
    drawn = draw_native(logits.clone(), temperature, shares)
    # a share within rounding of a border may fall to either side of it
    assert (drawn == expected).double().mean() > 0.99
    assert (drawn - expected).abs().max() <= 1


@pytest.mark.parametrize("draw", [draw_plain, pytest.param(draw_native, marks=needs_tiles)])
def test_what_is_impossible_is_never_drawn_and_the_borders_belong_to_the_next(draw):
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf, -1e30]]).expand(4, -1)
    shares = torch.tensor([0.0, 0.4999999, 0.5, 0.9999999999], dtype=torch.float64)
    assert draw(logits.clone(), 1.0, shares).tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("draw", [draw_plain, pytest.param(draw_native, marks=needs_tiles)])
def test_each_row_may_have_a_temperature_of_its_own(draw):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(50, 40, generator=generator)
    shares = torch.rand(50, dtype=torch.float64, generator=generator)
    temperatures = torch.tensor([0.5, 1.7], dtype=torch.float64).repeat(25)
    drawn = draw(logits.clone(), temperatures, shares)
    assert drawn[::2].tolist() == draw(logits[::2].clone(), 0.5, shares[::2].contiguous()).tolist()
    assert drawn[1::2].tolist() == draw(logits[1::2].clone(), 1.7, shares[1::2].contiguous()).tolist()


@pytest.mark.parametrize("log_totals", [log_totals_plain, pytest.param(log_totals_native, marks=needs_tiles)])
@pytest.mark.parametrize("columns", [1, 7, 16, 1000])
def test_log_totals_are_those_of_torch(columns, log_totals):
    logits = 4 * torch.randn(9, columns, generator=torch.Generator().manual_seed(columns))
    logits[0] -= 1000
    torch.testing.assert_close(log_totals(logits), logits.double().logsumexp(-1), rtol=1e-7, atol=1e-6)
