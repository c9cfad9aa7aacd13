"""Dropout of recurrent weights and of the state, on every path, against torch's modules and loops by hand."""

import itertools
import warnings

import pytest
import torch
from torch import Tensor, nn

from marks import needs_bfloat16_tiles
from recurlm.config import PARALLEL_KINDS, Dropout, ModelOptions
from recurlm.models.cells import CELLS
from recurlm.models.dropout import weight_mask
from recurlm.models.language_model import LanguageModel
from recurlm.models.lstm_cells import LSTMCell
from recurlm.models.stack import RecurrentStack

MODULES = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "tanh": nn.RNN,
    "relu": lambda i, h: nn.RNN(i, h, nonlinearity="relu"),
}
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
KINDS = sorted(set(CELLS) - set(PARALLEL_KINDS))
BUILDS = [*((kind, "free") for kind in KINDS), ("lstm", "capped"), ("lstm", "coupled"), ("mogrifier", "capped")]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def drawn_stack(
    kind: str, sizes: tuple[int, ...] = (5, 4, 6), input_gate: str = "free", **rates: float
) -> RecurrentStack:
    options = ModelOptions(
        cell=kind,
        embedding_size=sizes[0],
        hidden_sizes=sizes[1:],
        input_gate=input_gate,
        dropout=Dropout(**rates),
    )
    stack = RecurrentStack(options).double()
    for parameter in stack.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return stack.train()


def dropped_by(seed: int, stack: RecurrentStack, probability: float) -> list[Tensor]:
    """The masks of a pass that begins with this seed: one a layer, from below."""
    torch.manual_seed(seed)
    return [weight_mask(cell.weight_hh, probability) for cell in stack.cells]


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.99])
def test_a_weight_mask_drops_its_share_and_keeps_the_expectation(probability):
    drawn = weight_mask(torch.zeros(1000, 1001), probability)
    kept = drawn[drawn != 0]
    # a million draws: a share has a standard deviation of at most 0.0005
    assert len(kept) / drawn.numel() == pytest.approx(1 - probability, abs=0.003)
    assert kept.unique().tolist() == pytest.approx([1 / (1 - probability)], rel=1e-3)
    # kept entries lie anywhere: neither rows nor the four entries of one draw share their fate
    neighbours = (drawn[:, 1:] != 0) == (drawn[:, :-1] != 0)
    expected = probability**2 + (1 - probability) ** 2
    assert neighbours.double().mean().item() == pytest.approx(expected, abs=0.005)


def test_a_weight_mask_has_the_type_and_shape_of_its_weight():
    assert weight_mask(torch.zeros(3, 5, dtype=torch.float64), 0.5).dtype == torch.float64
    assert weight_mask(torch.zeros(3, 5), 0.5).shape == (3, 5)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", sorted(MODULES))
def test_dropped_weights_are_torchs_module_with_the_masked_matrix(kind, fast):
    """Values, and gradients to the raw matrix: those of the masked one times the mask."""
    stack = drawn_stack(kind, recurrent_weights=0.5)
    stack.fast = fast
    masks = dropped_by(7, stack, 0.5)
    modules = [MODULES[kind](cell.input_size, cell.hidden_size).double() for cell in stack.cells]
    sequence = torch.randn(8, 3, 5, dtype=torch.float64)
    expected = sequence
    for module, cell, mask in zip(modules, stack.cells, masks, strict=True):
        with torch.no_grad():
            for name, weight in zip(NAMES, cell.weights, strict=True):
                getattr(module, f"{name}_l0").copy_(weight * mask if name == "weight_hh" else weight)
        expected, _ = module(expected)
    (expected * expected.cos()).sum().backward()

    torch.manual_seed(7)
    output, _ = stack(sequence, stack.initial_state(3))
    (output * output.cos()).sum().backward()

    torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    for module, cell, mask in zip(modules, stack.cells, masks, strict=True):
        for name in NAMES:
            gradient = getattr(module, f"{name}_l0").grad
            theirs = gradient * mask if name == "weight_hh" else gradient
            torch.testing.assert_close(getattr(cell, name).grad, theirs, rtol=1e-9, atol=1e-10)


