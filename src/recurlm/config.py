"""The recipe: everything that decides how a text becomes a model, frozen, strict, each field documented once."""

import difflib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from recurlm.documents import DEEPEST, parse_toml, toml_value, utf8_text
from recurlm.errors import InputError
from recurlm.files import read_bounded
from recurlm.wording import counted

Probability = Annotated[float, Field(ge=0, lt=1)]
LARGEST_NUMBER = 1e9
LARGEST_COUNT = 1_000_000_000
LARGEST_BATCH = 1_000_000
LARGEST_SIZE = 65_536
MOST_LAYERS = 100
"""These limits are far above what trains today; what memory forbids below them, `models/memory_estimate.py` says."""
LONGEST_SHOWN_VALUE = 100
Positive = Annotated[float, Field(gt=0, le=LARGEST_NUMBER)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_NUMBER)]
Bias = Annotated[float, Field(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
BatchSize = Annotated[int, Field(ge=1, le=LARGEST_BATCH)]
Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Divisor = Annotated[float, Field(gt=1, le=LARGEST_NUMBER)]
CellKind = Literal["lstm", "mogrifier", "layer-norm-lstm", "gru", "mingru", "qrnn", "tanh", "relu", "sigmoid"]
LSTM_KINDS: tuple[CellKind, ...] = ("lstm", "mogrifier", "layer-norm-lstm")
PARALLEL_KINDS: tuple[CellKind, ...] = ("mingru", "qrnn")
"""Without a recurrent matrix."""
InputGate = Literal["free", "capped", "coupled"]

_Value = TypeVar("_Value")
_ONE, _SEVERAL = "[one]", "[several]"
OneOrSeveral = Annotated[
    Annotated[_Value, Tag(_ONE)] | Annotated[tuple[_Value, ...], Tag(_SEVERAL)],
    # by form, so that an error is about the form that was written
    Discriminator(lambda value: _SEVERAL if isinstance(value, list | tuple) else _ONE),
]


class Section(BaseModel):
    """A part of a recipe: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TextOptions(Section):
    """How the text is cut into tokens and which of them get an id."""

    unit: Literal["word", "character", "bpe"] = Field("word", description="what one token is")
    order: Literal["frequency", "appearance"] = Field(
        "frequency",
        description="ids by falling frequency, or by first appearance as `mx.rnn.encode_sentences` gives them; "
        "byte pairs have an order of their own",
    )
    minimum_count: Count = Field(
        1,
        description="rarer words or characters become `<unk>`; a text that holds `<unk>` itself was prepared so and is "
        "left alone",
    )
    maximum_size: Annotated[int, Field(ge=2, le=LARGEST_COUNT)] | None = Field(
        None, description="largest vocabulary of words or characters, `<eos>` and `<unk>` included"
    )
    unknown: bool = Field(
        True, description="give a vocabulary of words or characters an `<unk>` even if the text has none"
    )
    merges: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description='size of the byte-pair vocabulary; `unit = "bpe"` only'
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TextOptions":
        if (self.unit == "bpe") != (self.merges is not None):
            raise ValueError('merges belongs to unit = "bpe", and that unit needs it (8000 is a good start)')
        if not self.unknown and (self.minimum_count > 1 or self.maximum_size is not None):
            raise ValueError("minimum_count and maximum_size turn rare tokens into <unk>, so unknown must be true")
        return self


class StreamBatches(Section):
    """Contiguous columns of one long text; the state is carried from batch to batch."""

    kind: Literal["stream"] = Field("stream", description="contiguous columns with carried state")
    batch_size: BatchSize = Field(20, description="columns B")
    bptt: BatchSize = Field(35, description="time steps T through which the gradient flows")
    random_lengths: bool = Field(
        False,
        description="draw T from N(bptt, 5), one time in twenty from N(bptt / 2, 5), and scale the rate by T / bptt",
    )
    partial_shuffle: bool = Field(
        False, description="begin each column at a random place of it every epoch, and end it there (Press 2019)"
    )
    reset_probability: Probability = Field(
        0.0, description="how often a column's carried state becomes zeros, at each batch (Melis et al. 2020)"
    )


class SentenceBatches(Section):
    """Sentences padded to the length of their bucket; every sentence starts from a zero state."""

    kind: Literal["sentences"] = Field("sentences", description="bucketed sentences")
    batch_size: BatchSize = Field(50, description="sentences in a batch B")
    buckets: Annotated[tuple[BatchSize, ...], Field(max_length=1000)] | Literal["auto"] = Field(
        "auto", description="padded lengths; `auto` chooses them from the distribution of sentence lengths"
    )
    longer: Literal["keep", "discard"] = Field(
        "keep", description="sentences longer than the largest bucket: own buckets, or left out and counted"
    )
    remainder: Literal["keep", "drop"] = Field(
        "keep", description="rows that do not fill a batch: a smaller batch, or left out and counted"
    )
    first_word: Literal["predicted", "given"] = Field(
        "predicted",
        description="predict the first word from `<eos>`, or take it as given as MXNet's iterator does",
    )
    padding: Literal["masked", "trained"] = Field(
        "masked",
        description="whether padding reaches the loss; `trained` is MXNet's SoftmaxOutput, for comparison only",
    )

    @field_validator("buckets")
    @classmethod
    def _increasing(cls, value: tuple[int, ...] | str) -> tuple[int, ...] | str:
        if not isinstance(value, str) and (not value or any(b <= a for a, b in itertools.pairwise(value))):
            raise ValueError("buckets must be increasing lengths, such as [10, 20, 40, 60, 80]")
        return value


class Dropout(Section):
    """Where units are dropped while training, each a probability."""

    embedding: Probability = Field(0.0, description="whole word types, one mask a batch")
    input: Probability = Field(0.0, description="on the embeddings")
    between: OneOrSeveral[Probability] = Field(0.0, description="between layers, or one for each place between two")
    output: Probability = Field(0.0, description="on the last layer's output")
    locked: bool = Field(
        True,
        description="input, between and output: one mask for all time steps (Gal and Ghahramani 2016), not one a step",
    )
    recurrent_weights: Probability = Field(
        0.0, description="entries of each layer's recurrent matrix, one mask a batch (weight-drop, Merity et al. 2018)"
    )
    state: Probability = Field(
        0.0,
        description="units of the hidden state on their way into the next step, one mask a sequence for all time steps "
        "(Gal and Ghahramani 2016); the LSTM has a sweep for it, other cells train step by step",
    )


class SoftmaxOutput(Section):
    """One softmax over all tokens."""

    kind: Literal["softmax"] = Field("softmax", description="one softmax over all tokens")


class SampledOutput(Section):
    """One softmax over all tokens, trained on a sample of them at each step; evaluated it is `softmax`."""

    kind: Literal["sampled"] = Field("sampled", description="one softmax, trained on a sample of the tokens")
    tokens: Count = Field(512, description="tokens in a sample; all where the vocabulary has no more")
    exponent: Annotated[float, Field(ge=0, le=10)] = Field(
        0.75,
        description="the chance to be in a sample falls with this power of a token's rank, frequent ones are always in",
    )


class MixtureOutput(Section):
    """A mixture of softmaxes (Yang et al. 2018); the last of `hidden_sizes` need not be `embedding_size` to be tied."""

    kind: Literal["mixture"] = Field("mixture", description="a mixture of softmaxes that share their matrix")
    experts: Annotated[int, Field(ge=1, le=10_000)] = Field(15, description="softmaxes K in the mixture")
    dropout: Probability = Field(0.0, description="on the hidden states of the experts")


class AdaptiveOutput(Section):
    """Adaptive softmax (Grave et al. 2017): rarer words in clusters with smaller matrices, for large vocabularies."""

    kind: Literal["adaptive"] = Field("adaptive", description="rarer words in clusters with smaller matrices")
    cutoffs: Annotated[tuple[Count, ...], Field(max_length=100)] = Field(
        (2000, 10000), description="the first id of each cluster; those below the first stand in the head"
    )
    divisor: Annotated[float, Field(ge=1, le=1000)] = Field(
        4.0, description="how many times smaller each cluster's projection is than the one before"
    )

    @field_validator("cutoffs")
    @classmethod
    def _increasing(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value or any(after <= before for before, after in itertools.pairwise(value)):
            raise ValueError("cutoffs must be increasing ids, such as [2000, 10000]")
        return value


Output = Annotated[SoftmaxOutput | SampledOutput | MixtureOutput | AdaptiveOutput, Field(discriminator="kind")]


class Mogrifier(Section):
    """How input and state gate each other before a step of `cell = "mogrifier"` (Melis et al. 2020)."""

    rounds: Annotated[int, Field(ge=0, le=100)] = Field(5, description="gatings before each step; 0 is the LSTM")
    rank: Size | None = Field(
        None, description="rank of the gating matrices, below input and hidden size; none is whole matrices"
    )


class QRNN(Section):
    """The convolution of `cell = "qrnn"` (Bradbury et al. 2017)."""

    window: OneOrSeveral[Literal[1, 2]] = Field(2, description="inputs that a step reads, or one for each layer")


class ModelOptions(Section):
    """The network: embedding, recurrent layers, output."""

    cell: OneOrSeveral[CellKind] = Field(
        "lstm",
        description="LSTM or GRU, one of their kin, or the simple recurrent cell with this activation; "
        "or one for each layer",
    )
    input_gate: InputGate = Field(
        "free",
        description="of LSTM cells: its own, capped at 1 - forget gate (Melis et al. 2020), or coupled, "
        "1 - forget gate itself (Greff et al. 2015)",
    )
    mogrifier: Mogrifier = Field(default_factory=Mogrifier)
    qrnn: QRNN = Field(default_factory=QRNN)
    embedding_size: Size = Field(256, description="E")
    hidden_sizes: Annotated[tuple[Size, ...], Field(max_length=MOST_LAYERS)] = Field(
        (256, 256), description="H of each layer, from input to output"
    )
    tied: bool = Field(False, description="one matrix for input and output embeddings (Press and Wolf 2017)")
    residual: OneOrSeveral[bool] = Field(
        False, description="add a layer's input to its output where their sizes agree; or one for each layer"
    )
    skip: bool = Field(
        False,
        description="the softmax reads the sum of all layers' outputs instead of the last one's (Melis et al. 2018)",
    )
    decoder_bias: bool = Field(True, description="bias of the softmax layer")
    bidirectional: bool = Field(False, description="always false: a language model must not see the future")
    dropout: Dropout = Field(default_factory=Dropout)
    output: Output = Field(
        default_factory=SoftmaxOutput, description="the output layer, by its `kind`; without it one softmax"
    )

    @field_validator("hidden_sizes")
    @classmethod
    def _layers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not value:
            raise ValueError("at least one layer is needed, such as [256]")
        return value

    @field_validator("bidirectional")
    @classmethod
    def _causal(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "a bidirectional layer reads the words it should predict, so its perplexity means nothing; use false"
            )
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
                    f"residual is true for layer {number}, but its input has {below} numbers and its output {above}, "
                    "which cannot be added; use false there"
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
                raise ValueError(f"{name} belongs to cell = {' or '.join(map(repr, kinds))}, which no layer is")
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
                    f"mogrifier.rank is {rank}, but layer {number} goes from {sizes[0]} to {sizes[1]} numbers; "
                    "a low rank is below both, and without rank the matrices are whole"
                )
        return self

    @model_validator(mode="after")
    def _skip_sizes(self) -> "ModelOptions":
        if self.skip and len(set(self.hidden_sizes)) > 1:
            raise ValueError("skip adds the outputs of all layers, so all hidden_sizes must be equal")
        if self.skip and any(self.residuals):
            raise ValueError("skip and residual both lead the lower layers past the upper ones; use one of them")
        return self

    @property
    def layer_sizes(self) -> tuple[tuple[int, int], ...]:
        """Input and output size of each layer."""
        return tuple(itertools.pairwise((self.embedding_size, *self.hidden_sizes)))

    @property
    def cells(self) -> tuple[CellKind, ...]:
        """The kind of each layer."""
        return self.cell if isinstance(self.cell, tuple) else (self.cell,) * len(self.hidden_sizes)

    @property
    def windows(self) -> tuple[int, ...]:
        """The window of each layer, if it is a QRNN."""
        window = self.qrnn.window
        return window if isinstance(window, tuple) else (window,) * len(self.hidden_sizes)

    @property
    def residuals(self) -> tuple[bool, ...]:
        """Whether each layer's input is added to its output."""
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
        """Kinds and sizes, such as lstm 256 + 256 or lstm 256 + gru 128."""
        groups = itertools.groupby(zip(self.cells, self.hidden_sizes, strict=True), key=lambda layer: layer[0])
        return " + ".join(f"{kind} {' + '.join(str(size) for _, size in layers)}" for kind, layers in groups)


class XavierInitialisation(Section):
    """Uniform, +-sqrt(magnitude / fan_in), fan_in the columns of the matrix: `mx.init.Xavier(factor_type="in")`."""

    kind: Literal["xavier"] = Field("xavier", description="uniform, scaled by fan-in")
    magnitude: Positive = Field(2.34, description="variance factor; 2.34 is the seed document's")
    forget_bias: Bias = Field(1.0, description="LSTM forget gate's bias at the start")


class UniformInitialisation(Section):
    """Every parameter uniform in +-scale (Zaremba et al. 2014)."""

    kind: Literal["uniform"] = Field(
        "uniform",
        description="every parameter, biases too, uniform in +-scale; only the gains of layer normalisation are ones",
    )
    scale: Positive = Field(0.1, description="half width of the interval")


class OrthogonalInitialisation(Section):
    """Recurrent matrices orthogonal gate by gate, input matrices by fan-in, embeddings uniform."""

    kind: Literal["orthogonal"] = Field("orthogonal", description="orthogonal recurrent matrices (Saxe et al. 2014)")
    embedding_scale: Positive = Field(0.1, description="embeddings and decoder uniform in +-this")
    forget_bias: Bias = Field(1.0, description="LSTM forget gate's bias at the start")


class SGD(Section):
    """Stochastic gradient descent; m <- mu m + g + wd w, w <- w - lr m; with `average.kind` non-monotone NT-ASGD."""

    kind: Literal["sgd"] = Field("sgd", description="stochastic gradient descent")
    learning_rate: Positive = Field(1.0, description="highest learning rate")
    momentum: Probability = Field(0.0, description="mu")
    weight_decay: NotNegative = Field(0.0, description="wd: L2, part of the gradient; on matrices only")


class Adam(Section):
    """Adam (Kingma and Ba 2015), or with decoupled weight decay AdamW (Loshchilov and Hutter 2019)."""

    kind: Literal["adam", "adamw"] = Field("adamw", description="Adam, or with decoupled weight decay")
    learning_rate: Positive = Field(0.003, description="highest learning rate")
    beta1: Probability = Field(
        0.9, description="decay of the mean of gradients; 0 is RMSProp with its bias corrected (Melis et al. 2018)"
    )
    beta2: Probability = Field(0.999, description="decay of the mean of squares")
    epsilon: Positive = Field(1e-8, description="added to the root of the squares")
    weight_decay: NotNegative = Field(
        0.0,
        description="wd, on matrices only; adam: L2, wd w joins the gradient and is scaled with it; "
        "adamw: decoupled, w <- w - lr wd w besides",
    )


class RMSProp(Section):
    """RMSProp (Tieleman and Hinton 2012), without correction of the bias; `adam` with beta1 = 0 has it."""

    kind: Literal["rmsprop"] = Field("rmsprop", description="gradient over the running root mean square")
    learning_rate: Positive = Field(0.001, description="highest learning rate")
    alpha: Probability = Field(0.99, description="decay of the mean of squares")
    momentum: Probability = Field(0.0, description="momentum on the scaled step")
    epsilon: Positive = Field(1e-8, description="added to the root of the squares")
    weight_decay: NotNegative = Field(0.0, description="wd: L2, part of the gradient; on matrices only")


class Muon(Section):
    """Muon for the matrices of recurrent layers, AdamW for embeddings, softmax and biases (Jordan et al. 2024).

    m <- mu m + (1 - mu) g; w <- w - lr 0.2 sqrt(max(rows, columns)) orthogonalised(g + mu (m - g)): steps as large
    as AdamW's, so that one rate serves both (Liu et al. 2025).
    """

    kind: Literal["muon"] = Field("muon", description="orthogonalised momentum for recurrent layers, else AdamW")
    learning_rate: Positive = Field(0.003, description="highest learning rate")
    momentum: Probability = Field(0.95, description="mu, of Muon")
    beta1: Probability = Field(0.9, description="AdamW's decay of the mean of gradients")
    beta2: Probability = Field(0.999, description="AdamW's decay of the mean of squares")
    epsilon: Positive = Field(1e-8, description="AdamW's, added to the root of the squares")
    weight_decay: NotNegative = Field(0.0, description="decoupled, on matrices only")


class ConstantSchedule(Section):
    """The rate stays as it is."""

    kind: Literal["constant"] = Field("constant", description="no change")


class StepSchedule(Section):
    """Divide by `divisor` after each epoch beyond `after` (Zaremba et al. 2014)."""

    kind: Literal["step"] = Field("step", description="divide at the end of epochs")
    divisor: Divisor = Field(2.0, description="what the rate is divided by")
    after: CountOrZero = Field(4, description="epochs at the full rate")
    every: Count = Field(1, description="epochs between divisions")


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine down to `final` times the highest rate."""

    kind: Literal["cosine"] = Field("cosine", description="warm-up, then half a cosine")
    warmup: Probability = Field(0.05, description="share of the run spent rising")
    final: Probability = Field(0.0, description="last rate as a share of the highest")


class OneCycleSchedule(Section):
    """Cosine rise from `initial` to the highest rate, cosine fall to `final` (Smith and Topin 2019)."""

    kind: Literal["one-cycle"] = Field("one-cycle", description="cosine up, cosine down")
    warmup: Annotated[float, Field(gt=0, lt=1)] = Field(0.25, description="share of the run spent rising")
    initial: Annotated[float, Field(gt=0, le=1)] = Field(0.04, description="first rate as a share of the highest")
    final: Annotated[float, Field(ge=0, le=1)] = Field(0.0001, description="last rate as a share of the highest")


class PlateauSchedule(Section):
    """Divide when the loss has not improved for more than `patience` validations."""

    kind: Literal["plateau"] = Field("plateau", description="divide when validation stops improving")
    divisor: Divisor = Field(4.0, description="what the rate is divided by")
    patience: CountOrZero = Field(0, description="validations without gain that are forgiven")


class NoAverage(Section):
    """The last weights count."""

    kind: Literal["none"] = Field("none", description="no average")


class ExponentialAverage(Section):
    """a <- a + max(1/n, 1 - decay) (w - a) from the first step on; a is validated and kept."""

    kind: Literal["exponential"] = Field("exponential", description="newer weights count more")
    decay: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.999, description="what is kept of the average at each of its n"
    )
    every: Count = Field(1, description="steps between weights that are averaged")


class TailAverage(Section):
    """The mean of the weights over the last part of the run (Polyak and Juditsky 1992); it is validated and kept."""

    kind: Literal["tail"] = Field("tail", description="the mean over the end of the run")
    start: Probability = Field(0.8, description="share of the run after which it begins")
    every: Count = Field(1, description="steps between weights that are averaged")


class NonMonotoneAverage(Section):
    """The mean from the moment that validation stops improving: with SGD this is NT-ASGD (Merity et al. 2018)."""

    kind: Literal["non-monotone"] = Field("non-monotone", description="the mean since validation got worse")
    interval: CountOrZero = Field(
        5, description="n: it begins when a validation is worse than the best of those before the last n"
    )
    every: Count = Field(1, description="steps between weights that are averaged")


class Training(Section):
    """The loop."""

    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(10, description="passes over the training text")
    until: Literal["epochs", "time"] = Field(
        "epochs",
        description="what the run and its schedule last for: the epochs, or `--time-limit` where that ends first; "
        "or that time alone, in as many epochs as fit. The schedule `plateau` goes by validations alone",
    )
    clip_norm: Positive | None = Field(None, description="largest norm of the whole gradient")
    loss: Literal["token", "sequence"] = Field(
        "token",
        description="mean over tokens, or sum over time and mean over the batch (Zaremba et al. and MXNet)",
    )
    activation_penalty: NotNegative = Field(
        0.0,
        description="alpha of AR: times the mean square of the last layer's outputs after dropout, nats a token "
        "(Merity et al. 2017); logs and perplexities never hold it",
    )
    slowness_penalty: NotNegative = Field(
        0.0,
        description="beta of TAR: times the mean square of the change of the last layer's outputs from step to step, "
        "before dropout",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="type of matrix products; auto is bf16 where the processor has them in hardware"
    )
    patience: Count | None = Field(None, description="stop after this many validations without a better one")
    log_every: Count = Field(50, description="steps between log lines")
    checkpoint_seconds: Positive = Field(60.0, description="seconds between checkpoints inside an epoch")


class Validation(Section):
    """What is measured while training, and how."""

    split: Literal["valid", "test"] = Field("valid", description="which part; `test` only to repeat the seed document")
    every: Count = Field(
        1, description="epochs from one validation to the next, checkpoint included; the last epoch always has one"
    )
    protocol: Literal["stream", "sentence", "mxnet"] = Field("stream", description="how perplexity is counted")
    columns: BatchSize = Field(
        16,
        description="columns read side by side while training; 1 is the exact stream, which the end of the run uses",
    )
    warm_up: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] = Field(
        256,
        description="tokens before each column that are read after `<eos>` and not counted, so that the column begins "
        "in a state that the exact stream could have; 0 begins from zeros. Of several columns only",
    )
    full_batches: BatchSize | None = Field(None, description="drop remainders of batches this large, as MXNet does")
    keep: Literal["best", "last"] = Field("best", description="which weights the run folder keeps")


Batches = Annotated[StreamBatches | SentenceBatches, Field(discriminator="kind")]
Initialisation = Annotated[
    XavierInitialisation | UniformInitialisation | OrthogonalInitialisation, Field(discriminator="kind")
]
Optimizer = Annotated[SGD | Adam | RMSProp | Muon, Field(discriminator="kind")]
Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule,
    Field(discriminator="kind"),
]


Average = Annotated[NoAverage | ExponentialAverage | TailAverage | NonMonotoneAverage, Field(discriminator="kind")]


VALUES_BEFORE: dict[str, Any] = {"validation": {"warm_up": 0}}
"""Keys that version 0.1.0 did not have, with the values that stand for what it did."""


class Recipe(Section):
    """A whole recipe, as a TOML file holds it."""

    description: str = Field("", description="one line that says what the recipe is for")
    source: str = Field("", description="paper, page or program it comes from, and the published figure")
    result: str = Field("", description="what it reached here and where the record stands")
    corpus: str = Field("python-docs", description="text used when none is named")
    text: TextOptions = Field(default_factory=TextOptions)
    batches: Batches = Field(default_factory=StreamBatches)
    model: ModelOptions = Field(default_factory=ModelOptions)
    initialisation: Initialisation = Field(default_factory=XavierInitialisation)
    optimizer: Optimizer = Field(default_factory=Adam)
    schedule: Schedule = Field(default_factory=ConstantSchedule)
    average: Average = Field(default_factory=NoAverage)
    training: Training = Field(default_factory=Training)
    validation: Validation = Field(default_factory=Validation)

    @model_validator(mode="after")
    def _protocol_fits(self) -> "Recipe":
        if self.validation.full_batches is not None and self.validation.protocol != "mxnet":
            raise ValueError('validation.full_batches belongs to validation.protocol = "mxnet"')
        return self


def recipe_names() -> list[str]:
    """Names of the recipes that ship, in alphabetical order."""
    folder = resources.files("recurlm") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


LARGEST_RECIPE = 1 << 20
"""Bytes of a recipe."""


def recipe_text(name_or_path: str) -> tuple[str, str]:
    """The TOML of a shipped recipe or of a file, and where it stands.

    Raises InputError when there is neither, with the nearest shipped name.
    """
    if name_or_path in recipe_names():
        entry = resources.files("recurlm") / "recipes" / f"{name_or_path}.toml"
        return entry.read_text(encoding="utf-8"), f"recipe {name_or_path}"
    path = Path(name_or_path)
    if path.exists() and not path.is_dir():
        return utf8_text(read_bounded(path, LARGEST_RECIPE, pipes=True), str(path)), str(path)
    hint = _nearest(name_or_path, recipe_names()) or "`recurlm recipes` lists those that ship"
    raise InputError(f"no recipe and no file named {name_or_path!r}; {hint}")


def load_recipe(name_or_path: str, changes: Iterable[str] = ()) -> Recipe:
    """A recipe by shipped name or file, with `key=value` changes laid over it.

    Raises InputError with file and key for anything that does not fit the schema.
    """
    text, place = recipe_text(name_or_path)
    values = parse_toml(text, place)
    changes = list(changes)
    apply_changes(values, changes)
    return parse_recipe(values, place + "".join(f" --set {_shortened(change)}" for change in changes))


def parse_recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """Check plain values against the schema; `place` is named in the error."""
    try:
        # JSON mode takes arrays for tuples and stays strict about everything else
        return Recipe.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()[:5]]
        raise InputError(f"{place}: " + "; ".join(lines)) from error


def parse_recorded_recipe(values: Mapping[str, Any], place: str) -> Recipe:
    """The recipe that a run or a search recorded, also one of an older version; `place` is named in the error."""
    return parse_recipe(_merged(VALUES_BEFORE, values), place)


def differing_keys(asked: Recipe, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys in which a recipe differs from the values that a run or a search keeps: what is asked and what is kept.

    A key that the version which kept them did not have differs only where another value than the default is asked.
    """
    wanted = _flat(asked.model_dump(mode="json"))
    kept = _flat(parse_recorded_recipe(recorded, "recorded recipe").model_dump(mode="json"))
    defaults = _flat(Recipe().model_dump(mode="json"))
    unknown_then = _flat(VALUES_BEFORE).keys() - _flat(recorded).keys()
    keys = [key for key in wanted | kept if wanted.get(key) != kept.get(key)]
    return {
        key: (wanted.get(key), kept.get(key))
        for key in keys
        if key not in unknown_then or wanted.get(key) != defaults.get(key)
    }


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**below, **above}
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    return merged


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Plain values by their whole key, such as training.epochs."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {path + key: value}
    return flat


def apply_changes(values: dict[str, Any], changes: Iterable[str]) -> None:
    """Lay several changes over plain recipe values, in any order."""
    # a new kind empties its section, so kinds come before the keys that belong to them
    for change in sorted(changes, key=lambda change: not changed_key(change).endswith(".kind")):
        apply_change(values, change)


def changed_key(change: str) -> str:
    """The key of one `section.key=value`."""
    return change.partition("=")[0].strip()


def apply_change(values: dict[str, Any], change: str) -> None:
    """Lay one `section.key=value` over plain recipe values, the value written as in TOML (bare words are strings).

    Changing a section's `kind` starts that section anew, for other kinds have other keys.
    """
    path, equals, raw = change.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise InputError(f"--set {_shortened(change)}: write it as section.key=value, such as --set training.epochs=3")
    section = values
    for key in keys[:-1]:
        below = section.setdefault(key, {})
        if not isinstance(below, dict):
            raise InputError(f"--set {_shortened(change)}: {_shortened(key)} is a value, not a section")
        section = below
    value = toml_value(raw.strip(), f"--set {_shortened(change)}")
    if keys[-1] == "kind" and section.get("kind") != value:
        section.clear()
    section[keys[-1]] = value


def recipe_toml(recipe: Recipe) -> str:
    """A whole recipe as a TOML file, defaults written out; `load_recipe` gives the same recipe back."""
    return "\n".join(_toml_lines(recipe.model_dump(mode="json", exclude_none=True))) + "\n"


def _toml_lines(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    # plain keys come first: after the head of a table they would belong to it
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in values.items():
        if isinstance(value, dict):
            yield from ("", f"[{'.'.join((*path, key))}]")
            yield from _toml_lines(value, (*path, key))


def _explain(detail: Mapping[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    # pydantic names the chosen member of a tagged union as a step of the path
    tagged = len(location) > 1 and len(_SECTIONS.get(location[0], ())) > 1
    kind = location.pop(1) if tagged else None
    if location[:2] == ["model", "output"] and len(location) > 2:
        kind = location.pop(2)
    if detail["type"] == "extra_forbidden":
        options = _keys_at(location[:-1], kind)
        hint = _nearest(location[-1], options) or f"known here: {', '.join(sorted(options))}"
        return f"{'.'.join(location)}: unknown key; {hint}"
    # and so it does with the alternatives of an untagged one, such as tuple[int, ...]
    shown = ".".join(part for part in location if "[" not in part)
    if detail["type"] == "union_tag_not_found":
        kinds = ", ".join(kind for section in _sections_at(location) for kind in _kinds(section))
        return f"{shown}: kind is missing; it is one of {kinds}"
    message = detail["msg"].removeprefix("Value error, ")
    got = detail.get("input")
    shown_input = "" if isinstance(got, dict) else f" (got {_shortened(repr(got))})"
    return f"{shown}: {message}{shown_input}" if shown else message


def _shortened(value: str) -> str:
    return value if len(value) <= LONGEST_SHOWN_VALUE else f"{value[:LONGEST_SHOWN_VALUE]}…"


_SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "text": (TextOptions,),
    "batches": (StreamBatches, SentenceBatches),
    "model": (ModelOptions,),
    "initialisation": (XavierInitialisation, UniformInitialisation, OrthogonalInitialisation),
    "optimizer": (SGD, Adam, RMSProp, Muon),
    "schedule": (ConstantSchedule, StepSchedule, CosineSchedule, OneCycleSchedule, PlateauSchedule),
    "average": (NoAverage, ExponentialAverage, TailAverage, NonMonotoneAverage),
    "training": (Training,),
    "validation": (Validation,),
}
_MODEL_SECTIONS: dict[str, tuple[type[Section], ...]] = {
    "mogrifier": (Mogrifier,),
    "qrnn": (QRNN,),
    "dropout": (Dropout,),
    "output": (SoftmaxOutput, SampledOutput, MixtureOutput, AdaptiveOutput),
}


def _kinds(section: type[Section]) -> tuple[str, ...]:
    return get_args(section.model_fields["kind"].annotation)


def _keys_at(location: list[str], kind: str | None) -> list[str]:
    """Known keys of the section at a path of an error, of that kind where there are several."""
    if not location:
        return list(Recipe.model_fields)
    return [
        key
        for section in _sections_at(location)
        if kind is None or kind in _kinds(section)
        for key in section.model_fields
    ]


def _sections_at(location: list[str]) -> tuple[type[Section], ...]:
    """The section at a path of an error, in each of its kinds."""
    if location[0] == "model" and location[1:] and location[1] in _MODEL_SECTIONS:
        return _MODEL_SECTIONS[location[1]]
    return _SECTIONS.get(location[0], ())


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]}?" if found else ""


def sections() -> dict[str, tuple[type[Section], ...]]:
    """The recipe's sections by name, each with its kinds; help and documentation are written from it."""
    return _SECTIONS


def model_sections() -> dict[str, tuple[type[Section], ...]]:
    """The sections inside `model` by name, each with its kinds."""
    return _MODEL_SECTIONS
