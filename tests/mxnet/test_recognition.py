"""Recorded graphs with one node changed: what is refused, with the node and the reason, and what is read as before."""

from pathlib import Path

import pytest

from mxnet_graphs import FIXTURES, graph_of, node, stored
from recurlm.errors import InputError
from recurlm.mxnet.symbol import read_symbol

NO_STEP = "it reads a computation that is not the step of an mx.rnn cell"


@pytest.mark.parametrize(
    ("name", "culprit", "attributes", "inputs", "reason"),
    [
        ("fused", "deep_rnn", {"num_layers": "1000"}, {}, "more than 100 layers"),
        ("fused", "deep_rnn", {"projection_size": "3"}, {}, "projections"),
        ("fused", "deep_rnn", {}, {0: "deep_parameters"}, "reads the variable 'deep_parameters'"),
        ("fused", "deep_rnn", {}, {2: "swapaxes0"}, "must start from zeros"),
        ("fused", "scores", {}, {0: "swapaxes1"}, "mixes the time steps"),
        ("dropout", "a_t0_slice", {"axis": "0"}, {}, NO_STEP),
        ("dropout", "dropout2", {}, {0: "a_t0_out"}, "applies dropout again"),
        ("dropout", "a_t0_i2h", {"no_bias": "True"}, {}, "without biases"),
        ("dropout", "_rminusscalar0", {"scalar": "2.0"}, {}, "does not subtract from one"),
        ("dropout", "a_t1_i2h", {}, {0: "a_begin_state_0"}, "not zeros"),
        ("dropout", "reshape0", {}, {0: "a_t0_i2h"}, NO_STEP),
        ("dropout", "expand_dims0", {}, {0: "a_t0_i2h"}, NO_STEP),
    ],
)
def test_a_node_that_does_something_else_is_refused_with_the_reason(
    tmp_path: Path, name: str, culprit: str, attributes: dict[str, str], inputs: dict[int, str], reason: str
) -> None:
    graph = graph_of(name)
    changed = node(graph, culprit)
    changed.setdefault("attrs", {}).update(attributes)
    if "no_bias" in attributes:
        del changed["inputs"][2]
    for position, source in inputs.items():
        changed["inputs"][position] = [graph["nodes"].index(node(graph, source)), 0, 0]
    with pytest.raises(InputError) as refusal:
        read_symbol(stored(tmp_path, graph))
    assert f"node {culprit!r}" in str(refusal.value)
    assert reason in str(refusal.value)


def test_a_graph_of_an_embedding_alone_has_no_recurrent_layer(tmp_path: Path) -> None:
    graph = graph_of("fused")
    node(graph, "reshape0").update(inputs=[[2, 0, 0]], attrs={"shape": "(-1, 4)"})
    with pytest.raises(InputError, match="no recurrent layer"):
        read_symbol(stored(tmp_path, graph))


@pytest.mark.parametrize(("operator", "attributes"), [("stack", {"axis": "1"}), ("Concat", {"dim": "0"})])
def test_steps_are_joined_in_one_node_as_in_two(tmp_path: Path, operator: str, attributes: dict[str, str]) -> None:
    graph = graph_of("dropout")
    outputs = [[graph["nodes"].index(node(graph, f"b_t{step}_out")), 0, 0] for step in range(3)]
    node(graph, "concat0").update(op=operator, attrs=attributes | {"num_args": "3"}, inputs=outputs)
    assert read_symbol(stored(tmp_path, graph)) == read_symbol(FIXTURES / "dropout-symbol.json")
    node(graph, "concat0")["inputs"][0] = [graph["nodes"].index(node(graph, "expand_dims0")), 0, 0]
    with pytest.raises(InputError, match="node 'concat0'"):
        read_symbol(stored(tmp_path, graph))


def test_scores_may_be_reshaped_into_rows(tmp_path: Path) -> None:
    graph = graph_of("softmax")
    graph["nodes"][-1] = {"op": "Reshape", "name": "rows", "attrs": {"shape": "(-1, 9)"}, "inputs": [[56, 0, 0]]}
    assert read_symbol(stored(tmp_path, graph)) == read_symbol(FIXTURES / "softmax-symbol.json")
