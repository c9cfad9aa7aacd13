import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.backends.cudnn import rnn

from recurlm.config import ModelOptions
from recurlm.kernels import recurrent_sweep
from recurlm.kernels.linear_scan import parallel_scan
from recurlm.models.cell import Cell
from recurlm.models.cells import CELLS, GRUCell, ReluCell, SigmoidCell, TanhCell, build_cells
from recurlm.models.lstm_cells import BoundLSTMCell, LayerNormLSTMCell, LSTMCell, MogrifierCell
from recurlm.models.parallel_cells import MinGRUCell, QRNNCell
from recurlm.tensor_files import tensor_bytes, tensors


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


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def normalised(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Row by row, with the variance that divides by the count."""
    centred = x - x.mean(-1, keepdims=True)
    return gain * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) + bias


def lstm_memory(sums: np.ndarray, c: np.ndarray, bound: str = "free", shown=lambda c: c):
    """h and c from the sums of input gate (unless coupled), forget gate, candidate and output gate."""
    *first, f, g, o = np.split(sums, 3 if bound == "coupled" else 4, axis=-1)
    f = logistic(f)
    i = 1 - f if bound == "coupled" else logistic(first[0])
    if bound == "capped":
        i = np.where(i > 1 - f, 1 - f, i)
    c = f * c + i * np.tanh(g)
    return logistic(o) * np.tanh(shown(c)), c


def affine(w: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray) -> np.ndarray:
    return x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]


def bound_step(bound: str):
    def step(w, x, state):
        h, c = lstm_memory(affine(w, x, state[0]), state[1], bound)
        return h, (h, c)

    return step


def layer_norm_step(w, x, state):
    h, c = state
    sums = normalised(x @ w["weight_ih"].T, w["gain_ih"], w["bias_ih"])
    sums = sums + normalised(h @ w["weight_hh"].T, w["gain_hh"], w["bias_hh"])
    h, c = lstm_memory(sums, c, shown=lambda c: normalised(c, w["gain_cell"], w["bias_cell"]))
    return h, (h, c)


def mogrifier_step(rounds: int, low_rank: bool, bound: str = "free"):
    def gate(w, number, y):
        if low_rank:
            right, left = w[f"rounds.{number}.0.weight"], w[f"rounds.{number}.1.weight"]
            return 2 * logistic(y @ (left @ right).T + w[f"rounds.{number}.1.bias"])
        return 2 * logistic(y @ w[f"rounds.{number}.weight"].T + w[f"rounds.{number}.bias"])

    def step(w, x, state):
        h, c = state
        for number in range(rounds):
            if number % 2 == 0:
                x = gate(w, number, h) * x
            else:
                h = gate(w, number, x) * h
        h, c = lstm_memory(affine(w, x, h), c, bound)
        return h, (h, c)

    return step


def mingru_step(w, x, state):
    z, new = np.split(x @ w["weight_ih"].T + w["bias_ih"], 2, axis=-1)
    h = (1 - logistic(z)) * state[0] + logistic(z) * new
    return h, (h,)


def qrnn_step(window: int):
    def step(w, x, state):
        c = state[0]
        read = x if window == 1 else np.concatenate([state[1], x], axis=-1)
        z, f, o = np.split(read @ w["weight_ih"].T + w["bias_ih"], 3, axis=-1)
        c = logistic(f) * c + (1 - logistic(f)) * np.tanh(z)
        return logistic(o) * c, (c, x)[:window]

    return step


NUMPY = {
    "capped": (lambda: BoundLSTMCell(5, 3, "capped"), bound_step("capped")),
    "coupled": (lambda: BoundLSTMCell(5, 3, "coupled"), bound_step("coupled")),
    "layer norm": (lambda: LayerNormLSTMCell(5, 3), layer_norm_step),
    "mogrifier": (lambda: MogrifierCell(5, 3), mogrifier_step(5, False)),
    "mogrifier of one round": (lambda: MogrifierCell(5, 3, rounds=1), mogrifier_step(1, False)),
    "mogrifier of low rank": (lambda: MogrifierCell(5, 3, rounds=4, rank=2), mogrifier_step(4, True)),
    "capped mogrifier": (lambda: MogrifierCell(5, 3, "capped"), mogrifier_step(5, False, "capped")),
    "coupled mogrifier": (lambda: MogrifierCell(5, 3, "coupled"), mogrifier_step(5, False, "coupled")),
    "minGRU": (lambda: MinGRUCell(5, 3), mingru_step),
    "QRNN of window 1": (lambda: QRNNCell(5, 3, 1), qrnn_step(1)),
    "QRNN of window 2": (lambda: QRNNCell(5, 3, 2), qrnn_step(2)),
}


def drawn(cell: Cell) -> Cell:
    torch.manual_seed(5)
    cell = cell.double()
    for parameter in cell.parameters():
        nn.init.uniform_(parameter, -1.5, 1.5)
    return cell


def drawn_state(cell: Cell, batch: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn_like(part) for part in cell.initial_state(batch))


@pytest.mark.parametrize("name", NUMPY)
def test_a_sequence_is_what_numpy_makes_of_the_equations(name):
    make, step = NUMPY[name]
    cell = drawn(make())
    weights = {key: parameter.detach().numpy() for key, parameter in cell.named_parameters()}
    sequence, state = torch.randn(6, 4, 5, dtype=torch.float64), drawn_state(cell, 4)
    with torch.no_grad():
        swept, last = cell.sweep(sequence, state)
    expected, carried = [], tuple(part.numpy() for part in state)
    for x in sequence.numpy():
        output, carried = step(weights, x, carried)
        expected.append(output)
    np.testing.assert_allclose(swept.numpy(), np.stack(expected), rtol=0, atol=1e-12)
    assert len(last) == len(carried) == cell.carried
    for ours, theirs in zip(last, carried, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NUMPY)
def test_gradients_of_sweeps_are_those_of_finite_differences_and_of_steps(name):
    cell = drawn(NUMPY[name][0]())
    sequence = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    state = tuple(part.requires_grad_() for part in drawn_state(cell, 2))
    leaves = [sequence, *state, *cell.parameters()]

    def results(run: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]) -> tuple[Tensor, ...]:
        output, last = run(sequence, state)
        return (output, *last)

    assert torch.autograd.gradcheck(lambda *_: results(cell.sweep), leaves)
    swept, stepped = results(cell.sweep), results(lambda *given: recurrent_sweep.step_by_step(cell, *given))
    weights = [torch.randn_like(part) for part in swept]
    expected, found = (torch.autograd.grad(parts, leaves, weights) for parts in (swept, stepped))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"rounds": 5}, {"rounds": 5, "rank": 2}])
def test_a_mogrifier_that_gates_nothing_is_torchs_lstm(options):
    torch.manual_seed(3)
    cell, other = MogrifierCell(5, 3, **options).double(), nn.LSTMCell(5, 3).double()
    for parameter in cell.rounds.parameters():
        nn.init.zeros_(parameter)  # 2 sigmoid(0) is 1
    cell.load_state_dict(other.state_dict(), strict=False)
    x, state = torch.randn(2, 5, dtype=torch.float64), drawn_state(cell, 2)
    for one, expected in zip(cell(x, state)[1], other(x, state), strict=True):
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)


def test_layer_normalisation_is_torchs():
    cell = drawn(LayerNormLSTMCell(5, 3))
    x, (hidden, memory) = torch.randn(2, 5, dtype=torch.float64), drawn_state(cell, 2)
    norms = [nn.LayerNorm(size, dtype=torch.float64) for size in (12, 12, 3)]
    parameters = [(cell.gain_ih, cell.bias_ih), (cell.gain_hh, cell.bias_hh), (cell.gain_cell, cell.bias_cell)]
    for norm, (gain, bias) in zip(norms, parameters, strict=True):
        norm.load_state_dict({"weight": gain, "bias": bias})
    i, f, g, o = (norms[0](x @ cell.weight_ih.t()) + norms[1](hidden @ cell.weight_hh.t())).chunk(4, dim=-1)
    memory_after = f.sigmoid() * memory + i.sigmoid() * g.tanh()
    _, (ours, our_memory) = cell(x, (hidden, memory))
    torch.testing.assert_close(our_memory, memory_after)
    torch.testing.assert_close(ours, o.sigmoid() * norms[2](memory_after).tanh())


def test_normalised_gates_do_not_feel_the_size_of_the_input():
    cell = drawn(LayerNormLSTMCell(5, 3))
    x, state = torch.randn(2, 5, dtype=torch.float64), drawn_state(cell, 2)
    torch.testing.assert_close(cell(1000 * x, state)[0], cell(x, state)[0], rtol=0, atol=1e-4)
    assert not torch.allclose(drawn(LSTMCell(5, 3))(1000 * x, state)[0], drawn(LSTMCell(5, 3))(x, state)[0], atol=1e-2)


@pytest.mark.parametrize("input_gate", ["capped", "coupled"])
def test_a_bound_memory_stays_within_one_and_a_free_one_does_not(input_gate):
    torch.manual_seed(6)
    bound, free = BoundLSTMCell(1, 1, input_gate).double(), LSTMCell(1, 1).double()
    for cell in (bound, free):
        # all gates open wide, and candidates near 1
        nn.init.constant_(cell.bias_ih, 4.0)
    sequence = torch.zeros(50, 1, 1, dtype=torch.float64)
    for cell, within in ((bound, True), (free, False)):
        with torch.no_grad():
            _, (_, memory) = cell.sweep(sequence, cell.initial_state(1))
        assert (memory.abs().max().item() <= 1) == within


def test_an_input_gate_under_its_cap_is_free():
    # a forget gate near 0 leaves room for any input gate
    weights = [0.5, -1.0, 2.0, 0.25], [1.0, 0.5, -0.5, 1.5], [0.1, -30.0, 0.0, 0.0], [0.0] * 4
    free, capped = filled(LSTMCell(1, 1), *weights), filled(BoundLSTMCell(1, 1, "capped"), *weights)
    x, state = torch.tensor([[0.6]]).double(), (torch.tensor([[-0.4]]).double(), torch.tensor([[1.2]]).double())
    torch.testing.assert_close(capped(x, state), free(x, state), rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [1, 2])
def test_a_qrnn_is_a_causal_convolution_and_a_scan(window):
    cell = drawn(QRNNCell(5, 3, window))
    sequence = torch.randn(7, 2, 5, dtype=torch.float64)
    # conv1d takes (B, I, T) and kernels (G H, I, window), the oldest input first
    kernels = cell.weight_ih.detach().view(9, window, 5).transpose(1, 2)
    padded = nn.functional.pad(sequence.permute(1, 2, 0), (window - 1, 0))
    sums = nn.functional.conv1d(padded, kernels, cell.bias_ih.detach()).permute(2, 0, 1)
    candidate, forget, output_gate = sums.chunk(3, dim=-1)
    memory, expected = torch.zeros(2, 3, dtype=torch.float64), []
    for z, f, o in zip(candidate.tanh(), forget.sigmoid(), output_gate.sigmoid(), strict=True):
        memory = f * memory + (1 - f) * z
        expected.append(o * memory)
    output, _ = cell.sweep(sequence, cell.initial_state(2))
    torch.testing.assert_close(output, torch.stack(expected))


def test_the_parallel_scan_of_a_min_gru_is_its_steps():
    cell = drawn(MinGRUCell(5, 3)).float()
    sequence, (first,) = torch.randn(100, 4, 5), drawn_state(cell, 4)
    steps, _ = recurrent_sweep.step_by_step(cell, sequence, (first,))
    torch.testing.assert_close(parallel_scan(*cell.terms(sequence), first), steps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "kind", "shapes"),
    [
        ({"input_gate": "coupled"}, BoundLSTMCell, {"weight_ih": (9, 5), "weight_hh": (9, 3)}),
        ({"input_gate": "capped"}, BoundLSTMCell, {"weight_ih": (12, 5), "weight_hh": (12, 3)}),
        ({"cell": "layer-norm-lstm"}, LayerNormLSTMCell, {"gain_ih": (12,), "gain_hh": (12,), "gain_cell": (3,)}),
        ({"cell": "mogrifier"}, MogrifierCell, {"rounds.0.weight": (5, 3), "rounds.1.weight": (3, 5)}),
        (
            {"cell": "mogrifier", "mogrifier": {"rounds": 2, "rank": 2}},
            MogrifierCell,
            {"rounds.0.0.weight": (2, 3), "rounds.0.1.weight": (5, 2), "rounds.1.0.weight": (2, 5)},
        ),
        ({"cell": "mingru"}, MinGRUCell, {"weight_ih": (6, 5), "bias_ih": (6,)}),
        ({"cell": "qrnn"}, QRNNCell, {"weight_ih": (9, 10), "bias_ih": (9,)}),
        ({"cell": "qrnn", "qrnn": {"window": 1}}, QRNNCell, {"weight_ih": (9, 5)}),
    ],
)
def test_cells_of_a_recipe_and_their_shapes(options, kind, shapes):
    (cell,) = build_cells(ModelOptions(embedding_size=5, hidden_sizes=(3,), **options))
    assert type(cell) is kind
    parameters = {name: tuple(parameter.shape) for name, parameter in cell.named_parameters()}
    assert shapes.items() <= parameters.items()


def test_what_a_state_holds():
    assert [part.shape for part in QRNNCell(5, 3).initial_state(4)] == [(4, 3), (4, 5)]
    assert [part.shape for part in QRNNCell(5, 3, 1).initial_state(4)] == [(4, 3)]
    assert [part.shape for part in MogrifierCell(5, 3).initial_state(4)] == [(4, 3), (4, 3)]
    assert len(MogrifierCell(5, 3).rounds) == 5
    assert [tuple(cell(5, 3).weight_ih.shape) for cell in (QRNNCell, MinGRUCell)] == [(9, 10), (6, 5)]
    assert [part.shape for part in MinGRUCell(5, 3).initial_state(4)] == [(4, 3)]


def test_only_the_plain_lstm_takes_the_fast_way(monkeypatch):
    taken = []
    monkeypatch.setattr(recurrent_sweep, "lstm", lambda weights, input, state: taken.append(weights) or (input, state))
    x = torch.randn(2, 1, 5)
    others = [
        ModelOptions(embedding_size=5, hidden_sizes=(5,), cell=cell, input_gate=gate)
        for cell in ("lstm", "mogrifier", "layer-norm-lstm")
        for gate in ("free", "capped", "coupled")
        if (cell, gate) != ("lstm", "free")
    ]
    for options in others:
        (cell,) = build_cells(options)
        cell.sweep(x, cell.initial_state(1))
        assert cell.cudnn_mode is None
        assert not taken, options
    plain = LSTMCell(5, 5)
    plain.sweep(x, plain.initial_state(1))
    assert len(taken) == 1
