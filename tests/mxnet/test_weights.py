"""Arrays out of every packing, judged by a plain numpy forward pass against what MXNet computed with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from recurlm.errors import InputError
from recurlm.mxnet.architecture import (
    Architecture,
    Decoder,
    EmbeddingNode,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
    fused_layer_by_layer,
)
from recurlm.mxnet.params import read_params, write_params
from recurlm.mxnet.symbol import read_symbol, write_symbol
from recurlm.mxnet.weights import (
    LayerWeights,
    ModelWeights,
    layer_weights,
    model_params,
    model_weights,
    unused_params,
)

FIXTURES = Path(__file__).parent / "fixtures"
TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"
MODELS = ["lstm_packed", "lstm_unpacked", "lstm_momentum", "lstm_fused"]
MODELS += ["gru_packed", "gru_fused", "rnn_tanh", "rnn_relu"]
WORDS = np.array([[1, 5, 2], [8, 0, 3]])


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def step(
    kind: str, weights: LayerWeights, below: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from_input = below @ weights.weight_ih.T + weights.bias_ih
    from_state = hidden @ weights.weight_hh.T + weights.bias_hh
    if kind == "lstm":
        write, forget, candidate, output = np.split(from_input + from_state, 4, axis=-1)
        cell = sigmoid(forget) * cell + sigmoid(write) * np.tanh(candidate)
        return sigmoid(output) * np.tanh(cell), cell
    if kind == "gru":
        (p0, p1, p2), (q0, q1, q2) = np.split(from_input, 3, axis=-1), np.split(from_state, 3, axis=-1)
        update = sigmoid(p1 + q1)
        return (1 - update) * np.tanh(p2 + sigmoid(p0 + q0) * q2) + update * hidden, cell
    total = from_input + from_state
    return (np.tanh(total) if kind == "tanh" else np.maximum(total, 0)), cell


def log_probabilities(architecture: Architecture, weights: ModelWeights, words: np.ndarray) -> np.ndarray:
    """Words (B, T); returns (B, T, V)."""
    stream = weights.embedding[words].astype(np.float64)
    for layer, arrays in zip(architecture.layers, weights.layers, strict=True):
        hidden = cell = np.zeros((len(words), layer.hidden_size))
        outputs = []
        for time in range(words.shape[1]):
            hidden, cell = step(layer.kind, arrays, stream[:, time], hidden, cell)
            outputs.append(hidden)
        stream = np.stack(outputs, axis=1) + (stream if layer.residual else 0)
    bias = 0 if weights.decoder_bias is None else weights.decoder_bias
    scores = stream @ weights.decoder_weight.T + bias
    scores -= scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def load(prefix: Path, epoch: int) -> tuple[Architecture, ModelWeights]:
    architecture = read_symbol(prefix.with_name(f"{prefix.name}-symbol.json"))
    params = read_params(prefix.with_name(f"{prefix.name}-{epoch:04}.params"))
    assert unused_params(architecture, params) == []
    return architecture, model_weights(architecture, params)


@pytest.mark.parametrize("name", MODELS)
def test_trained_models_score_as_mxnet_recorded(name: str) -> None:
    architecture, weights = load(TINY / name / "model", 1)
    truth = json.loads((TINY / name / "truth.json").read_text())
    for sentence in truth["scored_by_0001"]:
        words = np.array([sentence["ids"]])
        found = log_probabilities(architecture, weights, words)[0]
        chosen = found[np.arange(words.size - 1), words[0, 1:]]
        np.testing.assert_allclose(chosen, sentence["logprob_of_next"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "output", sorted(FIXTURES.glob("*-output.json")), ids=lambda path: path.name.removesuffix("-output.json")
)
def test_generated_graphs_compute_what_mxnet_computed(output: Path) -> None:
    name = output.name.removesuffix("-output.json")
    architecture, weights = load(FIXTURES / name, 0)
    found = log_probabilities(architecture, weights, WORDS)
    rows = found.transpose(1, 0, 2) if architecture.time_major else found
    recorded = np.array(json.loads(output.read_text())).reshape(rows.shape)
    if name == "no_head":
        recorded -= np.log(np.exp(recorded).sum(axis=-1, keepdims=True))
    expected = recorded if name in ("log_softmax", "no_head") else np.log(recorded)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=5e-6)


def equal(one: ModelWeights, other: ModelWeights) -> bool:
    def listed(weights: ModelWeights) -> list[np.ndarray | None]:
        layers = [
            each
            for layer in weights.layers
            for each in (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        ]
        return [weights.embedding, weights.decoder_weight, weights.decoder_bias, *layers]

    pairs = zip(listed(one), listed(other), strict=True)
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in pairs)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MODELS)
def test_written_again_layer_by_layer_nothing_changes(name: str, tmp_path: Path) -> None:
    architecture, weights = load(TINY / name / "model", 1)
    fused = fused_layer_by_layer(architecture)
    write_symbol(tmp_path / "again-symbol.json", fused)
    write_params(tmp_path / "again-0003.params", model_params(fused, weights))
    again, read = load(tmp_path / "again", 3)
    assert again == fused
    assert equal(read, weights)


@pytest.mark.parametrize("name", ["lstm_packed", "lstm_fused", "gru_fused", "rnn_relu"])
def test_packing_reverses_reading(name: str) -> None:
    architecture, weights = load(TINY / name / "model", 1)
    recorded = read_params(TINY / name / "model-0001.params")
    packed = model_params(architecture, weights)
    assert set(packed) == set(recorded)
    assert all(np.array_equal(packed[key], recorded[key]) for key in recorded)


def test_shared_layers_keep_one_set_of_arrays() -> None:
    architecture, weights = load(FIXTURES / "shared", 0)
    assert np.array_equal(weights.layers[0].weight_ih, weights.layers[1].weight_ih)
    assert set(model_params(architecture, weights)) == set(read_params(FIXTURES / "shared-0000.params"))


HIDDEN = 2
NAMES = PackedParameters("x_i2h_weight", "x_h2h_weight", "x_i2h_bias", "x_h2h_bias")


def single(kind: str, parameters: PackedParameters | FusedParameters, count: int = 1) -> Architecture:
    layers = tuple(
        RecurrentLayer(
            kind,  # type: ignore[arg-type]
            3 if number == 0 else HIDDEN,
            HIDDEN,
            parameters if count == 1 else FusedParameters("x_parameters", number, count, 3),
        )
        for number in range(count)
    )
    return Architecture(EmbeddingNode("e", 4, 3), layers, Decoder("d", None, HIDDEN, 4))


@pytest.mark.parametrize(("kind", "gates"), [("lstm", "ifco"), ("gru", "rzo")])
def test_unpacked_gates_are_stacked_in_order(kind: str, gates: str) -> None:
    params = {}
    for number, gate in enumerate(gates, start=1):
        params[f"arg:x_i2h_{gate}_weight"] = np.full((HIDDEN, 3), number, "f4")
        params[f"arg:x_h2h_{gate}_weight"] = np.full((HIDDEN, HIDDEN), -number, "f4")
        params[f"arg:x_i2h_{gate}_bias"] = np.full(HIDDEN, 10 * number, "f4")
        params[f"arg:x_h2h_{gate}_bias"] = np.full(HIDDEN, 100 * number, "f4")
    [found] = layer_weights(single(kind, NAMES), params)
    order = np.repeat(np.arange(1, len(gates) + 1), HIDDEN)
    assert found.weight_ih[:, 0].tolist() == order.tolist()
    assert found.weight_hh[:, 1].tolist() == (-order).tolist()
    assert found.bias_ih.tolist() == (10 * order).tolist()
    assert found.bias_hh.tolist() == (100 * order).tolist()
    fused = single(kind, FusedParameters("x_l0_parameters", 0, 1, 3))
    renamed = {name.replace("x_", "x_l0_l0_"): array for name, array in params.items()}
    [unpacked] = layer_weights(fused, renamed)
    assert np.array_equal(unpacked.weight_ih, found.weight_ih)


def test_fused_vector_is_cut_by_hand_computed_places() -> None:
    # relu, H = 2, I = 3: 6 + 4 weights, then 4 + 4, then 2 + 2 biases of each layer
    architecture = single("relu", FusedParameters("x_parameters", 0, 2, 3), count=2)
    first, second = layer_weights(architecture, {"arg:x_parameters": np.arange(26.0)})
    assert first.weight_ih.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert first.weight_hh.tolist() == [[6, 7], [8, 9]]
    assert second.weight_ih.tolist() == [[10, 11], [12, 13]]
    assert second.weight_hh.tolist() == [[14, 15], [16, 17]]
    assert [first.bias_ih.tolist(), first.bias_hh.tolist()] == [[18, 19], [20, 21]]
    assert [second.bias_ih.tolist(), second.bias_hh.tolist()] == [[22, 23], [24, 25]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arg:lstm_l0_h2h_weight": np.zeros((48, 11))}, r"'lstm_l0_h2h_weight': shape \(48, 11\) found, \(48, 12\)"),
        ({"arg:lstm_l1_i2h_bias": np.zeros((1, 48))}, r"'lstm_l1_i2h_bias': shape \(1, 48\) found, \(48,\)"),
        ({"arg:embed_weight": np.zeros((38, 9))}, r"'embed_weight': shape \(38, 9\) found, \(38, 10\)"),
        ({"arg:pred_bias": np.zeros(38, "i4")}, "'pred_bias': type int32"),
        ({"arg:pred_weight": None}, "'pred_weight', which the graph names"),
        ({"arg:lstm_l0_i2h_weight": None}, "'lstm_l0_i2h_weight', which the graph names"),
    ],
)
def test_arrays_that_do_not_fit_the_graph_are_refused(change: dict[str, np.ndarray | None], message: str) -> None:
    architecture = read_symbol(TINY / "lstm_packed" / "model-symbol.json")
    params = read_params(TINY / "lstm_packed" / "model-0001.params") | change
    with pytest.raises(InputError, match=message):
        model_weights(architecture, {name: array for name, array in params.items() if array is not None})


def test_fused_vector_of_another_length_is_refused() -> None:
    architecture = single("gru", FusedParameters("x_parameters", 0, 1, 3))
    with pytest.raises(InputError, match=r"'x_parameters': shape \(40,\) found, \(42,\) expected"):
        layer_weights(architecture, {"arg:x_parameters": np.zeros(40)})
    with pytest.raises(InputError, match="'x_parameters', which the graph names"):
        layer_weights(architecture, {})


def test_unused_arrays_are_told() -> None:
    architecture = read_symbol(TINY / "lstm_unpacked" / "model-symbol.json")
    params = read_params(TINY / "lstm_unpacked" / "model-0001.params") | {"aux:mean": np.zeros(1)}
    assert unused_params(architecture, params) == ["aux:mean"]
