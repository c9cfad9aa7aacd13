"""The network as a list of layers, from the tokens to the softmax, with shapes and exact parameter counts."""

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import torch

from recurlm.config import LSTM_KINDS, CellKind, ModelOptions
from recurlm.models.cell import Cell, RecurrentCell
from recurlm.models.language_model import LanguageModel
from recurlm.models.outputs import AdaptiveSoftmax, MixtureOfSoftmaxes
from recurlm.wording import counted

CELL_NAMES: dict[CellKind, str] = {
    "lstm": "LSTM",
    "mogrifier": "Mogrifier",
    "layer-norm-lstm": "LayerNorm LSTM",
    "gru": "GRU",
    "mingru": "minGRU",
    "qrnn": "QRNN",
    "tanh": "tanh RNN",
    "relu": "ReLU RNN",
    "sigmoid": "sigmoid RNN",
}
Kind = Literal["tokens", "embedding", "dropout", "recurrent", "decoder", "softmax"]


@dataclass(frozen=True)
class NetworkLayer:
    """One layer: the size of its output (T, B, size), its parameters and their sum, and its carried state.

    A tied decoder owns its bias only: the matrix is counted at the embedding. The outputs of `skip` layers are summed
    above the last of them.
    """

    name: str
    kind: Kind
    detail: str
    size: int | None = None
    parameters: int = 0
    carried: tuple[str, ...] = ()
    carried_sizes: tuple[int, ...] = ()
    residual: bool = False
    skip: bool = False

    @property
    def shape(self) -> str:
        """The output's shape, such as (T, B, 256)."""
        return "(T, B)" if self.size is None else f"(T, B, {self.size:,})"

    @property
    def has_weights(self) -> bool:
        """Whether training changes the layer; a tied decoder counts, although its matrix is that of the embedding."""
        return self.kind in ("embedding", "recurrent", "decoder")

    def to_json(self) -> dict[str, Any]:
        """The object that `graph --json` prints for a layer."""
        return {
            "name": self.name,
            "kind": self.kind,
            "detail": self.detail,
            "shape": ["T", "B"] if self.size is None else ["T", "B", self.size],
            "parameters": self.parameters,
            "carried": list(self.carried),
            "residual": self.residual,
            "skip": self.skip,
        }


def network_layers(options: ModelOptions, vocabulary_size: int) -> list[NetworkLayer]:
    """The layers from input to output; dropout is included only where its probability is above zero."""
    with torch.device("meta"):
        model = LanguageModel(options, vocabulary_size)
    dropout, size = options.dropout, options.embedding_size
    layers = [
        NetworkLayer("tokens", "tokens", "one id for each step and sequence"),
        NetworkLayer("embedding", "embedding", f"{vocabulary_size:,} × {size:,}", size, model.embedding.weight.numel()),
        *_dropout("word dropout", dropout.embedding, "whole word types", size),
        *_dropout("input dropout", dropout.input, _mask(options), size),
    ]
    for number, cell in enumerate(model.stack.cells):
        if number > 0:
            layers += _dropout(f"dropout {number}", options.dropouts_between[number - 1], _mask(options), size)
        layers.append(_recurrent(options, cell, number))
        size = cell.hidden_size
    return [
        *layers,
        *_dropout("output dropout", dropout.output, _mask(options), size),
        _decoder(model, size),
        NetworkLayer("softmax", "softmax", "probability of every next token", vocabulary_size),
    ]


def network_name(options: ModelOptions) -> str:
    """A short name for a title, such as LSTM 2 × 256, LSTM 512 + 256, or LSTM 2 × 256 + GRU 128."""
    groups = itertools.groupby(zip(options.cells, options.hidden_sizes, strict=True), key=lambda layer: layer[0])
    return " + ".join(f"{_cell_name(options, kind)} {_sizes([size for _, size in layers])}" for kind, layers in groups)


def carried_names(layers: list[NetworkLayer]) -> list[str]:
    """The letters of all carried states, each once."""
    return list(dict.fromkeys(name for layer in layers for name in layer.carried))


def parameter_count(layers: list[NetworkLayer]) -> int:
    """Number of trainable parameters of the whole network; a tied matrix counts once."""
    return sum(layer.parameters for layer in layers)


def _cell_name(options: ModelOptions, kind: CellKind) -> str:
    bound = kind in LSTM_KINDS and options.input_gate != "free"
    return f"{options.input_gate} {CELL_NAMES[kind]}" if bound else CELL_NAMES[kind]


def _sizes(sizes: list[int]) -> str:
    same = len(sizes) > 1 and len(set(sizes)) == 1
    return f"{len(sizes)} × {sizes[0]}" if same else " + ".join(map(str, sizes))


def _dropout(name: str, probability: float, detail: str, size: int) -> list[NetworkLayer]:
    return [NetworkLayer(name, "dropout", f"{probability:g}, {detail}", size)] if probability else []


def _mask(options: ModelOptions) -> str:
    return "one mask for all steps" if options.dropout.locked else "a new mask each step"


def _recurrent(options: ModelOptions, cell: Cell, number: int) -> NetworkLayer:
    parameters = sum(parameter.numel() for parameter in cell.parameters())
    return NetworkLayer(
        f"{_cell_name(options, options.cells[number])} {number + 1}",
        "recurrent",
        _terms(cell, parameters),
        cell.hidden_size,
        parameters,
        cell.state_names,
        cell.state_sizes,
        options.residuals[number],
        options.skip and len(options.hidden_sizes) > 1,
    )


def _terms(cell: Cell, parameters: int) -> str:
    """The sum that gives the number of parameters: matrices and biases for each gate, and what else the cell has."""
    columns = [cell.weight_ih.shape[1], *([cell.hidden_size, 2] if isinstance(cell, RecurrentCell) else [1])]
    rest = parameters - cell.gates * cell.hidden_size * sum(columns)
    gates = "" if cell.gates == 1 else f"{cell.gates} × "
    product = f"{gates}{cell.hidden_size:,} × ({' + '.join(f'{column:,}' for column in columns)})"
    return f"{product} + {rest:,}" if rest else product


def _decoder(model: LanguageModel, size: int) -> NetworkLayer:
    options, words = model.options, model.vocabulary_size
    parameters = sum(parameter.numel() for parameter in model.decoder.parameters())
    if options.tied:
        parameters -= model.embedding.weight.numel()
    return NetworkLayer("decoder", "decoder", " + ".join(_decoder_terms(model, size)), words, parameters)


def _decoder_terms(model: LanguageModel, size: int) -> list[str]:
    """The terms of the sum that gives a decoder's number of parameters."""
    options, words = model.options, model.vocabulary_size
    bias = [f"{words:,}"] if options.decoder_bias else []
    if isinstance(model.decoder, AdaptiveSoftmax):
        clusters = [f"{counted(words, 'word')} in a head and {counted(len(model.decoder.clusters), 'cluster')}"]
        return clusters + ["their biases"] * options.decoder_bias
    if isinstance(model.decoder, MixtureOfSoftmaxes):
        width, experts = options.embedding_size, model.decoder.experts
        matrix = "the embedding's matrix" if options.tied else f"{width:,} × {words:,}"
        return [f"{experts} × ({size:,} × ({width:,} + 1) + {width:,})", matrix, *bias]
    return ["the embedding's matrix" if options.tied else f"{size:,} × {words:,}", *bias]
