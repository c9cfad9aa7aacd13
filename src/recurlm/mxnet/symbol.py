"""Reads and writes ``PREFIX-symbol.json``, the graph of a language model."""

import json
from pathlib import Path
from typing import Any

from recurlm.errors import InputError
from recurlm.files import write_whole
from recurlm.mxnet.architecture import Architecture, FusedParameters, RecurrentLayer
from recurlm.mxnet.graph import read_graph
from recurlm.mxnet.recognition import recognize_architecture

_MXNET_VERSION = 10901
_MODES = {"lstm": "lstm", "gru": "gru", "tanh": "rnn_tanh", "relu": "rnn_relu"}


def read_symbol(path: Path) -> Architecture:
    """Reads the language model that a graph describes, unrolled to any length.

    Raises InputError with a node's name and the reason where it cannot be imported, CorruptFileError where
    the file is damaged.
    """
    return recognize_architecture(read_graph(path))


def write_symbol(path: Path, architecture: Architecture) -> None:
    """Writes a graph for MXNet 1.x that takes sequences of any length, with one RNN operator per layer.

    Inputs are ``data`` and ``softmax_label``, (B, T), or (T, B) where the architecture is time-major. Raises
    ValueError unless every layer has a parameter vector of its own (see ``fused_layer_by_layer``), InputError
    for a cell that the RNN operator lacks.
    """
    write_whole(path, json.dumps(_graph(architecture), indent=2).encode())


def _graph(architecture: Architecture) -> dict[str, Any]:
    graph = _GraphWriter()
    embedding, decoder = architecture.embedding, architecture.decoder
    sizes = {"input_dim": embedding.input_dim, "output_dim": embedding.output_dim}
    words = graph.variable("data")
    hidden = graph.node("Embedding", "embed", [words, graph.variable(embedding.weight)], **sizes)
    if not architecture.time_major:
        hidden = graph.node("SwapAxis", "to_time_major", [hidden], dim1=0, dim2=1)
    for number, layer in enumerate(architecture.layers):
        hidden = _write_layer(graph, f"layer{number}", hidden, layer)
    hidden = _write_dropout(graph, "output_dropout", hidden, decoder.dropout_before)
    if not architecture.time_major:
        hidden = graph.node("SwapAxis", "to_batch_major", [hidden], dim1=0, dim2=1)
    hidden = graph.node("Reshape", "rows", [hidden], shape=f"(-1, {decoder.input_size})")
    parameters = [graph.variable(name) for name in (decoder.weight, decoder.bias) if name is not None]
    options = {"num_hidden": decoder.vocabulary_size, "no_bias": decoder.bias is None}
    scores = graph.node("FullyConnected", "scores", [hidden, *parameters], **options)
    label = graph.node("Reshape", "labels", [graph.variable("softmax_label")], shape="(-1,)")
    return graph.document(graph.node("SoftmaxOutput", "softmax", [scores, label]))


def _write_layer(graph: "_GraphWriter", name: str, below: int, layer: RecurrentLayer) -> int:
    parameters = layer.parameters
    if not isinstance(parameters, FusedParameters) or parameters.layer_count != 1:
        raise ValueError(f"{name} has no parameter vector of its own")
    if layer.kind not in _MODES:
        raise InputError(f"MXNet's RNN operator has no cell of kind {layer.kind!r}")
    below = _write_dropout(graph, f"{name}_dropout", below, layer.dropout_before)
    shape = f"(1, 0, {layer.hidden_size})"
    states = [
        graph.node("_zeros", f"{name}_begin_{state}", [], shape=shape, dtype="float32")
        for state in (("hidden", "cell") if layer.kind == "lstm" else ("hidden",))
    ]
    sizes = {"state_size": layer.hidden_size, "num_layers": 1, "mode": _MODES[layer.kind]}
    inputs = [below, graph.variable(parameters.vector), *states]
    output = graph.node("RNN", name, inputs, **sizes)
    return graph.node("elemwise_add", f"{name}_residual", [output, below]) if layer.residual else output


def _write_dropout(graph: "_GraphWriter", name: str, below: int, probability: float) -> int:
    return graph.node("Dropout", name, [below], p=probability) if probability else below


class _GraphWriter:
    """Collects nodes so that each follows the nodes it depends on."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.variables: dict[str, int] = {}

    def variable(self, name: str) -> int:
        """The node of a variable; every name has one node."""
        if name not in self.variables:
            self.variables[name] = self.node("null", name, [])
        return self.variables[name]

    def node(self, op: str, name: str, inputs: list[int], **attributes: object) -> int:
        """Adds an operator that reads the first output of each input; returns its number."""
        node: dict[str, Any] = {"op": op, "name": name, "inputs": [[source, 0, 0] for source in inputs]}
        if attributes:
            node["attrs"] = {key: str(value) for key, value in attributes.items()}
        self.nodes.append(node)
        return len(self.nodes) - 1

    def document(self, head: int) -> dict[str, Any]:
        """The whole graph in the layout of MXNet's own ``Symbol.tojson``."""
        return {
            "nodes": self.nodes,
            "arg_nodes": [number for number, node in enumerate(self.nodes) if node["op"] == "null"],
            "node_row_ptr": list(range(len(self.nodes) + 1)),
            "heads": [[head, 0, 0]],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }
