"""From a graph to an architecture, by what its operators compute and never by their names.

A graph is evaluated on values that stand for meanings instead of numbers: a sequence of vectors, one step
of it, a projection, a gate. An arithmetic node either completes the equation of a cell and becomes a step
of that layer, or stays an expression. Every unrolled step is checked: it must continue from the state of the
same layer at the previous step, with the same parameters. The equations are those of ``mx.rnn``:

LSTM  c' = σ(g1)·c + σ(g0)·tanh(g2), h' = σ(g3)·tanh(c'), where g = (Wx + b) + (Uh + b')
GRU   h' = (1 − z)·tanh(p2 + r·q2) + z·h, r = σ(p0 + q0), z = σ(p1 + q1), where p = Wx + b, q = Uh + b'
RNN   h' = tanh((Wx + b) + (Uh + b')), or relu, or sigmoid
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NoReturn, cast

from recurlm.config import CellKind
from recurlm.mxnet.architecture import (
    Architecture,
    Decoder,
    EmbeddingNode,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
)
from recurlm.mxnet.graph import Graph, Node
from recurlm.wording import counted

_MAXIMUM_LAYERS = 100
_SOFTMAXES = ("SoftmaxOutput", "softmax", "log_softmax")
_FUSED_KINDS: dict[str, CellKind] = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "tanh", "rnn_relu": "relu"}
_SIMPLE_KINDS = ("tanh", "relu", "sigmoid")
_UNSUPPORTED = {
    "where": "zoneout cannot be imported",
    "ones_like": "zoneout cannot be imported",
    "reverse": "bidirectional models cannot be imported",
    "SequenceReverse": "bidirectional models cannot be imported",
    "Convolution": "convolutional cells cannot be imported",
}


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


@dataclass(frozen=True, slots=True)
class _Zeros:
    pass


@dataclass(frozen=True, slots=True)
class _Sequence:
    """All steps of a stage; ``swapped`` means that its first two axes are those of the data, exchanged."""

    stage: int
    swapped: bool


@dataclass(frozen=True, slots=True)
class _Step:
    """One time step of a stage, (B, features)."""

    stage: int
    time: int


@dataclass(frozen=True, slots=True)
class _Expanded:
    """A step with an axis of size one for time."""

    step: _Step
    axis: int


@dataclass(frozen=True, slots=True)
class _Flat:
    """All steps of a stage as rows, (T·B, features)."""

    stage: int


@dataclass(frozen=True, slots=True, eq=False)
class _Projection:
    """weight · source + bias."""

    node: Node
    source: _Step | _Zeros
    weight: str
    bias: str
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Sum:
    left: "_Value"
    right: "_Value"


@dataclass(frozen=True, slots=True, eq=False)
class _Product:
    left: "_Value"
    right: "_Value"


@dataclass(frozen=True, slots=True, eq=False)
class _Activated:
    kind: str
    operand: "_Value"


@dataclass(frozen=True, slots=True, eq=False)
class _OneMinus:
    operand: "_Value"


@dataclass(frozen=True, slots=True, eq=False)
class _Slices:
    """A vector cut into ``count`` equal parts, or a sequence into its steps."""

    operand: "_Value"
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    operand: "_Value"
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class _CellState:
    """The LSTM's cell state after a step, and the gates it was computed from."""

    stage: int
    time: int
    gates: _Sum = field(compare=False)


@dataclass(frozen=True, slots=True)
class _Scores:
    """A score for every word of the vocabulary."""

    stage: int
    decoder: Decoder
    flat: bool


_Value = (
    _Variable
    | _Zeros
    | _Sequence
    | _Step
    | _Expanded
    | _Flat
    | _Projection
    | _Sum
    | _Product
    | _Activated
    | _OneMinus
    | _Slices
    | _Slice
    | _CellState
    | _Scores
)


_EXPRESSIONS = (_Projection, _Sum, _Product, _Activated, _OneMinus, _Slices, _Slice)


@dataclass(frozen=True, slots=True)
class _Stage:
    """The layers and then the ``dropout`` that a stream of vectors of this ``width`` has passed through."""

    below: int | None
    layers: tuple[RecurrentLayer, ...]
    width: int
    dropout: float = 0.0


def recognize_architecture(graph: Graph) -> Architecture:
    """The language model that a graph computes.

    Raises InputError with a node's name and the reason where the graph computes something else, CorruptFileError
    where a node lacks an attribute or input that its operator needs.
    """
    return _Recognizer(graph).architecture()


