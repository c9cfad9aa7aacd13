import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recurlm.config import Dropout, ModelOptions
from recurlm.models.cells import CELLS
from recurlm.models.stack import RecurrentStack
from recurlm.models.state import detach, map_state

SIZES = (5, 4, 6, 3)
MODULES = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda i, h: nn.RNN(i, h, nonlinearity="relu"),
}


MIXED = ("lstm", "gru", "tanh")


def drawn_stack(kind: str | tuple[str, ...], sizes: tuple[int, ...] = SIZES, dropout=0.0, **options) -> RecurrentStack:
    torch.manual_seed(2)
    between = Dropout(between=dropout)
    model = ModelOptions(cell=kind, embedding_size=sizes[0], hidden_sizes=sizes[1:], dropout=between, **options)
    stack = RecurrentStack(model).double()
    for parameter in stack.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return stack


def drawn_state(stack: RecurrentStack, batch: int):
    return map_state(lambda part: torch.randn_like(part), stack.initial_state(batch))


def everything(output: Tensor, state) -> list[Tensor]:
    return [output, *itertools.chain(*state)]


def gradients(values: list[Tensor], leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(sum((value * value.cos()).sum() for value in values), leaves)


@pytest.mark.parametrize("residual", [False, True, (True, False, True)])
@pytest.mark.parametrize("kind", [*sorted(CELLS), MIXED])
def test_fast_and_step_by_step_are_the_same_function(kind, residual):
    stack = drawn_stack(kind, (4, 4, 6, 6), residual=residual)
    state = drawn_state(stack, 3)
    sequence = torch.randn(8, 3, 4, dtype=torch.float64, requires_grad=True)
    leaves = [sequence, *stack.parameters()]
    results = []
    for fast in (True, False):
        stack.fast = fast
        values = everything(*stack(sequence, state))
        results.append([*values, *gradients(values, leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kinds", [*((kind,) * 3 for kind in sorted(MODULES)), MIXED, ("relu", "lstm", "gru")])
def test_layers_of_different_sizes_agree_with_torch_modules(kinds):
    stack = drawn_stack(kinds)
    modules = [
        MODULES[kind](below, above).double()
        for kind, (below, above) in zip(kinds, itertools.pairwise(SIZES), strict=True)
    ]
    with torch.no_grad():
        for module, cell in zip(modules, stack.cells, strict=True):
            for name, weight in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), cell.weights, strict=True):
                getattr(module, f"{name}_l0").copy_(weight)
    state = drawn_state(stack, 3)
    sequence = torch.randn(8, 3, SIZES[0], dtype=torch.float64, requires_grad=True)

    ours = everything(*stack(sequence, state))
    output, after = sequence, []
    for kind, module, layer in zip(kinds, modules, state, strict=True):
        first = tuple(part[None] for part in layer)
        output, last = module(output, first if kind == "lstm" else first[0])
        after += [part[0] for part in (last if kind == "lstm" else (last,))]
    theirs = [output, *after]

    ours += gradients(ours, [sequence, *stack.parameters()])
    theirs += gradients(theirs, [sequence, *(p for module in modules for p in module.parameters())])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_residual_layer_adds_its_input_where_sizes_agree():
    plain, residual = (drawn_stack("tanh", (4, 4), residual=flag) for flag in (False, True))
    sequence = torch.randn(5, 2, 4, dtype=torch.float64)
    state = plain.initial_state(2)
    output, last = plain(sequence, state)
    with_input, same_last = residual(sequence, state)
    torch.testing.assert_close(with_input, output + sequence)
    assert torch.equal(same_last[0][0], last[0][0]), "the carried state stays the cell's own"
    unequal = [
        drawn_stack("tanh", (4, 3), residual=flag)(sequence, ((torch.zeros(2, 3).double(),),))[0]
        for flag in (False, True)
    ]
    assert torch.equal(*unequal)


def test_residual_sums_stand_around_the_layers_that_ask_for_them():
    stack = drawn_stack(MIXED, (4, 4, 4, 4), residual=(False, True, False))
    state = drawn_state(stack, 2)
    sequence = torch.randn(5, 2, 4, dtype=torch.float64)
    first, middle, last = stack.cells
    below, _ = first.sweep(sequence, state[0])
    above, _ = middle.sweep(below, state[1])
    expected, _ = last.sweep(below + above, state[2])
    torch.testing.assert_close(stack(sequence, state)[0], expected)


def test_one_step_goes_as_far_as_a_sequence_of_length_one():
    stack = drawn_stack(MIXED, (4, 4, 4, 4), residual=(False, True, False))
    state = drawn_state(stack, 2)
    input = torch.randn(2, 4, dtype=torch.float64)
    output, after = stack.step(input, state)
    for one, other in zip(everything(output[None], after), everything(*stack(input[None], state)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", sorted(CELLS))
def test_no_output_depends_on_a_later_input(kind, fast):
    stack = drawn_stack(kind, (5, 5, 5), residual=True)
    stack.fast = fast
    sequence = torch.randn(6, 2, 5, dtype=torch.float64)
    state = drawn_state(stack, 2)
    before, _ = stack(sequence, state)
    for step in range(6):
        changed = sequence.clone()
        changed[step] += 1.0
        after, _ = stack(changed, state)
        assert torch.equal(after[:step], before[:step])
        assert not torch.allclose(after[step], before[step])


def test_no_column_depends_on_another():
    stack = drawn_stack("lstm")
    sequence = torch.randn(6, 3, 5, dtype=torch.float64)
    before, _ = stack(sequence, stack.initial_state(3))
    changed = sequence.clone()
    changed[:, 1] += 1.0
    after, _ = stack(changed, stack.initial_state(3))
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]], rtol=0, atol=1e-14)
    assert not torch.allclose(after[:, 1], before[:, 1])


def test_dropout_between_layers_spares_the_input_and_the_output():
    stack = drawn_stack("tanh", (5, 5), dropout=0.9).train()
    sequence = torch.randn(6, 2, 5, dtype=torch.float64)
    one, other = (stack(sequence, stack.initial_state(2))[0] for _ in range(2))
    assert torch.equal(one, other)
    deeper = drawn_stack("tanh", (5, 5, 5), dropout=0.9).train()
    one, other = (deeper(sequence, deeper.initial_state(2))[0] for _ in range(2))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("place", [0, 1])
def test_dropout_stands_in_its_own_place(place):
    stack = drawn_stack("tanh", (5, 5, 5, 5), dropout=tuple(0.5 * (place == number) for number in (0, 1)))
    seen = []
    for cell in stack.cells:
        cell.sweep = lambda input, state, sweep=cell.sweep: (seen.append(input), sweep(input, state))[1]
    stack.train()(torch.rand(40, 3, 5).double() + 1, stack.initial_state(3))
    dropped = [bool((input == 0).any()) for input in seen]
    assert dropped == [False, place == 0, place == 1]


def test_a_state_of_another_depth_is_refused():
    stack = drawn_stack("lstm")
    with pytest.raises(ValueError, match="zip"):
        stack(torch.randn(2, 1, 5, dtype=torch.float64), stack.initial_state(1)[:2])


def test_a_detached_state_has_the_numbers_and_no_history():
    stack = drawn_stack("lstm")
    _, state = stack(torch.randn(2, 1, 5, dtype=torch.float64), stack.initial_state(1))
    for part, cut in zip(itertools.chain(*state), itertools.chain(*detach(state)), strict=True):
        assert part.requires_grad
        assert not cut.requires_grad
        assert torch.equal(part, cut)


def test_skip_sums_the_outputs_of_all_layers_and_each_reads_only_the_one_below():
    stack = drawn_stack(("lstm", "gru", "tanh"), (5, 4, 4, 4), skip=True)
    state = drawn_state(stack, 2)
    sequence = torch.randn(6, 2, 5, dtype=torch.float64)
    expected, output = torch.zeros(6, 2, 4, dtype=torch.float64), sequence
    for cell, layer in zip(stack.cells, state, strict=True):
        output, _ = cell.sweep(output, layer)
        expected += output
    summed, last = stack(sequence, state)
    torch.testing.assert_close(summed, expected)
    stack.skip = False
    _, same = stack(sequence, state)
    for one, other in zip(itertools.chain(*last), itertools.chain(*same), strict=True):
        assert torch.equal(one, other)


def test_skip_in_one_step_is_skip_in_a_sequence():
    stack = drawn_stack("mogrifier", (5, 4, 4), skip=True)
    state = drawn_state(stack, 2)
    input = torch.randn(2, 5, dtype=torch.float64)
    torch.testing.assert_close(stack.step(input, state)[0], stack(input[None], state)[0][0])


def test_dropout_between_layers_leaves_the_skipping_outputs_whole():
    stack = drawn_stack("tanh", (5, 4, 4), dropout=0.9, skip=True).train()
    # the second layer puts out zeros, so the sum is the first layer's output
    for parameter in stack.cells[1].parameters():
        nn.init.zeros_(parameter)
    sequence = torch.randn(6, 2, 5, dtype=torch.float64)
    state = stack.initial_state(2)
    torch.testing.assert_close(stack(sequence, state)[0], stack.cells[0].sweep(sequence, state[0])[0])


def one_by_one(stack: RecurrentStack, sequence: Tensor, state, restarts: np.ndarray):
    """The reference: one step after another, with the states of columns multiplied by zero before they restart."""
    outputs = []
    for input_n, restarting in zip(sequence, torch.from_numpy(restarts), strict=True):
        state = map_state(lambda part, kept=~restarting: part * kept[:, None], state)
        output, state = stack.step(input_n, state)
        outputs.append(output)
    return torch.stack(outputs), state


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", [*sorted(CELLS), MIXED])
def test_columns_restart_from_zeros_in_the_middle_of_a_batch(kind, fast):
    stack = drawn_stack(kind, (4, 4, 6, 6), residual=(True, False, True))
    stack.fast = fast
    state = drawn_state(stack, 3)
    sequence = torch.randn(8, 3, 4, dtype=torch.float64, requires_grad=True)
    restarts = np.zeros((8, 3), np.bool_)
    restarts[[0, 2, 3, 3, 7], [1, 0, 0, 2, 1]] = True
    leaves = [sequence, *stack.parameters()]
    results = []
    for run in (stack, partial(one_by_one, stack)):
        values = everything(*run(sequence, state, restarts))
        results.append([*values, *gradients(values, leaves)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_a_restart_nowhere_changes_no_bit_and_restarts_share_the_masks_of_a_batch(kind):
    torch.manual_seed(2)
    rates = Dropout(between=0.5, state=0.4, recurrent_weights=0.4)
    stack = RecurrentStack(ModelOptions(cell=kind, embedding_size=5, hidden_sizes=(4, 6), dropout=rates)).double()
    for parameter in stack.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    sequence, state = torch.randn(6, 2, 5, dtype=torch.float64), drawn_state(stack, 2)
    nowhere, once = np.zeros((2, 6, 2), np.bool_)
    once[3] = True

    def outputs(*given) -> Tensor:
        torch.manual_seed(5)
        return stack.train()(*given)[0]

    assert torch.equal(outputs(sequence, state, nowhere), outputs(sequence, state))
    restarted = outputs(sequence, state, once)
    torch.testing.assert_close(restarted[:3], outputs(sequence[:3], state))
    torch.testing.assert_close(restarted[3:], outputs(sequence[3:], stack.initial_state(2)))
