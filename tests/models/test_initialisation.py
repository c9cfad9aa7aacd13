import pytest
import torch

from recurlm.config import (
    ModelOptions,
    OrthogonalInitialisation,
    UniformInitialisation,
    XavierInitialisation,
)
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel


def drawn(initialisation, seed: int = 0, **options) -> LanguageModel:
    torch.manual_seed(seed)
    defaults = {"embedding_size": 64, "hidden_sizes": (48, 64)}
    model = LanguageModel(ModelOptions(**{**defaults, **options}), 300)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(99.0)
    initialise(model, initialisation)
    return model


def assert_uniform(tensor: torch.Tensor, bound: float) -> None:
    values = tensor.detach().double().flatten()
    assert values.abs().max().item() <= bound * (1 + 1e-6)
    assert values.abs().max().item() > 0.98 * bound
    assert values.var().item() == pytest.approx(bound**2 / 3, rel=0.06)
    assert abs(values.mean().item()) < 5 * bound / (3 * len(values)) ** 0.5


def test_xavier_scales_by_the_columns_of_each_matrix():
    model = drawn(XavierInitialisation(magnitude=2.34))
    matrices = {name: p for name, p in model.named_parameters() if p.dim() == 2}
    assert len(matrices) == 6
    columns = {"embedding.weight": 64, "decoder.weight": 64, "stack.layers.0.weight_hh": 48}
    for name, matrix in matrices.items():
        assert matrix.shape[1] == columns.get(name, matrix.shape[1])
        assert_uniform(matrix, (2.34 / matrix.shape[1]) ** 0.5)


@pytest.mark.parametrize("initialisation", [XavierInitialisation(), OrthogonalInitialisation(forget_bias=1.0)])
def test_biases_are_zero_but_the_forget_gate_opens_once(initialisation):
    model = drawn(initialisation)
    for cell in model.stack.cells:
        size = cell.hidden_size
        input_gate, forget, candidate, output_gate = cell.bias_ih.detach().split(size)
        assert (forget == 1).all()
        assert not torch.cat([input_gate, candidate, output_gate, cell.bias_hh.detach()]).any()
    assert not model.decoder.bias.any()


def test_the_forget_bias_is_the_recipes():
    cell = drawn(XavierInitialisation(forget_bias=-2.5)).stack.cells[0]
    assert (cell.bias_ih[48:96] == -2.5).all()


@pytest.mark.parametrize("cell", ["gru", "tanh"])
def test_cells_without_a_forget_gate_have_no_bias(cell):
    for layer in drawn(XavierInitialisation(), cell=cell).stack.cells:
        assert not layer.bias_ih.any()
        assert not layer.bias_hh.any()


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh"])
def test_orthogonal_recurrent_matrices_gate_by_gate(cell):
    model = drawn(OrthogonalInitialisation(embedding_scale=0.2), cell=cell)
    for layer in model.stack.cells:
        for gate in layer.weight_hh.detach().double().chunk(layer.gates):
            torch.testing.assert_close(gate @ gate.t(), torch.eye(layer.hidden_size).double(), rtol=0, atol=1e-5)
        assert_uniform(layer.weight_ih, layer.input_size**-0.5)
    assert_uniform(model.embedding.weight, 0.2)
    assert_uniform(model.decoder.weight, 0.2)
    assert not model.decoder.bias.any()


def test_uniform_draws_every_parameter():
    model = drawn(UniformInitialisation(scale=0.05))
    for parameter in model.parameters():
        assert parameter.abs().max().item() <= 0.05
        assert parameter.abs().max().item() > 0.04
    assert_uniform(model.embedding.weight, 0.05)


@pytest.mark.parametrize(
    "initialisation", [XavierInitialisation(), OrthogonalInitialisation(), UniformInitialisation()]
)
@pytest.mark.parametrize("tied", [False, True])
def test_every_weight_is_drawn_and_a_seed_repeats_it(initialisation, tied):
    one, same, other = (drawn(initialisation, seed, tied=tied) for seed in (1, 1, 2))
    for name, parameter in one.named_parameters():
        assert not (parameter == 99).any(), name
        assert torch.equal(parameter, dict(same.named_parameters())[name])
    assert not torch.equal(one.embedding.weight, other.embedding.weight)


@pytest.mark.parametrize(
    "initialisation", [XavierInitialisation(forget_bias=1.5), OrthogonalInitialisation(forget_bias=1.5)]
)
@pytest.mark.parametrize(
    ("cell", "input_gate", "rows"),
    [
        ("lstm", "capped", (48, 96)),
        ("lstm", "coupled", (0, 48)),
        ("mogrifier", "free", (48, 96)),
        ("mogrifier", "coupled", (0, 48)),
        ("layer-norm-lstm", "free", (48, 96)),
    ],
)
def test_the_forget_gate_of_every_lstm_opens(initialisation, cell, input_gate, rows):
    layer = drawn(initialisation, cell=cell, input_gate=input_gate).stack.cells[0]
    expected = torch.zeros_like(layer.bias_ih)
    expected[slice(*rows)] = 1.5
    assert torch.equal(layer.bias_ih.detach(), expected)


@pytest.mark.parametrize("cell", ["mingru", "qrnn"])
@pytest.mark.parametrize("initialisation", [XavierInitialisation(magnitude=1.0), OrthogonalInitialisation()])
def test_layers_without_a_recurrent_matrix(initialisation, cell):
    for layer in drawn(initialisation, cell=cell).stack.cells:
        assert_uniform(layer.weight_ih, layer.weight_ih.shape[1] ** -0.5)
        assert not layer.bias_ih.any()


def test_orthogonal_gates_of_a_mogrifier_and_its_gating_matrices_by_fan_in():
    layer = drawn(OrthogonalInitialisation(), cell="mogrifier", input_gate="coupled").stack.cells[0]
    assert len(layer.weight_hh) == 3 * 48
    for gate in layer.weight_hh.detach().double().split(48):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(48).double(), rtol=0, atol=1e-5)
    for number, gating in enumerate(layer.rounds):
        assert gating.weight.shape == ((64, 48) if number % 2 == 0 else (48, 64))
        assert_uniform(gating.weight, gating.weight.shape[1] ** -0.5)
        assert not gating.bias.any()


@pytest.mark.parametrize(
    "initialisation", [XavierInitialisation(), OrthogonalInitialisation(), UniformInitialisation(scale=0.05)]
)
def test_gains_of_layer_normalisation_are_ones(initialisation):
    for layer in drawn(initialisation, cell="layer-norm-lstm").stack.cells:
        for name, parameter in layer.named_parameters():
            assert (parameter == 1).all() == name.startswith("gain")
