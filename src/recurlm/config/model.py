"""`[model]`: the network, from embedding to output layer."""

import itertools
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from recurlm.config.output import AdaptiveOutput, MixtureOutput, Output, SoftmaxOutput
from recurlm.config.section import MOST_LAYERS, OneOrSeveral, Probability, Section, Size
from recurlm.wording import counted

CellKind = Literal["lstm", "mogrifier", "layer-norm-lstm", "gru", "mingru", "qrnn", "tanh", "relu", "sigmoid"]
LSTM_KINDS: tuple[CellKind, ...] = ("lstm", "mogrifier", "layer-norm-lstm")
PARALLEL_KINDS: tuple[CellKind, ...] = ("mingru", "qrnn")
"""Cells without a recurrent matrix."""
InputGate = Literal["free", "capped", "coupled"]


class Dropout(Section):
    """Where training drops units. Each number is a probability."""

    embedding: Probability = Field(0.0, description="on whole word types, one mask a batch")
    input: Probability = Field(0.0, description="on the embeddings")
    between: OneOrSeveral[Probability] = Field(
        0.0, description="between layers; or one number for each place between two layers"
    )
    output: Probability = Field(0.0, description="on the last layer's output")
    locked: bool = Field(
        True,
        description="input, between and output use one mask for all time steps (Gal and Ghahramani 2016); if false, "
        "each step has a new mask",
    )
    recurrent_weights: Probability = Field(
        0.0,
        description="on entries of each layer's recurrent matrix, one mask a batch (weight-drop, Merity et al. 2018)",
    )
    state: Probability = Field(
        0.0,
        description="on the hidden state that enters the next step, one mask a sequence for all time steps (Gal and "
        "Ghahramani 2016); the LSTM has a fast kernel for it, other cells then train step by step",
    )


class Mogrifier(Section):
    """How input and state gate each other before each step of `cell = "mogrifier"` (Melis et al. 2020)."""

    rounds: Annotated[int, Field(ge=0, le=100)] = Field(5, description="gatings before each step; 0 gives the LSTM")
    rank: Size | None = Field(
        None, description="rank of the gating matrices, below input and hidden size; none means full matrices"
    )


class QRNN(Section):
    """The convolution of `cell = "qrnn"` (Bradbury et al. 2017)."""

    window: OneOrSeveral[Literal[1, 2]] = Field(2, description="inputs that a step reads; or one number for each layer")


