"""MXNet's graphs: recorded ones and those that MXNet emitted for tests/mxnet/fixtures/make_graphs.py."""

import contextlib
import copy
import itertools
import random
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mxnet_graphs import FIXTURES, graph_of, node, stored
from recurlm.config import CellKind
from recurlm.errors import CorruptFileError, InputError
from recurlm.mxnet.architecture import (
    Architecture,
    Decoder,
    EmbeddingNode,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
    fused_layer_by_layer,
)
from recurlm.mxnet.graph import Node
from recurlm.mxnet.symbol import read_symbol, write_symbol

TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"


def packed(prefix: str) -> PackedParameters:
    return PackedParameters(f"{prefix}i2h_weight", f"{prefix}h2h_weight", f"{prefix}i2h_bias", f"{prefix}h2h_bias")


def layer(
    kind: CellKind, sizes: tuple[int, int], parameters: Any, residual: bool = False, dropout: float = 0.0
) -> RecurrentLayer:
    return RecurrentLayer(
        kind, *sizes, packed(parameters) if isinstance(parameters, str) else parameters, residual, dropout
    )


def tiny(kind: CellKind, embedding: int, hidden: int, *parameters: Any) -> Architecture:
    sizes = [(embedding, hidden), (hidden, hidden)]
    layers = tuple(layer(kind, size, names) for size, names in zip(sizes, parameters, strict=False))
    decoder = Decoder("pred_weight", "pred_bias", hidden, 38)
    return Architecture(EmbeddingNode("embed_weight", 38, embedding), layers, decoder)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lstm_packed", tiny("lstm", 10, 12, "lstm_l0_", "lstm_l1_")),
        ("lstm_unpacked", tiny("lstm", 10, 12, "lstm_l0_", "lstm_l1_")),
        ("lstm_momentum", tiny("lstm", 10, 12, "lstm_l0_")),
        ("gru_packed", tiny("gru", 12, 12, "gru_l0_", "gru_l1_")),
        ("rnn_tanh", tiny("tanh", 8, 16, "rnn_tanh_l0_")),
        ("rnn_relu", tiny("relu", 8, 16, "rnn_relu_l0_", "rnn_relu_l1_")),
        ("lstm_fused", tiny("lstm", 10, 12, *(FusedParameters("lstm_parameters", i, 2, 10) for i in (0, 1)))),
        ("gru_fused", tiny("gru", 10, 12, *(FusedParameters("gru_parameters", i, 2, 10) for i in (0, 1)))),
    ],
)
def test_recorded_models(name: str, expected: Architecture) -> None:
    assert read_symbol(TINY / name / "model-symbol.json") == expected


def deep(number: int, count: int) -> FusedParameters:
    return FusedParameters("deep_parameters", number, count, 4)


@pytest.mark.parametrize(
    ("name", "layers", "output_dropout"),
    [
        ("dropout", [layer("lstm", (4, 6), "a_", dropout=0.1), layer("gru", (6, 6), "b_", dropout=0.2)], 0.3),
        (
            "residual",
            [
                layer("lstm", (4, 6), "a_"),
                layer("lstm", (6, 6), "b_", residual=True, dropout=0.25),
                layer("gru", (6, 6), "c_", residual=True),
            ],
            0.0,
        ),
        ("sizes", [layer("gru", (4, 5), "a_"), layer("tanh", (5, 7), "b_"), layer("lstm", (7, 6), "c_")], 0.0),
        ("tied", [layer("lstm", (6, 6), "a_")], 0.0),
        ("shared", [layer("lstm", (6, 6), "both_"), layer("lstm", (6, 6), "both_")], 0.0),
        ("time_major", [layer("lstm", (4, 6), "a_"), layer("lstm", (6, 6), "b_")], 0.0),
        ("fused", [layer("lstm", (4, 6), deep(0, 2)), layer("lstm", (6, 6), deep(1, 2), dropout=0.4)], 0.0),
        ("fused_states", [layer("gru", (4, 6), deep(0, 2)), layer("gru", (6, 6), deep(1, 2))], 0.0),
        (
            "fused_time_major",
            [layer("relu", (4, 6), deep(0, 3)), *(layer("relu", (6, 6), deep(i, 3)) for i in (1, 2))],
            0.0,
        ),
        (
            "fused_residual",
            [
                layer("tanh", (4, 6), FusedParameters("a_parameters", 0, 1, 4)),
                layer("gru", (6, 6), FusedParameters("b_parameters", 0, 1, 6), residual=True, dropout=0.5),
                layer("lstm", (6, 6), "c_"),
            ],
            0.0,
        ),
        ("unfused", [layer("gru", (4, 6), "deep_l0_"), layer("gru", (6, 6), "deep_l1_", dropout=0.4)], 0.0),
        ("softmax", [layer("lstm", (4, 6), "a_")], 0.0),
        ("log_softmax", [layer("lstm", (4, 6), "a_")], 0.0),
        ("no_head", [layer("lstm", (4, 6), "a_")], 0.0),
        (
            "mixed",
            [
                layer("gru", (6, 6), "a_", residual=True, dropout=0.1),
                layer("lstm", (6, 6), "b_", dropout=0.2),
                layer("relu", (6, 6), "c_", residual=True),
                layer("lstm", (6, 6), "d_", residual=True, dropout=0.3),
            ],
            0.4,
        ),
    ],
)
def test_graphs_of_every_cell_and_wrapper(name: str, layers: list[RecurrentLayer], output_dropout: float) -> None:
    found = read_symbol(FIXTURES / f"{name}-symbol.json")
    assert found.layers == tuple(layers)
    assert found.embedding == EmbeddingNode("words_weight", 9, layers[0].input_size)
    assert found.decoder.dropout_before == output_dropout
    assert found.tied == (name == "tied")
    assert found.decoder.weight == ("words_weight" if name == "tied" else "scores_weight")
    assert found.decoder.bias == (None if name == "tied" else "scores_bias")
    assert found.time_major == ("time_major" in name)