@needs_bfloat16_tiles
def test_dropped_weights_on_tiles_are_the_equations_with_the_masked_matrix():
    stack = drawn_stack("lstm", (48, 64, 40), recurrent_weights=0.5).float()
    for parameter in stack.parameters():
        nn.init.uniform_(parameter, -0.2, 0.2)
    sequence = torch.randn(9, 17, 48)
    results = []
    for fast in (True, False):
        stack.fast = fast
        stack.zero_grad()
        torch.manual_seed(7)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            output, _ = stack(sequence, stack.initial_state(17))
            other, _ = stack(sequence, stack.initial_state(17))
        assert output.dtype == (torch.bfloat16 if fast else torch.float32)
        assert not torch.allclose(output, other, atol=0.05)  # another batch, other masks
        output.float().square().sum().backward()
        results.append([output.float(), *(cell.weight_hh.grad for cell in stack.cells)])
    for ours, plain in zip(*results, strict=True):
        # bfloat16 rounds to 2^-8; sums of rounded products are off by about as much
        assert (ours - plain).norm() / plain.norm() < 2**-6
    masks = dropped_by(7, stack, 0.5)
    for cell, mask in zip(stack.cells, masks, strict=True):
        assert not cell.weight_hh.grad[mask == 0].any()
        assert cell.weight_hh.grad[mask != 0].all()


@pytest.mark.parametrize("place", ["recurrent_weights", "state"])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only_and_draws_anew_each_time(kind, place):
    stack, plain = drawn_stack(kind, **{place: 0.5}), drawn_stack(kind)
    plain.load_state_dict(stack.state_dict())
    sequence = torch.randn(6, 4, 5, dtype=torch.float64)

    def output(of: RecurrentStack) -> Tensor:
        return of(sequence, of.initial_state(4))[0]

    assert not torch.allclose(output(stack), output(stack))
    assert torch.equal(output(stack.eval()), output(plain))
    torch.testing.assert_close(stack.step(sequence[0], stack.initial_state(4))[0], output(plain)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_one_mask_holds_for_all_steps_and_sequences(kind):
    """A unit whose recurrent weights are all dropped acts alike in every step and column; shown by the matrix used."""
    cell = CELLS[kind](5, 4).train()
    nn.init.ones_(cell.weight_hh)
    with cell.dropping(3, recurrent_weights=0.5, state=0.0):
        first, second = cell.weights[1], cell.weights[1]
        assert torch.equal(first, second)
        assert set(first.unique().tolist()) == {0.0, 2.0}
        torch.testing.assert_close(cell.recurrent_product(torch.eye(4)), first.t())
    assert cell.weights[1] is cell.weight_hh


@pytest.mark.parametrize("fast", [True, False])
def test_state_dropout_of_an_lstm_is_a_loop_by_hand(fast):
    """Each sequence has its mask for all steps; it meets the hidden state, not the cell state or the output."""
    stack = drawn_stack("lstm", (3, 4), state=0.5)
    stack.fast = fast
    (cell,) = stack.cells
    sequence = torch.randn(7, 2, 3, dtype=torch.float64)
    torch.manual_seed(7)
    output, (last,) = stack(sequence, stack.initial_state(2))
    torch.manual_seed(7)
    masks = torch.empty(2, 4, dtype=torch.float64).bernoulli_(0.5) * 2
    outsider = nn.LSTMCell(3, 4).double()
    outsider.load_state_dict(cell.state_dict())
    hidden = memory = torch.zeros(2, 4, dtype=torch.float64)
    for step, expected in zip(sequence, output, strict=True):
        hidden, memory = outsider(step, (hidden * masks, memory))
        torch.testing.assert_close(expected, hidden)
    torch.testing.assert_close(last, (hidden, memory))
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("kind", "input_gate"), BUILDS)
def test_dropped_weights_are_the_cell_that_has_the_masked_matrix(kind, input_gate, fast):
    """Values, and gradients to the raw matrix, of every cell with one: also where layer norm or gating surround it."""
    stack = drawn_stack(kind, input_gate=input_gate, recurrent_weights=0.5)
    stack.fast = fast
    masks = dropped_by(7, stack, 0.5)
    plain = drawn_stack(kind, input_gate=input_gate)
    plain.load_state_dict(stack.state_dict())
    with torch.no_grad():
        for cell, mask in zip(plain.cells, masks, strict=True):
            cell.weight_hh.mul_(mask)
    sequence = torch.randn(8, 3, 5, dtype=torch.float64)
    outputs = []
    for each in (stack, plain):
        torch.manual_seed(7)
        output, _ = each(sequence, each.initial_state(3))
        (output * output.cos()).sum().backward()
        outputs.append(output)
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    for ours, theirs, mask in zip(stack.cells, plain.cells, masks, strict=True):
        torch.testing.assert_close(ours.weight_hh.grad, theirs.weight_hh.grad * mask, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("kind", "input_gate"), [build for build in BUILDS if build[0] != "gru"])
