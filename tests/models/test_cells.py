import math

import pytest
import torch
from torch import Tensor, nn
from torch.backends.cudnn import rnn

from recurlm.checkpoints import tensor_bytes, tensors
from recurlm.models.cells import CELLS, GRUCell, LSTMCell, ReluCell, SigmoidCell, TanhCell


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def filled(cell, weight_ih, weight_hh, bias_ih, bias_hh):
    """A cell of one unit with one input, its weights given gate by gate."""
    cell = cell.double()
    with torch.no_grad():
        for parameter, values in zip(cell.weights, (weight_ih, weight_hh, bias_ih, bias_hh), strict=True):
            parameter.copy_(torch.tensor(values, dtype=torch.float64).view_as(parameter))
    return cell


def test_an_lstm_step_by_hand():
    # input gate, forget, candidate, output gate
    cell = filled(
        LSTMCell(1, 1), [0.5, -1.0, 2.0, 0.25], [1.0, 0.5, -0.5, 1.5], [0.1, 1.0, 0.0, -0.2], [0.0, -0.5, 0.3, 0.0]
    )
    x, h, c = 0.6, -0.4, 1.2
    output, (hidden, memory) = cell(
        torch.tensor([[x]], dtype=torch.float64),
        (torch.tensor([[h]], dtype=torch.float64), torch.tensor([[c]], dtype=torch.float64)),
    )
    # sums: 0.3 - 0.4 + 0.1 = 0; -0.6 - 0.2 + 0.5 = -0.3; 1.2 + 0.2 + 0.3 = 1.7; 0.15 - 0.6 - 0.2 = -0.65
    expected_memory = sigmoid(-0.3) * 1.2 + 0.5 * math.tanh(1.7)
    expected_hidden = sigmoid(-0.65) * math.tanh(expected_memory)
    # and in plain numbers
    assert expected_memory == pytest.approx(0.978374, abs=1e-6)
    assert expected_hidden == pytest.approx(0.258052, abs=1e-6)
    assert memory.item() == pytest.approx(expected_memory, abs=1e-12)
    assert hidden.item() == pytest.approx(expected_hidden, abs=1e-12)
    assert torch.equal(output, hidden)


def test_a_gru_step_by_hand():
    # reset, update, candidate
    cell = filled(GRUCell(1, 1), [1.0, -0.5, 0.5], [0.5, 1.0, 2.0], [0.1, 0.0, 0.2], [0.0, 0.25, -0.5])
    output, (hidden,) = cell(torch.tensor([[2.0]], dtype=torch.float64), (torch.tensor([[0.8]], dtype=torch.float64),))
    reset, update = sigmoid(2.0 + 0.1 + 0.4), sigmoid(-1.0 + 0.8 + 0.25)
    candidate = math.tanh(1.0 + 0.2 + reset * (1.6 - 0.5))
    assert hidden.item() == pytest.approx((1 - update) * candidate + update * 0.8, abs=1e-12)
    assert torch.equal(output, hidden)


@pytest.mark.parametrize(
    ("kind", "activation"), [(TanhCell, math.tanh), (ReluCell, lambda x: max(x, 0.0)), (SigmoidCell, sigmoid)]
)
@pytest.mark.parametrize("x", [0.9, -2.0])
def test_a_simple_step_by_hand(kind, activation, x):
    cell = filled(kind(1, 1), [0.5], [-1.5], [0.25], [0.125])
    output, (hidden,) = cell(torch.tensor([[x]], dtype=torch.float64), (torch.tensor([[0.3]], dtype=torch.float64),))
    assert hidden.item() == pytest.approx(activation(0.5 * x - 0.45 + 0.375), abs=1e-12)
    assert torch.equal(output, hidden)


def test_the_sigmoid_cell_is_a_hand_written_loop():
    torch.manual_seed(0)
    cell = SigmoidCell(3, 2).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    sequence = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    output, (last,) = cell.sweep(sequence, cell.initial_state(4))
    weight_ih, weight_hh, bias_ih, bias_hh = (weight.detach().tolist() for weight in cell.weights)
    for column in range(4):
        hidden = [0.0, 0.0]
        for step in range(5):
            inputs = sequence[step, column].tolist()
            hidden = [
                sigmoid(
                    sum(w * v for w, v in zip(weight_ih[unit], inputs, strict=True))
                    + sum(w * v for w, v in zip(weight_hh[unit], hidden, strict=True))
                    + bias_ih[unit]
                    + bias_hh[unit]
                )
                for unit in range(2)
            ]
            assert output[step, column].tolist() == pytest.approx(hidden, abs=1e-12)
        assert last[column].tolist() == pytest.approx(hidden, abs=1e-12)
    leaves = [sequence, *cell.weights]
    assert torch.autograd.gradcheck(lambda *_: cell.sweep(sequence, cell.initial_state(4))[0], leaves)