@pytest.mark.parametrize(
    ("name", "node_name", "reason"),
    [
        ("zoneout", "ones_like0", "zoneout"),
        ("bidirectional", "b_t0_h2h", "bidirectional"),
        ("bidirectional_fused", "a_rnn", "bidirectional"),
        ("convolutional", "conv_t0_i2h", "convolutional"),
        ("fed_state", "a_t0_h2h", "'a_begin_state_0'"),
        ("two_inputs", "joined", "'topic'"),
        ("activation", "a_t0_out", "'softsign'"),
        ("residual_span", "far_residual", "one layer's input"),
    ],
)
def test_what_cannot_be_imported_is_refused_by_node(name: str, node_name: str, reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        read_symbol(FIXTURES / f"refused_{name}-symbol.json")
    assert f"node {node_name!r}" in str(refusal.value)
    assert reason in str(refusal.value)


def test_names_are_never_guessed_from(tmp_path: Path) -> None:
    graph = graph_of("residual")
    for number, each in enumerate(graph["nodes"]):
        each["name"] = f"x{number}"
    found = read_symbol(stored(tmp_path, graph))
    expected = read_symbol(FIXTURES / "residual-symbol.json")
    assert [(each.kind, each.input_size, each.hidden_size, each.residual) for each in found.layers] == [
        (each.kind, each.input_size, each.hidden_size, each.residual) for each in expected.layers
    ]
    assert found.layers[0].parameters == PackedParameters("x4", "x8", "x5", "x9")


@pytest.mark.parametrize("key", ["attr", "param"])
def test_older_layouts_of_attributes_and_inputs(tmp_path: Path, key: str) -> None:
    graph = graph_of("dropout")
    for each in graph["nodes"]:
        each["inputs"] = [reference[:2] for reference in each["inputs"]]
        if "attrs" in each:
            each[key] = each.pop("attrs")
    graph["heads"] = [graph["heads"][0][:2]]
    assert read_symbol(stored(tmp_path, graph)) == read_symbol(FIXTURES / "dropout-symbol.json")


def change_steps_parameters(graph: dict[str, Any]) -> str:
    node(graph, "a_t1_i2h")["inputs"][1] = node(graph, "a_t0_h2h")["inputs"][1]
    return "a_t1_h2h"


def forget_the_state(graph: dict[str, Any]) -> str:
    node(graph, "a_t1_h2h")["inputs"][0] = node(graph, "a_t0_h2h")["inputs"][0]
    return "a_t1_h2h"


def skip_a_word(graph: dict[str, Any]) -> str:
    node(graph, "a_t1_i2h")["inputs"][0][1] = 2
    return "a_t1_h2h"


def exchange_gates(graph: dict[str, Any]) -> str:
    forget, write = node(graph, "a_t0_f"), node(graph, "a_t0_i")
    forget["inputs"], write["inputs"] = write["inputs"], forget["inputs"]
    return "dropout1"


def exchange_outputs(graph: dict[str, Any]) -> str:
    parts = node(graph, "concat0")["inputs"]
    parts[0], parts[1] = parts[1], parts[0]
    return "concat0"


def tear_rows(graph: dict[str, Any]) -> str:
    node(graph, "reshape0")["attrs"]["shape"] = "(-1, 3)"
    return "reshape0"


def score_other_words(graph: dict[str, Any]) -> str:
    node(graph, "scores")["attrs"]["num_hidden"] = "10"
    return "scores"


def cool_the_softmax(graph: dict[str, Any]) -> str:
    node(graph, "softmax").update(op="softmax", attrs={"temperature": "2.0"})
    return "softmax"


def drop_always(graph: dict[str, Any]) -> str:
    node(graph, "dropout0")["attrs"]["mode"] = "always"
    return "dropout0"


def invent_an_operator(graph: dict[str, Any]) -> str:
    node(graph, "a_t0_slice")["op"] = "Custom"
    return "a_t0_slice"


def add_an_output(graph: dict[str, Any]) -> str:
    graph["heads"].append([3, 0, 0])
    return "softmax"


@pytest.mark.parametrize(
    "change",
    [
        change_steps_parameters,
        forget_the_state,
        skip_a_word,
        exchange_gates,
        exchange_outputs,
        tear_rows,
        score_other_words,
        cool_the_softmax,
        drop_always,
        invent_an_operator,
        add_an_output,
    ],
)
def test_a_graph_that_computes_something_else_is_refused(tmp_path: Path, change: Any) -> None:
    graph = graph_of("dropout")
    culprit = change(graph)
    with pytest.raises(InputError) as refusal:
        read_symbol(stored(tmp_path, graph))
    assert f"node {culprit!r}" in str(refusal.value)


def damage(name: str) -> Any:
    graph = graph_of("dropout")
    match name:
        case "no nodes":
            del graph["nodes"]
        case "nodes without end":
            graph["nodes"] = {}
        case "head out of range":
            graph["heads"] = [[10_000, 0, 0]]
        case "no head":
            graph["heads"] = []
        case "cycle":
            graph["nodes"][10]["inputs"] = [[10, 0, 0]]
        case "negative":
            graph["nodes"][10]["inputs"] = [[-1, 0, 0]]
        case "truth as a number":
            graph["nodes"][10]["inputs"] = [[True, 0, 0]]
        case "nameless":
            del graph["nodes"][3]["name"]
        case "attribute not text":
            graph["nodes"][2]["attrs"]["input_dim"] = 9
        case "attribute absent":
            del node(graph, "a_t0_i2h")["attrs"]["num_hidden"]
        case "size absurd":
            node(graph, "a_t0_i2h")["attrs"]["num_hidden"] = "9" * 5000
        case "size zero":
            node(graph, "a_t0_i2h")["attrs"]["num_hidden"] = "0"
        case "probability":
            node(graph, "dropout0")["attrs"]["p"] = "nan"
        case "too few inputs":
            node(graph, "a_t0_i2h")["inputs"] = node(graph, "a_t0_i2h")["inputs"][:1]
        case "slice out of range":
            node(graph, "a_t0_o")["inputs"][0][1] = 4
        case "no object":
            return [graph]
    return graph


@pytest.mark.parametrize(
    "name",
    [
        "no nodes",
        "nodes without end",
        "head out of range",
        "no head",
        "cycle",
        "negative",
        "truth as a number",
        "nameless",
        "attribute not text",
        "attribute absent",
        "size absurd",
        "size zero",
        "probability",
        "too few inputs",
        "slice out of range",
        "no object",
    ],
)
def test_damage_is_refused(tmp_path: Path, name: str) -> None:
    path = stored(tmp_path, damage(name))
    with pytest.raises(CorruptFileError, match=str(path)):
        read_symbol(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"nodes": [',
        b"\xff\xfe{}",
        b"[" * 300_000,
        b'{"a":' * 150_000,
        b"[" + b"[]," * 390_000 + b"0]",
        b'{"nodes": [' + b"{}," * 150_000 + b"{}]}",
        b" " * (9 << 20),
        b'{"nodes": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda content: f"{content[:8]!r} {len(content)}",
)
def test_hostile_files_are_refused_modestly(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model-symbol.json"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptFileError):
            read_symbol(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(content) + (64 << 20)


@pytest.mark.parametrize(
    ("largest", "beyond", "said"),
    [
        (b" " * (8 << 20), b" " * ((8 << 20) + 1), "larger than 8388608 bytes"),
        (b"[" + b"," * 399_999, b"[" + b"," * 400_000, "more than 400000 elements"),
        (b"{" * 400_000, b"{" * 400_001, "more than 400000 elements"),
    ],
    ids=["bytes", "elements", "objects"],
)
def test_a_graph_may_be_as_large_as_the_documents_say_and_no_larger(
    tmp_path: Path, largest: bytes, beyond: bytes, said: str
) -> None:
    path = tmp_path / "model-symbol.json"
    path.write_bytes(largest)
    with pytest.raises(CorruptFileError) as refused:
        read_symbol(path)
    assert said not in str(refused.value)
    path.write_bytes(beyond)
    with pytest.raises(CorruptFileError, match=said):
        read_symbol(path)


@pytest.mark.parametrize(("size", "plausible"), [(0, False), (1, True), (2**31 - 1, True), (2**31, False)])
def test_a_size_is_a_positive_number_of_31_bits(tmp_path: Path, size: int, plausible: bool) -> None:
    node = Node(tmp_path, 0, "FullyConnected", "pred", (), {"num_hidden": str(size)})
    with contextlib.nullcontext() if plausible else pytest.raises(CorruptFileError, match="a plausible size"):
        assert node.size("num_hidden") == size


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_symbol(tmp_path / "absent-symbol.json")


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    content = (FIXTURES / "fused_residual-symbol.json").read_bytes()
    chance, path, refused = random.Random(4), tmp_path / "model-symbol.json", 0
    for _ in range(1_500):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 2)):
            changed[chance.randrange(len(changed))] = chance.choice(b'0123456789[]{},":abcFT-\xff')
        path.write_bytes(changed)
        try:
            read_symbol(path)
        except (CorruptFileError, InputError):
            refused += 1
    assert 500 < refused < 1_500


def test_damaged_structure_is_read_or_refused(tmp_path: Path) -> None:
    original = graph_of("dropout")
    chance = random.Random(5)
    for _ in range(500):
        graph = copy.deepcopy(original)
        for _ in range(chance.randint(1, 3)):
            one, other = chance.sample(graph["nodes"], 2)
            key = chance.choice(["op", "inputs", "attrs"])
            if key in other:
                one[key] = other[key]
        with contextlib.suppress(CorruptFileError, InputError):
            read_symbol(stored(tmp_path, graph))


@st.composite
def _architectures(draw: st.DrawFn) -> Architecture:
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    dropouts = st.sampled_from([0.0, 0.25, 0.5])
    words, tied = draw(st.integers(1, 9)), draw(st.booleans()) and sizes[0] == sizes[-1]
    layers = [
        RecurrentLayer(
            draw(st.sampled_from(["lstm", "gru", "tanh", "relu"])),
            *size,
            FusedParameters(f"some{number}", 0, 1, size[0]),
            residual=draw(st.booleans()) and size[0] == size[1],
            dropout_before=draw(dropouts),
        )
        for number, size in enumerate(itertools.pairwise(sizes))
    ]
    decoder = Decoder(
        "words" if tied else "out", draw(st.sampled_from(["bias", None])), sizes[-1], words, draw(dropouts)
    )
    embedding = EmbeddingNode("words", words, sizes[0])
    return Architecture(embedding, tuple(layers), decoder, time_major=draw(st.booleans()))


@settings(deadline=None)
@given(_architectures())
def test_writer_and_reader_agree(architecture: Architecture) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model-symbol.json"
        write_symbol(path, architecture)
        assert read_symbol(path) == architecture


def test_writer_wants_a_vector_a_layer_and_a_known_cell(tmp_path: Path) -> None:
    path = tmp_path / "model-symbol.json"
    architecture = read_symbol(FIXTURES / "sizes-symbol.json")
    with pytest.raises(ValueError, match="layer0"):
        write_symbol(path, architecture)
    write_symbol(path, fused_layer_by_layer(architecture))
    sigmoid = Architecture(architecture.embedding, (layer("sigmoid", (4, 6), deep(0, 1)),), architecture.decoder)
    with pytest.raises(InputError, match="sigmoid"):
        write_symbol(path, sigmoid)
    assert read_symbol(path) == fused_layer_by_layer(architecture)