def test_state_dropout_is_the_plain_cell_that_is_handed_a_dropped_state(kind, input_gate, fast):
    """A Mogrifier's rounds see the dropped state too, and it is dropped once; the GRU carries more than it hands on."""
    stack = drawn_stack(kind, (3, 4), input_gate, state=0.5)
    stack.fast = fast
    plain = drawn_stack(kind, (3, 4), input_gate)
    plain.load_state_dict(stack.state_dict())
    sequence = torch.randn(7, 2, 3, dtype=torch.float64)
    torch.manual_seed(7)
    output, (last,) = stack(sequence, stack.initial_state(2))
    torch.manual_seed(7)
    masks = torch.empty(2, 4, dtype=torch.float64).bernoulli_(0.5) * 2
    (cell,) = plain.cells
    (state,) = plain.initial_state(2)
    for step, expected in zip(sequence, output, strict=True):
        hidden, state = cell(step, (state[0] * masks, *state[1:]))
        torch.testing.assert_close(expected, hidden)
    torch.testing.assert_close(last, state)


@pytest.mark.parametrize("fast", [True, False])
def test_state_dropout_of_a_gru_is_its_equations_with_a_dropped_state_at_w(fast):
    stack = drawn_stack("gru", (3, 4), state=0.5)
    stack.fast = fast
    (cell,) = stack.cells
    sequence = torch.randn(7, 2, 3, dtype=torch.float64)
    torch.manual_seed(7)
    output, _ = stack(sequence, stack.initial_state(2))
    torch.manual_seed(7)
    masks = torch.empty(2, 4, dtype=torch.float64).bernoulli_(0.5) * 2
    hidden = torch.zeros(2, 4, dtype=torch.float64)
    for step, expected in zip(sequence, output, strict=True):
        reset_x, update_x, new_x = nn.functional.linear(step, cell.weight_ih, cell.bias_ih).chunk(3, -1)
        reset_h, update_h, new_h = nn.functional.linear(hidden * masks, cell.weight_hh, cell.bias_hh).chunk(3, -1)
        update = (update_x + update_h).sigmoid()
        new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
        hidden = update * hidden + (1 - update) * new
        torch.testing.assert_close(expected, hidden)


