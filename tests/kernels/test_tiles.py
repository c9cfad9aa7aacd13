"""The bfloat16 tile paths against their plain twins in float32, over sizes that do not fit tiles."""

import pytest
import torch
from torch import Tensor

from marks import needs_bfloat16_tiles, needs_tiles
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from recurlm.kernels.lstm_sweep import lstm_tiles
from recurlm.kernels.recurrent_sweep import step_by_step
from recurlm.models.lstm_cells import LSTMCell

ROUNDING = 2**-8
"""Of a bfloat16, relative; a sum of rounded products is off by about as much."""


def assert_near(ours: Tensor, expected: Tensor, tolerance: float = 2 * ROUNDING) -> None:
    """Within a share of the whole tensor's size: single small entries of a rounded sum may be off by more."""
    assert ours.shape == expected.shape
    distance = (ours.float() - expected.float()).norm() / expected.float().norm()
    assert distance < tolerance


def drawn_lstm(steps: int, batch: int, inputs: int, units: int) -> tuple[LSTMCell, Tensor, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(steps + batch + inputs + units)
    cell = LSTMCell(inputs, units)
    for parameter in cell.parameters():
        width = parameter.shape[-1] if parameter.dim() > 1 else 1
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / width**0.5)
    sequence = torch.randn(steps, batch, inputs, generator=generator).requires_grad_()
    state = tuple(torch.randn(batch, units, generator=generator).tanh().requires_grad_() for _ in range(2))
    return cell, sequence, state


@needs_tiles
@pytest.mark.parametrize(
    ("steps", "batch", "inputs", "units"),
    [
        (7, 3, 5, 4),
        (1, 1, 1, 1),
        (5, 50, 64, 100),
        (9, 33, 70, 150),
        (35, 20, 48, 64),
        (4, 17, 31, 33),
        (3, 130, 8, 40),
    ],
)
def test_lstm_values_and_gradients_agree_with_the_equations(steps, batch, inputs, units):
    cell, sequence, state = drawn_lstm(steps, batch, inputs, units)
    leaves = [sequence, *state, *cell.weights]
    output, last = step_by_step(cell, sequence, state)
    expected = [output, *last]
    tiled, tiled_last = lstm_tiles(cell.weights, sequence, state)
    ours = [tiled, *tiled_last]
    for one, other in zip(ours, expected, strict=True):
        assert_near(one, other)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(tensor.shape, generator=generator) for tensor in expected]
    theirs = torch.autograd.grad(expected, leaves, weights)
    mine = torch.autograd.grad(ours, leaves, [weights[0].bfloat16(), *weights[1:]])
    for one, other in zip(mine, theirs, strict=True):
        assert one.dtype == other.dtype
        assert_near(one, other, 6 * ROUNDING)


@needs_tiles
def test_lstm_carries_its_state():
    cell, sequence, state = drawn_lstm(12, 6, 20, 24)
    with torch.no_grad():
        whole, end = lstm_tiles(cell.weights, sequence, state)
        first, between = lstm_tiles(cell.weights, sequence[:5], state)
        second, last = lstm_tiles(cell.weights, sequence[5:], between)
    assert torch.equal(torch.cat([first, second]), whole)
    assert all(torch.equal(one, other) for one, other in zip(last, end, strict=True))


@needs_tiles
def test_a_row_of_an_lstm_batch_does_not_depend_on_the_others():
    cell, sequence, state = drawn_lstm(8, 37, 40, 72)
    with torch.no_grad():
        together, _ = lstm_tiles(cell.weights, sequence, state)
        alone, _ = lstm_tiles(cell.weights, sequence[:, 20:21], (state[0][20:21], state[1][20:21]))
    assert torch.equal(alone, together[:, 20:21])


@needs_tiles
def test_the_number_of_threads_changes_nothing():
    cell, sequence, state = drawn_lstm(8, 10, 40, 72)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(lstm_tiles(cell.weights, sequence, state)[0])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(result, results[0]) for result in results)


def loss_in_bf16(*arguments: Tensor | None) -> tuple[Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        return linear_cross_entropy(*arguments)


def drawn_layer(positions: int, inputs: int, words: int, bias: bool) -> tuple[list[Tensor | None], Tensor]:
    generator = torch.Generator().manual_seed(positions + inputs + words)
    input = torch.randn(positions, inputs, generator=generator).requires_grad_()
    weight = (torch.randn(words, inputs, generator=generator) / inputs**0.5).requires_grad_()
    offsets = torch.randn(words, generator=generator).requires_grad_() if bias else None
    target = torch.randint(words, (positions,), generator=generator)
    target[::4] = -100
    return [input, weight, offsets], target


@needs_bfloat16_tiles
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("positions", "inputs", "words"),
    [(5, 7, 11), (2, 1, 2), (40, 32, 300), (70, 100, 777), (600, 40, 513), (33, 16, 2000)],
)
def test_losses_and_gradients_agree_with_the_plain_softmax(positions, inputs, words, bias):
    layer, target = drawn_layer(positions, inputs, words, bias)
    total, losses = loss_in_bf16(*layer, target)
    expected_total, expected = linear_cross_entropy_reference(*layer, target)
    assert_near(losses, expected)
    torch.testing.assert_close(total, expected_total, rtol=ROUNDING, atol=0)
    assert torch.equal(losses == 0, target == -100)
    leaves = [leaf for leaf in layer if leaf is not None]
    for one, other in zip(torch.autograd.grad(total, leaves), torch.autograd.grad(expected_total, leaves), strict=True):
        assert one.dtype == other.dtype
        assert_near(one, other)


@needs_bfloat16_tiles
def test_a_loss_does_not_depend_on_the_other_positions_or_on_gradients():
    (input, weight, bias), target = drawn_layer(90, 24, 700, True)
    _, together = loss_in_bf16(input, weight, bias, target)
    with torch.no_grad():
        _, alone = loss_in_bf16(input[41:42], weight, bias, target[41:42])
    assert torch.equal(alone, together[41:42])


@needs_bfloat16_tiles
def test_wide_logits_neither_overflow_nor_vanish():
    (input, weight, bias), target = drawn_layer(20, 32, 400, True)
    with torch.no_grad():
        input.mul_(60)
    total, losses = loss_in_bf16(input, weight, bias, target)
    _, expected = linear_cross_entropy_reference(input, weight, bias, target)
    assert losses.max() > 100
    assert_near(losses, expected)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, [input, weight, bias]))


@needs_bfloat16_tiles
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_weight_that_is_no_number_gives_a_loss_that_is_none(value):
    (input, weight, bias), target = drawn_layer(20, 8, 300, True)
    with torch.no_grad():
        weight[123, 4] = value
    _, losses = loss_in_bf16(input, weight, bias, target)
    assert not losses[target != -100].isfinite().all()


@needs_bfloat16_tiles
def test_a_target_that_is_no_word_is_refused():
    (input, weight, bias), target = drawn_layer(20, 8, 30, True)
    target[3] = 30
    with pytest.raises(IndexError, match="between 0 and 29"):
        loss_in_bf16(input, weight, bias, target)


@needs_bfloat16_tiles
def test_gradients_of_a_kept_graph_can_be_asked_for_twice():
    layer, target = drawn_layer(20, 8, 30, True)
    total, _ = loss_in_bf16(*layer, target)
    first = torch.autograd.grad(2 * total, layer, retain_graph=True)
    second = torch.autograd.grad(2 * total, layer)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
