"""Between MXNet's description of a model and this program's: options and named tensors."""

from typing import Any

import torch
from torch import Tensor

from recurlm.bridges.mxnet.architecture import (
    Architecture,
    CellKind,
    Decoder,
    EmbeddingNode,
    FusedParameters,
    PackedParameters,
    RecurrentLayer,
)
from recurlm.bridges.mxnet.params import BFLOAT16
from recurlm.bridges.mxnet.weights import Array, LayerWeights, ModelWeights
from recurlm.config import ModelOptions
from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel

CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_EMBEDDING, _DECODER, _BIAS = "embed_weight", "pred_weight", "pred_bias"


def model_values(architecture: Architecture) -> dict[str, Any]:
    """A recipe's model section for an architecture.

    Raises InputError, naming the parameter of the layer, for what a stack of one kind of cell with one
    dropout between its layers cannot hold.
    """
    _check_same_kind(architecture)
    _check_own_weights(architecture)
    first, *others = architecture.layers
    return {
        "cell": first.kind,
        "embedding_size": architecture.embedding.output_dim,
        "hidden_sizes": [layer.hidden_size for layer in architecture.layers],
        "tied": architecture.tied,
        "residual": _residual(architecture),
        "decoder_bias": architecture.decoder.bias is not None,
        "dropout": {
            "input": first.dropout_before,
            "between": _between(others),
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
    """Which MXNet parameter each weight of ``LanguageModel.weights`` is, or is a part of."""
    names = {"embedding.weight": architecture.embedding.weight}
    for number, layer in enumerate(architecture.layers):
        names |= {f"{_layer(number)}.{name}": own for name, own in zip(CELL_WEIGHTS, _names(layer), strict=True)}
    if not architecture.tied:
        names["decoder.weight"] = architecture.decoder.weight
    if architecture.decoder.bias is not None:
        names["decoder.bias"] = architecture.decoder.bias
    return names


def architecture_of(options: ModelOptions, vocabulary_size: int) -> Architecture:
    """The architecture of a model as MXNet names one: packed cells ``lstm_l0_`` and so on."""
    sizes = (options.embedding_size, *options.hidden_sizes)
    dropout = options.dropout
    layers = tuple(
        RecurrentLayer(
            options.cell,
            below,
            above,
            _packed(options.cell, number),
            residual=options.residual and below == above,
            dropout_before=dropout.between if number else dropout.input,
        )
        for number, (below, above) in enumerate(zip(sizes, options.hidden_sizes, strict=False))
    )
    weight = _EMBEDDING if options.tied else _DECODER
    bias = _BIAS if options.decoder_bias else None
    return Architecture(
        EmbeddingNode(_EMBEDDING, vocabulary_size, options.embedding_size),
        layers,
        Decoder(weight, bias, sizes[-1], vocabulary_size, dropout.output),
    )


def weights_of(model: LanguageModel) -> ModelWeights:
    """A model's weights as arrays."""
    layers = tuple(LayerWeights(*(_array(getattr(cell, name)) for name in CELL_WEIGHTS)) for cell in model.stack.cells)
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


def _check_same_kind(architecture: Architecture) -> None:
    first = architecture.layers[0]
    for layer in architecture.layers:
        if layer.kind != first.kind:
            _refuse(layer, f"a {layer.kind} layer over a {first.kind} layer; all layers must be of one kind")


def _check_own_weights(architecture: Architecture) -> None:
    seen: set[object] = set()
    for layer in architecture.layers:
        if layer.parameters in seen:
            _refuse(layer, "two layers share it; each layer must have weights of its own")
        seen.add(layer.parameters)


def _residual(architecture: Architecture) -> bool:
    """Whether residual connections stand everywhere or nowhere that sizes agree."""
    fitting = [layer for layer in architecture.layers if layer.input_size == layer.hidden_size]
    wanted = any(layer.residual for layer in fitting)
    for layer in fitting:
        if layer.residual != wanted:
            _refuse(
                layer,
                "no residual connection around this layer, though another has one; they must stand around every layer "
                "whose input and output have one size, or around none",
            )
    return wanted


def _between(layers: list[RecurrentLayer]) -> float:
    for layer in layers:
        if layer.dropout_before != layers[0].dropout_before:
            _refuse(
                layer,
                f"dropout {layer.dropout_before:g} below this layer and {layers[0].dropout_before:g} below another; "
                "between layers it must be the same everywhere",
            )
    return layers[0].dropout_before if layers else 0.0


def _refuse(layer: RecurrentLayer, reason: str) -> None:
    raise InputError(f"node {_names(layer)[0]!r}: {reason}")


def _tensor(array: Array, *, widen: bool) -> Tensor:
    if array.dtype == BFLOAT16:
        bits = torch.from_numpy(array["bfloat16"].copy().view("<i2"))
        tensor = bits.view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    return tensor.float() if widen or tensor.dtype == torch.float64 else tensor


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().float().numpy()
