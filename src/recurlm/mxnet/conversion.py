"""Converts between MXNet's description of a model and this program's options and named tensors."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from recurlm.config import CellKind, ModelOptions
from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel
from recurlm.models.outputs import Softmax
from recurlm.mxnet.architecture import (
    GATE_SUFFIXES,
    Architecture,
    Decoder,
    EmbeddingNode,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
)
from recurlm.mxnet.params import BFLOAT16
from recurlm.mxnet.weights import Array, LayerWeights, ModelWeights

CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_Value = TypeVar("_Value")
_EMBEDDING, _DECODER, _BIAS = "embed_weight", "pred_weight", "pred_bias"


def model_values(architecture: Architecture) -> dict[str, Any]:
    """The model section of a recipe for an architecture.

    Raises InputError, naming the parameter of the layer, where layers share weights with each other.
    """
    _check_own_weights(architecture)
    layers = architecture.layers
    first, *others = layers
    return {
        "cell": _one_or_several([layer.kind for layer in layers]),
        "embedding_size": architecture.embedding.output_dim,
        "hidden_sizes": [layer.hidden_size for layer in layers],
        "tied": architecture.tied,
        "residual": _residual(layers),
        "decoder_bias": architecture.decoder.bias is not None,
        "dropout": {
            "input": first.dropout_before,
            "between": _one_or_several([layer.dropout_before for layer in others]) if others else 0.0,
            "output": architecture.decoder.dropout_before,
            "locked": False,
        },
    }


def model_tensors(architecture: Architecture, weights: ModelWeights, *, widen: bool = True) -> dict[str, Tensor]:
    """The weights in the form of ``LanguageModel.weights``; float64 becomes float32.

    ``widen`` makes float16 and bfloat16 float32 too. Raises InputError for numbers that are not finite.
    """
    arrays = {"embedding.weight": weights.embedding}
    for number, layer in enumerate(weights.layers):
        arrays |= {f"{_layer(number)}.{name}": getattr(layer, name) for name in CELL_WEIGHTS}
    if not architecture.tied:
        arrays["decoder.weight"] = weights.decoder_weight
    if weights.decoder_bias is not None:
        arrays["decoder.bias"] = weights.decoder_bias
    tensors = {name: _tensor(array, widen=widen) for name, array in arrays.items()}
    names = parameter_names(architecture)
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"parameter {names[name]!r}: holds numbers that are not finite")
    return tensors


def parameter_names(architecture: Architecture) -> dict[str, str]:
    """For each weight of ``LanguageModel.weights``, the MXNet parameter that it is or belongs to."""
    names = {"embedding.weight": architecture.embedding.weight}
    for number, layer in enumerate(architecture.layers):
        names |= {f"{_layer(number)}.{name}": own for name, own in zip(CELL_WEIGHTS, _names(layer), strict=True)}
    if not architecture.tied:
        names["decoder.weight"] = architecture.decoder.weight
    if architecture.decoder.bias is not None:
        names["decoder.bias"] = architecture.decoder.bias
    return names


def architecture_of(options: ModelOptions, vocabulary_size: int) -> Architecture:
    """The architecture of a model under MXNet's usual names: packed cells ``lstm_l0_`` and so on.

    Raises InputError for what MXNet has no operator for.
    """
    _refuse(options)
    dropouts = (options.dropout.input, *options.dropouts_between)
    each = zip(options.cells, options.layer_sizes, options.residuals, dropouts, strict=True)
    layers = tuple(
        RecurrentLayer(kind, below, above, _packed(kind, number), residual, dropout)
        for number, (kind, (below, above), residual, dropout) in enumerate(each)
    )
    weight = _EMBEDDING if options.tied else _DECODER
    bias = _BIAS if options.decoder_bias else None
    return Architecture(
        EmbeddingNode(_EMBEDDING, vocabulary_size, options.embedding_size),
        layers,
        Decoder(weight, bias, options.hidden_sizes[-1], vocabulary_size, options.dropout.output),
    )


def _refuse(options: ModelOptions) -> None:
    for kind in options.cells:
        if kind not in GATE_SUFFIXES:
            raise InputError(f"MXNet has no cell of kind {kind!r}, so this model cannot be exported")
    if options.input_gate != "free":
        raise InputError(f"MXNet's LSTM has no {options.input_gate} input gate, so this model cannot be exported")
    if options.skip:
        raise InputError("model.skip, the sum of all layers' outputs, is not written for MXNet; train without it")
    if options.output.kind not in ("softmax", "sampled"):
        raise InputError(f"MXNet's models have one softmax, and this one has model.output.kind {options.output.kind}")


def weights_of(model: LanguageModel) -> ModelWeights:
    """The weights of a model as arrays."""
    layers = tuple(LayerWeights(*(_array(getattr(cell, name)) for name in CELL_WEIGHTS)) for cell in model.stack.cells)
    assert isinstance(model.decoder, Softmax), "architecture_of refuses the others"
    bias = model.decoder.bias
    return ModelWeights(
        _array(model.embedding.weight), layers, _array(model.decoder.weight), None if bias is None else _array(bias)
    )


def _layer(number: int) -> str:
    return f"stack.layers.{number}"


def _packed(kind: CellKind, number: int) -> PackedParameters:
    prefix = f"{kind}_l{number}_"
    return PackedParameters(*(prefix + part for part in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias")))


def _names(layer: RecurrentLayer) -> tuple[str, str, str, str]:
    match layer.parameters:
        case FusedParameters(vector):
            return vector, vector, vector, vector
        case PackedParameters(input_weight, recurrent_weight, input_bias, recurrent_bias):
            return input_weight, recurrent_weight, input_bias, recurrent_bias


def _check_own_weights(architecture: Architecture) -> None:
    seen: set[tuple[str, int]] = set()
    for layer in architecture.layers:
        # fused layers follow one another in one vector
        place = layer.parameters.layer if isinstance(layer.parameters, FusedParameters) else 0
        parts = [(name, place) for name in _names(layer)]
        for part in parts:
            if part in seen:
                raise InputError(f"node {part[0]!r}: two layers share it; each layer must have weights of its own")
        seen.update(parts)


def _residual(layers: Sequence[RecurrentLayer]) -> bool | list[bool]:
    """One value where all layers of equal input and output size agree on residual sums, else one per layer."""
    fitting = {layer.residual for layer in layers if layer.input_size == layer.hidden_size}
    return any(fitting) if len(fitting) < 2 else [layer.residual for layer in layers]


def _one_or_several(values: list[_Value]) -> _Value | list[_Value]:
    """The value that all layers share, or one value per layer."""
    return values[0] if len(set(values)) == 1 else values


def _tensor(array: Array, *, widen: bool) -> Tensor:
    if array.dtype == BFLOAT16:
        bits = torch.from_numpy(array["bfloat16"].copy().view("<i2"))
        tensor = bits.view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return tensor.float() if widen or tensor.dtype == torch.float64 else tensor


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().float().numpy()
