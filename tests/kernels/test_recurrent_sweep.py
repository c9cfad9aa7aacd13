"""The fast sweeps against their plain twin, and both against torch's own modules, values and gradients."""

import pytest
import torch
from torch import Tensor, nn

from marks import needs_tiles
from recurlm.kernels import recurrent_sweep
from recurlm.kernels.recurrent_sweep import step_by_step
from recurlm.models.cell import Cell
from recurlm.models.cells import CELLS

STEPS, BATCH, INPUT, HIDDEN = 7, 3, 5, 4
OUTSIDERS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda i, h, **kw: nn.RNN(i, h, nonlinearity="relu", **kw),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def drawn_cell(kind: str, dtype: torch.dtype = torch.float64) -> Cell:
    torch.manual_seed(3)
    cell = CELLS[kind](INPUT, HIDDEN).to(dtype)
    for parameter in cell.parameters():
        nn.init.uniform_(parameter, -0.8, 0.8)
    return cell


def drawn_input(dtype: torch.dtype, cell: Cell) -> tuple[Tensor, tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(4)
    sequence = torch.randn(STEPS, BATCH, INPUT, generator=generator, dtype=torch.float64).to(dtype)
    state = tuple(
        torch.randn(BATCH, size, generator=generator, dtype=torch.float64).to(dtype) for size in cell.state_sizes
    )
    return sequence.requires_grad_(), tuple(part.requires_grad_() for part in state)


def weighted_sum(tensors: list[Tensor]) -> Tensor:
    """A number that looks at every output and every part of the last state, each with another weight."""
    generator = torch.Generator().manual_seed(5)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in tensors]
    return sum((t * w).sum() for t, w in zip(tensors, weights, strict=True))


def values_and_gradients(run, leaves: list[Tensor]) -> list[Tensor]:
    values = run()
    return [*values, *torch.autograd.grad(weighted_sum(values), leaves)]


def outsider_run(kind: str, cell: Cell, sequence: Tensor, state: tuple[Tensor, ...]) -> list[Tensor]:
    module = OUTSIDERS[kind](INPUT, HIDDEN).to(sequence.dtype)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    with torch.no_grad():
        for name, weight in zip(names, cell.weights, strict=True):
            getattr(module, name).copy_(weight)
    stacked = tuple(part[None] for part in state)

    def run() -> list[Tensor]:
        output, last = module(sequence, stacked if kind == "lstm" else stacked[0])
        return [output, *(part[0] for part in (last if kind == "lstm" else (last,)))]

    return values_and_gradients(run, [sequence, *state, *(getattr(module, name) for name in names)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("path", ["fast", "step by step"])
@pytest.mark.parametrize("kind", sorted(OUTSIDERS))
def test_sweeps_agree_with_torch_modules(kind, path, dtype):
    cell = drawn_cell(kind, dtype)
    sequence, state = drawn_input(dtype, cell)

    def run() -> list[Tensor]:
        output, last = cell.sweep(sequence, state) if path == "fast" else step_by_step(cell, sequence, state)
        return [output, *last]

    ours = values_and_gradients(run, [sequence, *state, *cell.weights])
    theirs = outsider_run(kind, cell, sequence, state)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_two_sweeps_with_the_state_carried_are_one(kind):
    cell = drawn_cell(kind)
    sequence, state = drawn_input(torch.float64, cell)
    whole, last = cell.sweep(sequence, state)
    first, between = cell.sweep(sequence[:3], state)
    second, end = cell.sweep(sequence[3:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-12)
    for one, other in zip(end, last, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_a_sweep_without_gradient_gives_the_same_values(kind):
    cell = drawn_cell(kind, torch.float32)
    sequence, state = drawn_input(torch.float32, cell)
    with_gradient = cell.sweep(sequence, state)[0]
    with torch.no_grad():
        without = cell.sweep(sequence, state)[0]
    assert not without.requires_grad
    torch.testing.assert_close(without, with_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_a_sweep_under_bf16_autocast_is_close_and_can_be_carried_and_learnt(kind):
    cell = drawn_cell(kind, torch.float32)
    sequence, state = drawn_input(torch.float32, cell)
    exact, _ = cell.sweep(torch.cat([sequence, sequence]), state)
    with torch.autocast("cpu", torch.bfloat16):
        first, between = cell.sweep(sequence, state)
        second, _ = cell.sweep(sequence, between)
    rounded = torch.cat([first, second]).float()
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)
    rounded.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in cell.parameters())


@pytest.mark.parametrize("there", [set(), {"lstm fp32"}, {"lstm fp32", "lstm bf16"}])
@pytest.mark.parametrize("tiles", [False, pytest.param(True, marks=needs_tiles)])
def test_where_a_path_cannot_be_had_the_next_one_computes_the_same(monkeypatch, there, tiles):
    """oneDNN without an LSTM for a processor, in either precision, with the compiled library and without it."""
    cell = drawn_cell("lstm", torch.float32)
    sequence, state = drawn_input(torch.float32, cell)
    leaves = [sequence, *state, *cell.weights]
    expected = values_and_gradients(lambda: [(swept := step_by_step(cell, sequence, state))[0], *swept[1]], leaves)
    if "lstm bf16" in there and not recurrent_sweep.runs("lstm bf16"):
        pytest.skip("oneDNN has no LSTM in bfloat16 for this processor")
    monkeypatch.setattr(recurrent_sweep, "runs", lambda operation: operation in there)
    monkeypatch.setattr(recurrent_sweep, "has_bfloat16_tiles", lambda: False)
    monkeypatch.setattr(recurrent_sweep, "has_tiles", lambda: tiles)
    for bf16, tolerance in ((False, 2e-5), (True, 0.05)):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output, last = cell.sweep(sequence, state)
        ours = values_and_gradients(lambda: [output.float(), *(part.float() for part in last)], leaves)  # noqa: B023
        for one, other in zip(ours, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("path", ["tiles", "widened tiles", "onednn bf16", "onednn fp32", "torch fp32"])
def test_every_path_has_its_library_on_a_processor(monkeypatch, path):
    cell = drawn_cell("lstm", torch.float32)
    sequence, state = drawn_input(torch.float32, cell)
    called = []

    def library(name):
        return lambda weights, input, state: called.append((name, torch.backends.mkldnn.enabled)) or (input, state)

    monkeypatch.setattr(recurrent_sweep, "lstm_path", lambda bf16: path)
    monkeypatch.setattr(recurrent_sweep, "lstm_tiles", library("tiles"))
    monkeypatch.setattr(recurrent_sweep, "_library_lstm", library("torch"))
    before = torch.backends.mkldnn.enabled
    recurrent_sweep.lstm(cell.weights, sequence, state)
    assert called == [("tiles" if "tiles" in path else "torch", before and path != "torch fp32")]
    assert torch.backends.mkldnn.enabled == before


def test_columns_beyond_the_most_at_once_are_those_of_one_call(monkeypatch):
    cell = drawn_cell("lstm", torch.float32)
    sequence, state = drawn_input(torch.float32, cell)
    whole = recurrent_sweep.lstm(cell.weights, sequence, state)
    monkeypatch.setattr(recurrent_sweep, "MOST_COLUMNS", BATCH - 1)
    parts = recurrent_sweep.lstm(cell.weights, sequence, state)
    torch.testing.assert_close(parts, whole)