class ModelOptions(Section):
    """The network: embedding, recurrent layers, output."""

    cell: OneOrSeveral[CellKind] = Field(
        "lstm",
        description="LSTM, GRU or a variant of them, or the simple recurrent cell with this activation; or one for "
        "each layer",
    )
    input_gate: InputGate = Field(
        "free",
        description="input gate of LSTM cells: `free` has weights of its own; `capped` is at most 1 − forget gate "
        "(Melis et al. 2020); `coupled` is 1 − forget gate (Greff et al. 2015)",
    )
    mogrifier: Mogrifier = Field(default_factory=Mogrifier)
    qrnn: QRNN = Field(default_factory=QRNN)
    embedding_size: Size = Field(256, description="embedding size E")
    hidden_sizes: Annotated[tuple[Size, ...], Field(max_length=MOST_LAYERS)] = Field(
        (256, 256), description="hidden size H of each layer, from input to output"
    )
    tied: bool = Field(False, description="input and output embeddings share one matrix (Press and Wolf 2017)")
    residual: OneOrSeveral[bool] = Field(
        False, description="adds a layer's input to its output where their sizes agree; or one value for each layer"
    )
    skip: bool = Field(
        False,
        description="the output layer reads the sum of all layers' outputs, not the last one alone (Melis et al. 2018)",
    )
    decoder_bias: bool = Field(True, description="whether the output layer has a bias")
    dropout: Dropout = Field(default_factory=Dropout)
    output: Output = Field(
        default_factory=SoftmaxOutput, description="the output layer; one softmax unless its `kind` says otherwise"
    )

    @field_validator("hidden_sizes")
    @classmethod
    def _layers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("at least one layer is needed, such as [256]")
        return value

    @model_validator(mode="after")
    def _tied_sizes(self) -> "ModelOptions":
        if self.tied and isinstance(self.output, AdaptiveOutput):
            raise ValueError("tied needs one matrix for all words, which output.kind adaptive does not have; use false")
        projects = isinstance(self.output, MixtureOutput)
        if self.tied and not projects and self.embedding_size != self.hidden_sizes[-1]:
            raise ValueError(
                f"tied needs embedding_size ({self.embedding_size}) equal to the last of hidden_sizes "
                f"({self.hidden_sizes[-1]})"
            )
        return self

    @model_validator(mode="after")
    def _one_value_a_layer(self) -> "ModelOptions":
        layers = len(self.hidden_sizes)
        depth = counted(layers, "layer")
        each = (("cell", self.cell), ("residual", self.residual), ("qrnn.window", self.qrnn.window))
        for name, value in each:
            if isinstance(value, tuple) and len(value) != layers:
                raise ValueError(
                    f"{name} has {counted(len(value), 'value')}, but hidden_sizes has {depth}; give one for each"
                )
        between = self.dropout.between
        if isinstance(between, tuple) and len(between) != layers - 1:
            raise ValueError(
                f"dropout.between has {counted(len(between), 'value')}, but hidden_sizes has {depth}; "
                f"give {layers - 1}, one for each place between two layers"
            )
        return self

    @model_validator(mode="after")
    def _residual_sizes(self) -> "ModelOptions":
        for number, (residual, (below, above)) in enumerate(
            zip(self.residuals, self.layer_sizes, strict=True), start=1
        ):
            if residual and below != above:
                raise ValueError(
                    f"residual is true for layer {number}, but its input of size {below} cannot be added to its output "
                    f"of size {above}; use false there"
                )
        return self

    @model_validator(mode="after")
    def _options_of_present_cells(self) -> "ModelOptions":
        each = (
            ("input_gate", self.input_gate != "free", LSTM_KINDS),
            ("mogrifier", self.mogrifier != Mogrifier(), ("mogrifier",)),
            ("qrnn", self.qrnn != QRNN(), ("qrnn",)),
        )
        for name, asked, kinds in each:
            if asked and not set(kinds) & set(self.cells):
                raise ValueError(f"{name} belongs to cell = {' or '.join(map(repr, kinds))}, which no layer has")
        return self

    @model_validator(mode="after")
    def _recurrent_matrix_to_drop(self) -> "ModelOptions":
        asked = ("recurrent_weights", self.dropout.recurrent_weights), ("state", self.dropout.state)
        for name, rate in asked:
            if rate and set(self.cells) <= set(PARALLEL_KINDS):
                kinds = " or ".join(dict.fromkeys(self.cells))
                raise ValueError(f"dropout.{name} needs a recurrent matrix, which no layer of kind {kinds} has; use 0")
        return self

    @model_validator(mode="after")
    def _low_rank(self) -> "ModelOptions":
        rank = self.mogrifier.rank
        for number, (kind, sizes) in enumerate(zip(self.cells, self.layer_sizes, strict=True), start=1):
            if kind == "mogrifier" and rank is not None and rank >= min(sizes):
                raise ValueError(
                    f"mogrifier.rank is {rank}, but layer {number} has sizes {sizes[0]} and {sizes[1]}; "
                    "a low rank is below both; leave rank out for full matrices"
                )
        return self

    @model_validator(mode="after")
    def _skip_sizes(self) -> "ModelOptions":
        if self.skip and len(set(self.hidden_sizes)) > 1:
            raise ValueError("skip adds the outputs of all layers, so all hidden_sizes must be equal")
        if self.skip and any(self.residuals):
            raise ValueError("skip and residual both carry lower layers' outputs past upper layers; use one of them")
        return self

    @property
    def layer_sizes(self) -> tuple[tuple[int, int], ...]:
        """Input and output size of each layer."""
        return tuple(itertools.pairwise((self.embedding_size, *self.hidden_sizes)))

    @property
    def cells(self) -> tuple[CellKind, ...]:
        """The cell of each layer."""
        return self.cell if isinstance(self.cell, tuple) else (self.cell,) * len(self.hidden_sizes)

    @property
    def windows(self) -> tuple[int, ...]:
        """The QRNN window of each layer; other cells ignore it."""
        window = self.qrnn.window
        return window if isinstance(window, tuple) else (window,) * len(self.hidden_sizes)

    @property
    def residuals(self) -> tuple[bool, ...]:
        """Whether each layer adds its input to its output."""
        if isinstance(self.residual, tuple):
            return self.residual
        return tuple(self.residual and below == above for below, above in self.layer_sizes)

    @property
    def dropouts_between(self) -> tuple[float, ...]:
        """The dropout below each layer but the first."""
        between = self.dropout.between
        return between if isinstance(between, tuple) else (between,) * (len(self.hidden_sizes) - 1)

    @property
    def layers_in_words(self) -> str:
        """Cells and sizes, such as lstm 256 + 256 or lstm 256 + gru 128."""
        groups = itertools.groupby(zip(self.cells, self.hidden_sizes, strict=True), key=lambda layer: layer[0])
        return " + ".join(f"{kind} {' + '.join(str(size) for _, size in layers)}" for kind, layers in groups)
