"""Lower bounds for the memory of a model, computed from its options before anything is allocated.

Every figure is in bytes and a lower bound: a model that it refuses cannot fit.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from recurlm.capacity import check_fits
from recurlm.config import (
    MixtureOutput,
    ModelOptions,
    Recipe,
    SampledOutput,
    SentenceBatches,
    SoftmaxOutput,
    StreamBatches,
)
from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel

NUMBER = 4
"""Bytes of a float32."""

OPTIMIZER_COPIES = {"adam": 2, "adamw": 2, "rmsprop": 1, "muon": 1, "sgd": 0}
"""Least number of values that an optimizer keeps for each weight."""

SMALLER = "use smaller model.hidden_sizes, model.embedding_size or a smaller vocabulary (text.maximum_size)"
FEWER = "use a smaller batches.batch_size or shorter batches.bptt or batches.buckets"


class _WithoutInitialValues(TorchFunctionMode):
    """Skips torch's own initialization, which on the meta device loads a compiler and takes seconds."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", None) == "torch.nn.init":
            return args[0] if args else next(iter((kwargs or {}).values()))
        return function(*args, **(kwargs or {}))


@lru_cache(8)
def model_shapes(options: ModelOptions, vocabulary_size: int) -> Mapping[str, tuple[int, ...]]:
    """The shape of each tensor of `LanguageModel.weights`, without allocating any."""
    weights = _unallocated(options, vocabulary_size).weights()
    return MappingProxyType({name: tuple(tensor.shape) for name, tensor in weights.items()})


def state_bytes(options: ModelOptions, vocabulary_size: int) -> int:
    """Bytes of the tensors that a model carries from token to token, the whole memory of one text."""
    state = _unallocated(options, vocabulary_size).initial_state(1)
    return sum(tensor.numel() * tensor.element_size() for layer in state for tensor in layer)


def _unallocated(options: ModelOptions, vocabulary_size: int) -> LanguageModel:
    """A model whose tensors have shapes but no memory."""
    if isinstance(
        options.output, SampledOutput
    ):  # the weights are the same, and the tables of the sampler are not needed
        options = options.model_copy(update={"output": SoftmaxOutput()})
    with torch.device("meta"), _WithoutInitialValues():
        return LanguageModel(options, vocabulary_size)


def estimate_memory(options: ModelOptions, vocabulary_size: int) -> int:
    """Memory of a model's weights, in bytes."""
    return NUMBER * sum(map(math.prod, model_shapes(options, vocabulary_size).values()))


def estimate_training_memory(recipe: Recipe, vocabulary_size: int, tokens: int, processes: int = 1) -> int:
    """Least memory of training, in bytes: weights, gradients, the optimizer's copies, an average, and one step.

    tokens: length of the training text, which limits the positions in a batch · processes: those on this machine; they
    share the step, and each has everything else, and a message with its gradients.
    """
    momentum = getattr(recipe.optimizer, "momentum", 0) and recipe.optimizer.kind in ("sgd", "rmsprop")
    copies = 2 + OPTIMIZER_COPIES[recipe.optimizer.kind] + bool(momentum) + (recipe.average.kind != "none")
    copies += processes > 1
    weights = estimate_memory(recipe.model, vocabulary_size)
    return processes * copies * weights + estimate_step_memory(recipe, tokens)


def estimate_step_memory(recipe: Recipe, tokens: int) -> int:
    """Memory that one step keeps for its gradient, in bytes: embeddings, and outputs and gates of each layer."""
    options = recipe.model
    numbers = options.embedding_size + 2 * sum(options.hidden_sizes)
    if isinstance(options.output, MixtureOutput):
        numbers += options.output.experts * options.embedding_size
    return NUMBER * _positions(recipe.batches, tokens) * numbers


def check_model_fits(options: ModelOptions, vocabulary_size: int, place: str) -> None:
    """Raises InputError naming `place` if a model's weights are larger than the machine's memory."""
    check_fits(estimate_memory(options, vocabulary_size), f"{place}: the model", SMALLER, error=InputError)


def check_training_fits(recipe: Recipe, vocabulary_size: int, tokens: int, processes: int = 1) -> None:
    """Raises InputError if training a model, in `processes` on this machine, needs more memory than the machine has."""
    step = estimate_step_memory(recipe, tokens)
    check_fits(step, "one training step", FEWER, error=InputError)
    states = NUMBER * recipe.validation.columns * 2 * sum(recipe.model.hidden_sizes)
    together = f" in {processes} processes" if processes > 1 else ""
    check_fits(states, "validation", "use fewer validation.columns", error=InputError)
    check_fits(
        estimate_training_memory(recipe, vocabulary_size, tokens, processes),
        f"training a model of {estimate_memory(recipe.model, vocabulary_size) // NUMBER:,} parameters{together}",
        SMALLER,
        error=InputError,
    )


def _positions(batches: StreamBatches | SentenceBatches, tokens: int) -> int:
    """Least number of positions in a batch that the text can fill."""
    if isinstance(batches, StreamBatches):
        rows = -(-tokens // batches.batch_size)
        return batches.batch_size * min(batches.bptt, rows)
    if batches.buckets == "auto":
        return min(batches.batch_size, tokens)
    return min(batches.batch_size * batches.buckets[0], tokens)
