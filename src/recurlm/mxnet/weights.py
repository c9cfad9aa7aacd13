"""Converts the arrays of a language model from any packing of a ``.params`` file, and back.

Gates are stacked along the rows in one order: LSTM input, forget, candidate, output; GRU reset, update,
candidate; the same as PyTorch's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.mxnet.architecture import (
    GATE_SUFFIXES,
    Architecture,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
)
from recurlm.mxnet.params import BFLOAT16

Array = NDArray[Any]
Params = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer: weight_ih (G·H, I), weight_hh (G·H, H), bias_ih (G·H), bias_hh (G·H)."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """A whole model: embedding (V, E), layers, decoder_weight (V, H), decoder_bias (V) or None."""

    embedding: Array
    layers: tuple[LayerWeights, ...]
    decoder_weight: Array
    decoder_bias: Array | None


def layer_weights(architecture: Architecture, params: Params) -> list[LayerWeights]:
    """The arrays of each layer, from packed, unpacked, or fused parameters; views where nothing has to be stacked.

    Raises InputError for a parameter that is missing or has another shape than the graph says.
    """
    return [_layer(layer, params) for layer in architecture.layers]


def model_weights(architecture: Architecture, params: Params) -> ModelWeights:
    """All of a model's arrays. Raises InputError as ``layer_weights`` does."""
    embedding, decoder = architecture.embedding, architecture.decoder
    words = decoder.vocabulary_size
    return ModelWeights(
        _array(params, embedding.weight, (embedding.input_dim, embedding.output_dim)),
        tuple(layer_weights(architecture, params)),
        _array(params, decoder.weight, (words, decoder.input_size)),
        None if decoder.bias is None else _array(params, decoder.bias, (words,)),
    )


def unused_params(architecture: Architecture, params: Params) -> list[str]:
    """The names in the file that the graph does not use."""
    embedding, decoder = architecture.embedding, architecture.decoder
    used = {embedding.weight, decoder.weight, decoder.bias}
    for layer in architecture.layers:
        match _parameters(layer, params):
            case FusedParameters(vector):
                used.add(vector)
            case PackedParameters() as names:
                used.update(*(_stored(params, name, layer) for name in _each(names)))
    return [name for name in params if name.removeprefix("arg:") not in used]


def model_params(architecture: Architecture, weights: ModelWeights) -> dict[str, Array]:
    """The arrays of a ``.params`` file, packed or fused as the architecture names them."""
    params = {architecture.embedding.weight: weights.embedding}
    fused: dict[str, dict[int, LayerWeights]] = {}
    for layer, arrays in zip(architecture.layers, weights.layers, strict=True):
        match layer.parameters:
            case FusedParameters(vector, number):
                fused.setdefault(vector, {})[number] = arrays
            case PackedParameters() as names:
                params |= dict(zip(_each(names), _arrays(arrays), strict=True))
    params |= {vector: _fuse(list(layers.values())) for vector, layers in fused.items()}
    params[architecture.decoder.weight] = weights.decoder_weight
    if architecture.decoder.bias is not None and weights.decoder_bias is not None:
        params[architecture.decoder.bias] = weights.decoder_bias
    return {_key(name): array for name, array in params.items()}


def _layer(layer: RecurrentLayer, params: Params) -> LayerWeights:
    names = _parameters(layer, params)
    if isinstance(names, FusedParameters):
        return _unfused(layer, names, params)
    rows = layer.gates * layer.hidden_size
    shapes = ((rows, layer.input_size), (rows, layer.hidden_size), (rows,), (rows,))
    return LayerWeights(
        *(_stacked(params, name, shape, layer) for name, shape in zip(_each(names), shapes, strict=True))
    )


def _parameters(layer: RecurrentLayer, params: Params) -> PackedParameters | FusedParameters:
    """The form of the layer in the file; a missing vector was unpacked by ``save_rnn_checkpoint``."""
    parameters = layer.parameters
    if isinstance(parameters, PackedParameters) or _key(parameters.vector) in params:
        return parameters
    prefix = f"{parameters.vector.removesuffix('parameters')}l{parameters.layer}_"
    parts = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")
    names = PackedParameters(*(prefix + part for part in parts))
    stored = _stored(params, names.input_weight, layer)
    return names if _key(stored[0]) in params else parameters


def _each(names: PackedParameters) -> tuple[str, str, str, str]:
    return names.input_weight, names.recurrent_weight, names.input_bias, names.recurrent_bias


def _arrays(weights: LayerWeights) -> tuple[Array, Array, Array, Array]:
    return weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh


def _stored(params: Params, name: str, layer: RecurrentLayer) -> tuple[str, ...]:
    """The names of a packed array in the file: its own, or those of its gates."""
    stem, separator, part = name.rpartition("_")
    gates = tuple(f"{stem}{gate}{separator}{part}" for gate in GATE_SUFFIXES[layer.kind])
    return (name,) if _key(name) in params or _key(gates[0]) not in params else gates


def _stacked(params: Params, name: str, shape: tuple[int, ...], layer: RecurrentLayer) -> Array:
    stored = _stored(params, name, layer)
    if len(stored) == 1:
        return _array(params, stored[0], shape)
    gate_shape = (layer.hidden_size, *shape[1:])
    return np.concatenate([_array(params, gate, gate_shape) for gate in stored])


def _unfused(layer: RecurrentLayer, fused: FusedParameters, params: Params) -> LayerWeights:
    hidden, rows = layer.hidden_size, layer.gates * layer.hidden_size
    inputs = [fused.input_size, *[hidden] * (fused.layer_count - 1)]
    weight_sizes = [rows * (size + hidden) for size in inputs]
    vector = _array(params, fused.vector, (sum(weight_sizes) + 2 * rows * fused.layer_count,))
    start = sum(weight_sizes[: fused.layer])
    middle, end = start + rows * layer.input_size, start + weight_sizes[fused.layer]
    bias = sum(weight_sizes) + 2 * rows * fused.layer
    return LayerWeights(
        vector[start:middle].reshape(rows, layer.input_size),
        vector[middle:end].reshape(rows, hidden),
        vector[bias : bias + rows],
        vector[bias + rows : bias + 2 * rows],
    )


def _fuse(layers: list[LayerWeights]) -> Array:
    weights = [array.reshape(-1) for layer in layers for array in (layer.weight_ih, layer.weight_hh)]
    biases = [array for layer in layers for array in (layer.bias_ih, layer.bias_hh)]
    return np.concatenate(weights + biases)


def _key(name: str) -> str:
    return f"arg:{name}"


def _array(params: Params, name: str, shape: tuple[int, ...]) -> Array:
    array = params.get(_key(name))
    if array is None:
        raise InputError(f"parameter {name!r}, which the graph names, is not in the parameter file")
    if array.shape != shape:
        raise InputError(f"parameter {name!r}: shape {array.shape} found, {shape} expected by the graph")
    if array.dtype != BFLOAT16 and not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"parameter {name!r}: type {array.dtype} found, floating-point numbers expected")
    return array