@pytest.mark.parametrize(
    ("kind", "outsider"),
    [("lstm", nn.LSTMCell), ("gru", nn.GRUCell), ("tanh", nn.RNNCell)],
)
def test_one_step_agrees_with_torch_cells(kind, outsider):
    torch.manual_seed(1)
    cell, other = CELLS[kind](5, 3).double(), outsider(5, 3).double()
    cell.load_state_dict(other.state_dict())
    state = tuple(torch.randn(2, 3, dtype=torch.float64) for _ in range(cell.carried))
    x = torch.randn(2, 5, dtype=torch.float64)
    _, ours = cell(x, state)
    theirs = other(x, state if kind == "lstm" else state[0])
    for one, expected in zip(ours, theirs if kind == "lstm" else (theirs,), strict=True):
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "gates", "carried"), [("lstm", 4, 2), ("gru", 3, 1), ("sigmoid", 1, 1)])
def test_shapes_and_first_state(kind, gates, carried):
    cell = CELLS[kind](5, 3)
    assert [tuple(weight.shape) for weight in cell.weights] == [
        (gates * 3, 5),
        (gates * 3, 3),
        (gates * 3,),
        (gates * 3,),
    ]
    state = cell.double().initial_state(2)
    assert len(state) == carried
    assert all(part.shape == (2, 3) and part.dtype == torch.float64 and not part.any() for part in state)


def lay_into_one_block(weights: list[Tensor], *_: object) -> None:
    """What cuDNN's function does to the weights, without cuDNN's order and gaps."""
    block = torch.cat([weight.flatten() for weight in weights])
    start = 0
    for weight in weights:
        weight.set_(block[start : start + weight.numel()].view(weight.shape))
        start += weight.numel()


@pytest.fixture
def flattened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """As if cuDNN were here; the arguments of each call after the weights."""
    calls: list[tuple[object, ...]] = []

    def flatten(weights: list[Tensor], *arguments: object) -> None:
        calls.append(arguments)
        lay_into_one_block(weights)

    monkeypatch.setattr(torch.backends.cudnn, "is_acceptable", lambda _: True)
    monkeypatch.setattr(rnn, "get_cudnn_mode", lambda mode: mode)
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", flatten)
    return calls


@pytest.mark.parametrize(
    ("kind", "mode"), [("lstm", "LSTM"), ("gru", "GRU"), ("tanh", "RNN_TANH"), ("relu", "RNN_RELU"), ("sigmoid", None)]
)
def test_moved_weights_lie_in_one_block_where_cudnn_is(flattened, kind, mode):
    cell = CELLS[kind](5, 3)
    nn.init.uniform_(cell.weight_hh)
    before = {name: parameter.detach().clone() for name, parameter in cell.named_parameters()}
    cell.to(torch.device("cpu"))
    # four weights of a layer; sizes, no projection, one layer, time first, one direction
    assert flattened == ([(4, 5, mode, 3, 0, 1, False, False)] if mode else [])
    assert len({parameter.untyped_storage().data_ptr() for parameter in cell.parameters()}) == (1 if mode else 4)
    torch.testing.assert_close(dict(cell.named_parameters()), {k: nn.Parameter(v) for k, v in before.items()})


@pytest.mark.usefixtures("flattened")
def test_weights_in_one_block_are_saved_and_learn_like_others(tmp_path):
    torch.manual_seed(1)
    cell, twin = LSTMCell(5, 3), LSTMCell(5, 3)
    for parameter in twin.parameters():
        nn.init.uniform_(parameter)
    cell.to(torch.device("cpu"))
    cell.load_state_dict(tensors(tensor_bytes(twin.state_dict()), tmp_path))
    for each in (cell, twin):
        optimizer = torch.optim.SGD(each.parameters(), 0.5, fused=True)
        output, _ = each.sweep(torch.ones(4, 2, 5), each.initial_state(2))
        output.sum().backward()
        optimizer.step()
    saved = tensors(tensor_bytes(cell.state_dict()), tmp_path)
    for name, parameter in twin.named_parameters():
        assert torch.equal(saved[name], parameter)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh", "relu"])
def test_cudnn_takes_the_weights_as_they_lie(kind, recwarn):
    cell = CELLS[kind](5, 3).to(torch.device("cuda"))
    assert len({parameter.untyped_storage().data_ptr() for parameter in cell.parameters()}) == 1
    cell.sweep(torch.ones(4, 2, 5, device="cuda"), cell.initial_state(2))
    assert not [warning for warning in recwarn if "contiguous chunk" in str(warning.message)]
