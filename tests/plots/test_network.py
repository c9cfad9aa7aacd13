import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from recurlm.config import AdaptiveOutput, Dropout, MixtureOutput, ModelOptions
from recurlm.models.language_model import LanguageModel
from recurlm.plots.layers import network_layers, network_name, parameter_count
from recurlm.plots.network import network_picture
from recurlm.plots.unrolled import unrolled_picture

SEED = ModelOptions()
TIED = ModelOptions(tied=True)
EVERYTHING = ModelOptions(
    cell="gru",
    embedding_size=12,
    hidden_sizes=(12, 20, 20, 12),
    tied=True,
    residual=True,
    dropout=Dropout(embedding=0.1, input=0.2, between=0.3, output=0.4, locked=False),
)
MIXED = ModelOptions(
    cell=("lstm", "lstm", "gru"),
    embedding_size=12,
    hidden_sizes=(12, 12, 20),
    residual=(False, True, False),
    dropout=Dropout(between=(0.1, 0.0)),
)


def written(svg: bytes) -> set[str]:
    """The texts of an SVG whose letters are drawn as paths; each stands in a comment beside them."""
    return set(re.findall(r"<!-- (.*?) -->", svg.decode()))


def counts(options: ModelOptions, vocabulary_size: int) -> dict[str, int]:
    layers = network_layers(options, vocabulary_size)
    return {layer.name: layer.parameters for layer in layers if layer.has_weights}


def test_counts_of_the_seed_documents_network():
    # 4 gates, each 256 x 256 on the input, 256 x 256 on the state and two biases
    assert counts(SEED, 10_000) == {
        "embedding": 2_560_000,
        "LSTM 1": 526_336,
        "LSTM 2": 526_336,
        "decoder": 2_570_000,
    }
    assert parameter_count(network_layers(SEED, 10_000)) == 6_182_672


def test_a_tied_matrix_is_counted_once():
    assert counts(TIED, 10_000)["decoder"] == 10_000
    assert counts(TIED.model_copy(update={"decoder_bias": False}), 10_000)["decoder"] == 0


@pytest.mark.parametrize(
    ("output", "tied", "expected"),
    [
        # priors 5 x 3, experts 3 x (5 x 4 + 4), matrix 4 x 100, bias 100
        (MixtureOutput(experts=3), False, 15 + 72 + 400 + 100),
        (MixtureOutput(experts=3), True, 15 + 72 + 100),
        # head 5 x 12 + 12; then 5 x 2, 2 x 40 + 40 and 5 x 1, 1 x 50 + 50
        (AdaptiveOutput(cutoffs=(10, 50), divisor=2.0), False, 72 + 10 + 120 + 5 + 100),
    ],
)
def test_counts_of_other_output_layers(output, tied, expected):
    options = ModelOptions(embedding_size=4, hidden_sizes=(5,), output=output, tied=tied)
    assert counts(options, 100)["decoder"] == expected


@pytest.mark.parametrize(("cell", "gates"), [("tanh", 1), ("relu", 1), ("sigmoid", 1), ("gru", 3), ("lstm", 4)])
def test_each_cell_has_its_number_of_gates(cell, gates):
    options = ModelOptions(cell=cell, embedding_size=3, hidden_sizes=(5,))
    recurrent = network_layers(options, 7)[2]
    assert recurrent.parameters == gates * (5 * 3 + 5 * 5 + 5 + 5)
    assert recurrent.carried == (("h", "c") if cell == "lstm" else ("h",))


KIN = [
    ModelOptions(embedding_size=12, hidden_sizes=(20, 20), skip=True, **options)
    for options in (
        {"input_gate": "capped"},
        {"input_gate": "coupled"},
        {"cell": "layer-norm-lstm"},
        {"cell": "mogrifier"},
        {"cell": "mogrifier", "input_gate": "capped", "mogrifier": {"rounds": 3, "rank": 4}},
        {"cell": "mingru"},
        {"cell": "qrnn"},
        {"cell": "qrnn", "qrnn": {"window": 1}},
    )
]


@pytest.mark.parametrize("options", [SEED, TIED, EVERYTHING, MIXED, *KIN])
def test_the_total_is_the_models_own_count(options):
    with torch.device("meta"):
        expected = LanguageModel(options, 1000).parameter_count()
    assert parameter_count(network_layers(options, 1000)) == expected


def test_shapes_and_places_of_dropout_and_residual_sums():
    shapes = [(layer.name, layer.shape) for layer in network_layers(EVERYTHING, 1000)]
    assert shapes == [
        ("tokens", "(T, B)"),
        ("embedding", "(T, B, 12)"),
        ("word dropout", "(T, B, 12)"),
        ("input dropout", "(T, B, 12)"),
        ("GRU 1", "(T, B, 12)"),
        ("dropout 1", "(T, B, 12)"),
        ("GRU 2", "(T, B, 20)"),
        ("dropout 2", "(T, B, 20)"),
        ("GRU 3", "(T, B, 20)"),
        ("dropout 3", "(T, B, 20)"),
        ("GRU 4", "(T, B, 12)"),
        ("output dropout", "(T, B, 12)"),
        ("decoder", "(T, B, 1,000)"),
        ("softmax", "(T, B, 1,000)"),
    ]
    residual = [layer.name for layer in network_layers(EVERYTHING, 1000) if layer.residual]
    assert residual == ["GRU 1", "GRU 3"]