def _before_softmax(graph: Graph) -> tuple[Node, Node | None]:
    number, output = graph.heads[0]
    head = graph.nodes[number]
    if len(graph.heads) > 1 or output > 0:
        head.refuse("the graph has several outputs; only one, the words' probabilities, can be imported")
    if head.op in _SOFTMAXES:
        return graph.nodes[_reference(head, 0)[0]], head
    return head, None


def _check_softmax(head: Node, scores: "_Scores") -> None:
    if head.op == "SoftmaxOutput":
        over_words = scores.flat or head.flag("preserve_shape")
    else:
        over_words = head.integer("axis", -1) in (-1, 1 if scores.flat else 2)
    plain = not head.flag("multi_output") and head.text("temperature", "None") in ("None", "1", "1.0")
    if not over_words or not plain:
        head.refuse("a softmax over the words, without a temperature, is expected")


def _reference(node: Node, position: int) -> tuple[int, int]:
    if position >= len(node.inputs):
        node.corrupt(f"an input number {position}")
    return node.inputs[position]


class _Recognizer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[int, _Value] = {}
        self.stages: list[_Stage] = []
        self.numbers: dict[object, int] = {}
        self.dropouts: dict[_Value, Node] = {}
        self.embedding: EmbeddingNode | None = None
        self.data: str | None = None
        self.time_axis: int | None = None
        self.steps: int | None = None
        self.operators: dict[str, Callable[[Node], _Value]] = {
            "null": lambda node: _Variable(node.name),
            "_zeros": lambda node: _Zeros(),
            "zeros_like": lambda node: _Zeros(),
            "identity": self._only_operand,
            "_copy": self._only_operand,
            "Embedding": self._embedding,
            "SwapAxis": self._swap,
            "SliceChannel": self._slices,
            "expand_dims": self._expand,
            "Concat": self._join,
            "stack": self._stack,
            "Reshape": self._reshape,
            "Dropout": self._dropout,
            "FullyConnected": self._project,
            "Activation": lambda node: self._activate(node, node.text("act_type")),
            "tanh": lambda node: self._activate(node, "tanh"),
            "relu": lambda node: self._activate(node, "relu"),
            "sigmoid": lambda node: self._activate(node, "sigmoid"),
            "elemwise_add": self._add,
            "_plus": self._add,
            "elemwise_mul": self._multiply,
            "_mul": self._multiply,
            "_rminus_scalar": self._subtract_from_one,
            "RNN": self._fused,
        }

    def architecture(self) -> Architecture:
        last, head = _before_softmax(self.graph)
        nodes = self.graph.needed_for(last.number)
        for node in nodes:
            if node.op not in self.operators:
                node.refuse(_UNSUPPORTED.get(node.op, "an operator that no mx.rnn language model has"))
        for node in nodes:
            self.values[node.number] = self.operators[node.op](node)
        scores = self.values[last.number]
        if not isinstance(scores, _Scores) or self.embedding is None:
            last.refuse("the result is not a FullyConnected layer over the recurrent layers' outputs")
        if head is not None:
            _check_softmax(head, scores)
        return self._describe(last, scores, self.embedding)

    def _describe(self, last: Node, scores: _Scores, embedding: EmbeddingNode) -> Architecture:
        words, layers = scores.decoder.vocabulary_size, self.stages[scores.stage].layers
        if not layers:
            last.refuse("there is no recurrent layer between embedding and scores")
        if words != embedding.input_dim:
            last.refuse(f"it scores {counted(words, 'word')}, but the embedding has {embedding.input_dim}")
        return Architecture(embedding, layers, scores.decoder, time_major=self.time_axis == 0)

    # What nodes read

    def _operand(self, node: Node, position: int) -> _Value:
        number, output = _reference(node, position)
        value = self.values[number]
        if isinstance(value, _Slices):
            if output >= value.count:
                node.corrupt(f"an output below {value.count} of its input, not {output}")
            if isinstance(value.operand, _Sequence):
                return _Step(value.operand.stage, output)
            return _Slice(value.operand, output, value.count)
        if output != 0:
            node.refuse(f"it reads a further output of node {self.graph.nodes[number].name!r}")
        return value

    def _only_operand(self, node: Node) -> _Value:
        return self._operand(node, 0)

    def _operands(self, node: Node) -> list[_Value]:
        return [self._operand(node, position) for position in range(len(node.inputs))]

    def _parameter(self, node: Node, position: int) -> str:
        value = self._operand(node, position)
        if not isinstance(value, _Variable):
            node.refuse("a weight is computed instead of stored")
        return value.name

    def _refuse(self, node: Node, reason: str, *values: _Value) -> NoReturn:
        """Refuses a node that reads ``values``; what is odd about them comes before the reason."""
        for value in values:
            if isinstance(value, _EXPRESSIONS):
                node.refuse("it reads a computation that is not the step of an mx.rnn cell")
            if isinstance(value, _Variable):
                node.refuse(
                    f"it reads the variable {value.name!r}; the words must be the only input, "
                    "and states must start from zeros"
                )
        node.refuse(reason)

    # Stages

    def _enter(self, key: object, stage: _Stage) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.stages)
            self.stages.append(stage)
        return self.numbers[key]

    def _enter_layer(self, node: Node, below: int, layer: RecurrentLayer) -> int:
        layers = (*self.stages[below].layers, layer)
        if len(layers) > _MAXIMUM_LAYERS:
            node.refuse(f"more than {_MAXIMUM_LAYERS} layers")
        return self._enter((below, layer), _Stage(below, layers, layer.hidden_size))

    def _enter_dropout(self, below: int, probability: float) -> int:
        stage = self.stages[below]
        combined = stage.dropout + probability - stage.dropout * probability
        after = replace(stage, below=None, dropout=combined)
        return self._enter((below, probability), after)

    def _enter_residual(self, above: int) -> int:
        stage = self.stages[above]
        layers = (*stage.layers[:-1], replace(stage.layers[-1], residual=True))
        return self._enter(("residual", above), replace(stage, below=None, layers=layers))

    # Shapes

    def _embedding(self, node: Node) -> _Value:
        data = self._operand(node, 0)
        embedding = EmbeddingNode(self._parameter(node, 1), node.size("input_dim"), node.size("output_dim"))
        if not isinstance(data, _Variable):
            node.refuse("it does not read the words directly")
        if self.embedding not in (None, embedding) or self.data not in (None, data.name):
            node.refuse("a second embedding: several inputs cannot be imported")
        self.embedding, self.data = embedding, data.name
        return _Sequence(self._enter(embedding, _Stage(None, (), embedding.output_dim)), swapped=False)

    def _swap(self, node: Node) -> _Value:
        value = self._operand(node, 0)
        if not isinstance(value, _Sequence) or {node.integer("dim1", 0), node.integer("dim2", 0)} != {0, 1}:
            self._refuse(node, "only time and batch of a sequence can be swapped", value)
        return _Sequence(value.stage, not value.swapped)

    def _settle_time_axis(self, node: Node, axis: int, sequence: _Sequence) -> None:
        """The axis of time in ``sequence``, said of the data, must be the same everywhere."""
        axis ^= int(sequence.swapped)
        if axis not in (0, 1) or self.time_axis not in (None, axis):
            node.refuse("it takes another axis for time than the nodes before")
        self.time_axis = axis

    def _slices(self, node: Node) -> _Value:
        value, count, axis = self._operand(node, 0), node.size("num_outputs"), node.integer("axis", 1)
        if isinstance(value, _Sequence):
            self._settle_time_axis(node, axis, value)
            if not node.flag("squeeze_axis") or self.steps not in (None, count):
                node.refuse("the sequence is not cut into all its single steps")
            self.steps = count
        elif axis != 1 or node.flag("squeeze_axis"):
            self._refuse(node, "gates are not cut along their features", value)
        return _Slices(value, count)

    def _expand(self, node: Node) -> _Value:
        value = self._operand(node, 0)
        if not isinstance(value, _Step):
            self._refuse(node, "only a step of a sequence can be given an axis", value)
        return _Expanded(value, node.integer("axis"))

    def _stack(self, node: Node) -> _Value:
        axis = node.integer("axis", 0)
        parts = [_Expanded(each, axis) for each in self._operands(node) if isinstance(each, _Step)]
        if len(parts) != len(node.inputs):
            self._refuse(node, "it stacks something other than the steps of a sequence", *self._operands(node))
        return self._in_order(node, parts, axis)

    def _join(self, node: Node) -> _Value:
        axis = node.integer("dim", 1)
        parts = self._operands(node)
        if all(isinstance(each, _Expanded) and each.axis == axis for each in parts):
            return self._in_order(node, cast(list[_Expanded], parts), axis)
        if axis == 0 and all(isinstance(each, _Step) for each in parts):
            sequence = self._in_order(node, [_Expanded(cast(_Step, each), 0) for each in parts], 0)
            return _Flat(sequence.stage)
        return self._refuse(node, "it joins several streams: bidirectional models cannot be imported", *parts)

    def _in_order(self, node: Node, parts: list[_Expanded], axis: int) -> _Sequence:
        if not parts or axis not in (0, 1):
            node.refuse("the steps of a sequence are expected, along time")
        stage = parts[0].step.stage
        if len(parts) != self.steps or any(each.step != _Step(stage, time) for time, each in enumerate(parts)):
            node.refuse("the steps of a layer are not joined completely and in order")
        return _Sequence(stage, swapped=axis != self.time_axis)

    def _reshape(self, node: Node) -> _Value:
        value, shape = self._operand(node, 0), node.integers("shape")
        if isinstance(value, _Scores) and shape[-1:] == (value.decoder.vocabulary_size,):
            return replace(value, flat=True)
        if not isinstance(value, _Sequence | _Flat):
            self._refuse(node, "only the layers' outputs can be reshaped", value)
        if shape not in ((-1, self.stages[value.stage].width), (-3, 0), (-3, -2)):
            node.refuse("it tears the vectors of time steps apart")
        return _Flat(value.stage)

    def _dropout(self, node: Node) -> _Value:
        value, probability = self._operand(node, 0), node.probability("p", "0.5")
        if not isinstance(value, _Sequence | _Step | _Flat):
            self._refuse(node, "dropout is expected between layers only", value)
        if node.text("mode", "training") != "training" or node.text("axes", "()") not in ("()", "[]", "None"):
            node.refuse("dropout that acts outside training, or on whole axes, cannot be imported")
        if self.dropouts.setdefault(value, node) is not node:
            node.refuse("it applies dropout again, after another dropout node")
        return replace(value, stage=self._enter_dropout(value.stage, probability))

    # Arithmetic

    def _project(self, node: Node) -> _Value:
        source, size = self._operand(node, 0), node.size("num_hidden")
        weight = self._parameter(node, 1)
        bias = None if node.flag("no_bias") else self._parameter(node, 2)
        if isinstance(source, _Flat | _Sequence):
            if isinstance(source, _Sequence) and node.text("flatten", "True") in ("True", "1"):
                node.refuse("it mixes the time steps: flatten must be False")
            stage = self.stages[source.stage]
            decoder = Decoder(weight, bias, stage.width, size, stage.dropout)
            return _Scores(source.stage, decoder, flat=isinstance(source, _Flat))
        if not isinstance(source, _Step | _Zeros):
            self._refuse(node, "it reads something other than a step of a layer", source)
        if bias is None:
            node.refuse("a cell without biases is none of mx.rnn's")
        return _Projection(node, source, weight, bias, size)

    def _activate(self, node: Node, kind: str) -> _Value:
        match operand := self._operand(node, 0):
            case _Sum(_Projection() as from_input, _Projection() as from_state):
                if kind not in _SIMPLE_KINDS:
                    node.refuse(f"a cell with the activation {kind!r} cannot be imported")
                return self._cell_step(node, cast(CellKind, kind), from_input, from_state, 1)
        return _Activated(kind, operand)

    def _subtract_from_one(self, node: Node) -> _Value:
        if node.text("scalar", "1.0") not in ("1", "1.0"):
            node.refuse("it does not subtract from one as a GRU does")
        return _OneMinus(self._operand(node, 0))

    def _multiply(self, node: Node) -> _Value:
        left, right = self._operand(node, 0), self._operand(node, 1)
        match left, right:
            case (
                _Activated("sigmoid", _Slice(output, 3, 4)),
                _Activated("tanh", _CellState(stage, time, gates)),
            ) if output is gates:
                return _Step(stage, time)
        return _Product(left, right)

    def _add(self, node: Node) -> _Value:
        left, right = self._operand(node, 0), self._operand(node, 1)
        match left, right:
            case (_Step() | _Sequence() as one, _Step() | _Sequence() as other):
                return self._residual(node, one, other)
            case (
                _Product(_Activated("sigmoid", _Slice(forget, 1, 4)), cell),
                _Product(_Activated("sigmoid", _Slice(write, 0, 4)), _Activated("tanh", _Slice(candidate, 2, 4))),
            ) if forget is write and write is candidate:
                return self._cell_state(node, forget, cell)
            case (
                _Product(_OneMinus(kept), _Activated("tanh", candidate)),
                _Product(update, hidden),
            ) if kept is update:
                return self._gru_step(node, update, candidate, hidden)
        return _Sum(left, right)

    def _residual(self, node: Node, left: _Step | _Sequence, right: _Step | _Sequence) -> _Value:
        above, below = (left, right) if left.stage > right.stage else (right, left)
        stage = self.stages[above.stage]
        if (
            below != replace(above, stage=below.stage)
            or stage.below != below.stage
            or stage.width != self.stages[below.stage].width
        ):
            node.refuse("a residual connection must add one layer's input to its output")
        return replace(above, stage=self._enter_residual(above.stage))

    # Cells

    def _cell_state(self, node: Node, gates: _Value, cell: _Value) -> _Value:
        match gates:
            case _Sum(_Projection() as from_input, _Projection() as from_state):
                step = self._cell_step(node, "lstm", from_input, from_state, 4)
                before = _Zeros() if step.time == 0 else _CellState(step.stage, step.time - 1, gates)
                self._require_state(node, step, cell, before)
                return _CellState(step.stage, step.time, gates)
        return node.refuse("an LSTM's gates are not those of mx.rnn.LSTMCell")

    def _gru_step(self, node: Node, update: _Value, candidate: _Value, hidden: _Value) -> _Value:
        match update, candidate:
            case (
                _Activated("sigmoid", _Sum(_Slice(p1, 1, 3), _Slice(q1, 1, 3))),
                _Sum(
                    _Slice(p2, 2, 3),
                    _Product(_Activated("sigmoid", _Sum(_Slice(p0, 0, 3), _Slice(q0, 0, 3))), _Slice(q2, 2, 3)),
                ),
            ) if p0 is p1 and p1 is p2 and q0 is q1 and q1 is q2:
                if isinstance(p0, _Projection) and isinstance(q0, _Projection):
                    step = self._cell_step(node, "gru", p0, q0, 3)
                    self._require_state(node, step, hidden, q0.source)
                    return step
        return node.refuse("a GRU's gates are not those of mx.rnn.GRUCell")

    def _cell_step(
        self, node: Node, kind: CellKind, from_input: _Projection, from_state: _Projection, gates: int
    ) -> _Step:
        below = from_input.source
        if not isinstance(below, _Step):
            from_input.node.refuse("a cell's input is expected, not zeros")
        if from_input.size != from_state.size or from_input.size % gates:
            node.refuse(f"its projections have {from_input.size} and {from_state.size} rows for {gates} gates")
        parameters = PackedParameters(from_input.weight, from_state.weight, from_input.bias, from_state.bias)
        number = self._layer(node, below.stage, kind, from_input.size // gates, parameters)
        step = _Step(number, below.time)
        before = _Zeros() if step.time == 0 else _Step(number, step.time - 1)
        self._require_state(from_state.node, step, from_state.source, before)
        return step

    def _layer(
        self,
        node: Node,
        below: int,
        kind: CellKind,
        hidden_size: int,
        parameters: PackedParameters | FusedParameters,
    ) -> int:
        stage = self.stages[below]
        layer = RecurrentLayer(kind, stage.width, hidden_size, parameters, dropout_before=stage.dropout)
        return self._enter_layer(node, below, layer)

    def _require_state(self, node: Node, step: _Step, found: _Value, expected: _Value) -> None:
        if found == expected:
            return
        if isinstance(found, _Zeros):
            node.refuse(
                f"it starts from zeros at step {step.time} instead of 0: bidirectional models cannot be imported"
            )
        node.refuse("it does not go on from its own state of the step before with the same parameters")

    def _fused(self, node: Node) -> _Value:
        sequence = self._operand(node, 0)
        if not isinstance(sequence, _Sequence):
            self._refuse(node, "it must read the layer below, all steps together", sequence)
        kind = _FUSED_KINDS.get(node.text("mode"))
        if kind is None:
            node.corrupt(f"a mode among {', '.join(_FUSED_KINDS)}")
        self._check_fused(node)
        self._settle_time_axis(node, 0, sequence)
        count, number = node.size("num_layers"), sequence.stage
        if count > _MAXIMUM_LAYERS:
            node.refuse(f"more than {_MAXIMUM_LAYERS} layers")
        hidden_size, dropout = node.size("state_size"), node.probability("p", "0")
        vector, width = self._parameter(node, 1), self.stages[number].width
        for layer in range(count):
            if layer > 0:
                number = self._enter_dropout(number, dropout)
            parameters = FusedParameters(vector, layer, count, width)
            number = self._layer(node, number, kind, hidden_size, parameters)
        return _Sequence(number, sequence.swapped)

    def _check_fused(self, node: Node) -> None:
        if node.flag("bidirectional"):
            node.refuse("bidirectional models cannot be imported")
        extras = ("projection_size", "lstm_state_clip_min", "lstm_state_clip_max")
        if any(node.text(key, "None") != "None" for key in extras) or node.flag("use_sequence_length"):
            node.refuse("projections, clipped states and sequence lengths cannot be imported")
        states = self._operands(node)[2:]
        if not all(isinstance(each, _Zeros) for each in states):
            self._refuse(node, "states must start from zeros", *states)
