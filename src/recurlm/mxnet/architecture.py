"""A language model as a graph describes it: its layers, their sizes, and the names of their parameters."""

from dataclasses import dataclass, replace

from recurlm.config import CellKind

GATE_SUFFIXES: dict[CellKind, tuple[str, ...]] = {
    "lstm": ("_i", "_f", "_c", "_o"),
    "gru": ("_r", "_z", "_o"),
    "tanh": ("",),
    "relu": ("",),
    "sigmoid": ("",),
}
"""MXNet's names of the gates of an unpacked cell, in the order in which a packed cell stacks them."""


@dataclass(frozen=True, slots=True)
class EmbeddingNode:
    """Word id to vector: ``weight`` is (input_dim, output_dim)."""

    weight: str
    input_dim: int
    output_dim: int


@dataclass(frozen=True, slots=True)
class PackedParameters:
    """A cell's parameters, with the gates stacked in each; a file may hold them gate by gate instead."""

    input_weight: str
    recurrent_weight: str
    input_bias: str
    recurrent_bias: str


@dataclass(frozen=True, slots=True)
class FusedParameters:
    """Layer ``layer`` of the ``layer_count`` in one vector, the first of which reads ``input_size`` features."""

    vector: str
    layer: int
    layer_count: int
    input_size: int


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """One recurrent layer; ``dropout_before`` acts on its input, which ``residual`` adds to its output."""

    kind: CellKind
    input_size: int
    hidden_size: int
    parameters: PackedParameters | FusedParameters
    residual: bool = False
    dropout_before: float = 0.0

    @property
    def gates(self) -> int:
        """G, the number of gates."""
        return len(GATE_SUFFIXES[self.kind])


@dataclass(frozen=True, slots=True)
class Decoder:
    """Hidden state to scores: ``weight`` is (vocabulary_size, input_size), ``bias`` may be absent."""

    weight: str
    bias: str | None
    input_size: int
    vocabulary_size: int
    dropout_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """A language model: embedding, recurrent layers from input to output, decoder.

    ``time_major`` tells whether the data came as (T, B) instead of (B, T).
    """

    embedding: EmbeddingNode
    layers: tuple[RecurrentLayer, ...]
    decoder: Decoder
    time_major: bool = False

    @property
    def tied(self) -> bool:
        """Whether embedding and decoder are one matrix."""
        return self.embedding.weight == self.decoder.weight


def fused_layer_by_layer(architecture: Architecture) -> Architecture:
    """The same model with one parameter vector per layer, the form in which it is written for MXNet."""
    layers = tuple(
        replace(layer, parameters=FusedParameters(f"{layer.kind}_l{number}_parameters", 0, 1, layer.input_size))
        for number, layer in enumerate(architecture.layers)
    )
    return replace(architecture, layers=layers)