def test_layers_of_different_kinds():
    layers = network_layers(MIXED, 1000)[2:-2]
    assert [layer.name for layer in layers] == ["LSTM 1", "dropout 1", "LSTM 2", "GRU 3"]
    assert [layer.carried for layer in layers] == [("h", "c"), (), ("h", "c"), ("h",)]
    assert [layer.residual for layer in layers] == [False, False, True, False]
    assert layers[-1].parameters == 3 * 20 * (12 + 20 + 2)


def test_drawings_of_layers_of_different_kinds():
    upside_down = ModelOptions(cell=("gru", "lstm"), hidden_sizes=(8, 8))
    words = written(network_picture(upside_down, 1000, "svg"))
    assert {"GRU 8 + LSTM 8", "GRU 1", "LSTM 2", "h", "h, c"} <= words
    assert any("h hidden state · c cell state" in text for text in words)
    words = written(unrolled_picture(upside_down, 1000, "svg"))
    assert {"hₙ", "hₙ, cₙ", "GRU 1", "LSTM 2", "GRU 8 + LSTM 8, unrolled over time"} <= words


@pytest.mark.parametrize("options", [ModelOptions(cell="gru", embedding_size=12, hidden_sizes=(20, 12)), *KIN])
def test_the_arithmetic_in_a_box_gives_the_count_in_the_box(options):
    for layer in network_layers(options, 1000):
        if layer.has_weights:
            terms = layer.detail.replace(",", "").replace("×", "*")
            assert re.fullmatch(r"[\d*+() ]+", terms)
            assert eval(terms) == layer.parameters


def test_the_drawing_shows_shapes_counts_and_the_carried_state():
    svg = network_picture(TIED, 10_000, "svg")
    ElementTree.fromstring(svg)
    assert {
        "LSTM 2 × 256",
        "embedding",
        "LSTM 1",
        "decoder",
        "softmax",
        "(T, B)",
        "(T, B, 256)",
        "(T, B, 10,000)",
        "526,336",
        "2,560,000",
        "h, c",
        "tied: one matrix",
        "recurrent language model, 3,622,672 parameters",
    } <= written(svg)
    assert "tied: one matrix" not in written(network_picture(SEED, 10_000, "svg"))


def test_the_unrolled_drawing_shows_the_state_between_the_steps():
    svg = unrolled_picture(SEED, 10_000, "svg")
    ElementTree.fromstring(svg)
    assert {"hₙ₋₁, cₙ₋₁", "hₙ, cₙ", "xₙ", "p(xₙ₊₁)", "(B, 256)"} <= written(svg)


@pytest.mark.parametrize("draw", [network_picture, unrolled_picture])
def test_the_same_network_gives_the_same_bytes(draw):
    for format in ("svg", "png"):
        assert draw(EVERYTHING, 1000, format) == draw(EVERYTHING, 1000, format)
    assert draw(SEED, 1000, "png").startswith(b"\x89PNG\r\n\x1a\n")


def test_names_of_networks():
    assert network_name(SEED) == "LSTM 2 × 256"
    assert network_name(ModelOptions(cell="tanh", hidden_sizes=(10,))) == "tanh RNN 10"
    assert network_name(ModelOptions(hidden_sizes=(512, 256))) == "LSTM 512 + 256"
    assert network_name(MIXED) == "LSTM 2 × 12 + GRU 20"


def test_names_and_states_of_the_lstms_kin():
    assert [network_name(options) for options in KIN[:5]] == [
        "capped LSTM 2 × 20",
        "coupled LSTM 2 × 20",
        "LayerNorm LSTM 2 × 20",
        "Mogrifier 2 × 20",
        "capped Mogrifier 2 × 20",
    ]
    mixed = ModelOptions(cell=("qrnn", "mingru", "lstm"), hidden_sizes=(8, 8, 8), input_gate="capped")
    assert network_name(mixed) == "QRNN 8 + minGRU 8 + capped LSTM 8"
    qrnn, mingru, lstm = network_layers(mixed, 100)[2:5]
    assert (qrnn.carried, qrnn.carried_sizes) == (("c", "x"), (8, 256))
    assert (mingru.carried, lstm.carried) == (("h",), ("h", "c"))


def test_drawings_of_what_a_qrnn_carries_and_of_skip_sums():
    words = written(network_picture(KIN[6], 1000, "svg"))
    assert {"c, x", "QRNN 1", "QRNN 2"} <= words
    assert any("c cell state · x last input" in text and "⊕ sum of all layers" in text for text in words)
    assert {"cₙ, xₙ", "(B, 20), (B, 12)", "(B, 20)"} <= written(unrolled_picture(KIN[6], 1000, "svg"))
    assert not any("⊕" in text for text in written(network_picture(SEED, 1000, "svg")))