def test_layers_without_a_recurrent_matrix_stay_whole_beside_one_that_is_dropped():
    stack = drawn_stack("qrnn")
    mixed = drawn_stack(("qrnn", "lstm"), recurrent_weights=0.5, state=0.5)
    mixed.cells[0].load_state_dict(stack.cells[0].state_dict())
    sequence = torch.randn(6, 4, 5, dtype=torch.float64)
    below, _ = stack.cells[0].sweep(sequence, stack.cells[0].initial_state(4))
    seen = []
    mixed.cells[1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    mixed.fast = False
    mixed(sequence, mixed.initial_state(4))
    torch.testing.assert_close(torch.stack(seen), below)


def losses_and_gradients(stack: RecurrentStack, sequence: Tensor, state: Tensor, *, half: bool) -> list[Tensor]:
    """Values of one seed's pass and gradients to weights, input and first state."""
    stack.zero_grad()
    leaves = [sequence.clone().requires_grad_(), *(part.clone().requires_grad_() for part in state)]
    first = tuple((leaves[1 + 2 * layer], leaves[2 + 2 * layer]) for layer in range(len(stack.cells)))
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output, after = stack(leaves[0], first)
    values = [output, *itertools.chain(*after)]
    sum((value * value.cos()).sum() for value in values).backward()
    gradients = [leaf.grad for leaf in (*leaves, *stack.parameters())]
    return [value.detach() for value in values] + gradients


@pytest.mark.parametrize("half", [False, True], ids=["float64", "bfloat16"])
def test_the_lstms_sweep_with_a_masked_state_is_its_plain_twin(half):
    stack = drawn_stack("lstm", (5, 4, 6), state=0.4, recurrent_weights=0.3)
    sequence, state = torch.randn(8, 3, 5, dtype=torch.float64), []
    for cell in stack.cells:
        state += [torch.randn(3, cell.hidden_size, dtype=torch.float64) for _ in range(2)]
    if half:
        stack, sequence, state = stack.float(), sequence.float(), [part.float() for part in state]
    ours = losses_and_gradients(stack, sequence, state, half=half)
    stack.fast = False
    plain = losses_and_gradients(stack, sequence, state, half=False)
    for one, other in zip(ours, plain, strict=True):
        # bfloat16 rounds to 2^-8; sums of rounded products are off by about as much
        assert (one - other).norm() / other.norm() < (2**-5 if half else 1e-12)


def test_state_dropout_leaves_what_a_gru_carries_past_its_gates():
    """With the update gate wide open the hidden state stays as it was, whatever is dropped."""
    stack = drawn_stack("gru", (3, 4), state=0.5)
    (cell,) = stack.cells
    with torch.no_grad():
        cell.bias_ih[4:8] = 50.0
    first = torch.randn(2, 4, dtype=torch.float64)
    output, _ = stack(torch.randn(6, 2, 3, dtype=torch.float64), ((first,),))
    torch.testing.assert_close(output[-1], first)


def test_each_layer_has_masks_of_its_own():
    stack = drawn_stack("lstm", (4, 4, 4), recurrent_weights=0.5)
    one, other = dropped_by(7, stack, 0.5)
    assert not torch.equal(one, other)


def test_masks_ask_the_device_nothing(no_questions):
    """So that a CUDA graph can draw them anew at every repeat."""
    options = ModelOptions(
        embedding_size=5, hidden_sizes=(6, 4), dropout=Dropout(recurrent_weights=0.5, state=0.3, embedding=0.1)
    )
    model = LanguageModel(options, 11).train()
    with no_questions():
        model.hidden(torch.zeros(3, 2, dtype=torch.int64), model.initial_state(2))


def test_gradients_flow_through_both_masks():
    cell = LSTMCell(3, 2).double().train()
    for parameter in cell.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    sequence = torch.randn(3, 2, 3, dtype=torch.float64)

    def loss(weight: Tensor) -> Tensor:
        torch.manual_seed(11)
        with cell.dropping(2, recurrent_weights=0.4, state=0.4):
            state = cell.initial_state(2)
            for step in sequence:
                _, state = cell(step, state)
        return torch.stack(list(itertools.chain(state))).sum() + 0 * weight.sum()

    assert torch.autograd.gradcheck(loss, [cell.weight_hh])


def test_cudnn_s_warning_about_scattered_weights_is_silent_only_while_weights_are_dropped():
    layout = "RNN module weights are not part of single contiguous chunk of memory"
    before = list(warnings.filters)
    stack = RecurrentStack(ModelOptions(embedding_size=4, hidden_sizes=(4,), dropout=Dropout(recurrent_weights=0.5)))
    (cell,) = stack.train().cells
    with cell.dropping(2, recurrent_weights=0.5, state=0.0):
        warnings.warn(layout, UserWarning, stacklevel=1)
    assert warnings.filters == before
    with cell.dropping(2, recurrent_weights=0.0, state=0.5), pytest.warns(UserWarning, match="contiguous chunk"):
        warnings.warn(layout, UserWarning, stacklevel=1)
