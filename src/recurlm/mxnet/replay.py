"""Repeats MXNet's training batch by batch from a recording, to compare the numbers.

A recording is a folder: ``model-symbol.json``, ``model-0000.params`` (before), ``model-0001.params`` (after),
``batches.npz`` (the ids (B, T) of every batch in order), ``evaluated.npz`` (batches of a second text) and
``truth.json`` (the learning rate and so on, perplexities, log-probabilities).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurlm.config import ModelOptions, Training
from recurlm.documents import parse_json_object
from recurlm.evaluation.protocols import SMALLEST_MXNET_PROBABILITY
from recurlm.evaluation.token_losses import token_losses
from recurlm.files import read_bounded
from recurlm.models.language_model import LanguageModel
from recurlm.mxnet.architecture import Architecture
from recurlm.mxnet.conversion import model_tensors, model_values, parameter_names
from recurlm.mxnet.importing import params_path, symbol_path
from recurlm.mxnet.params import read_params
from recurlm.mxnet.symbol import read_symbol
from recurlm.mxnet.weights import model_weights
from recurlm.text.batching import Batch
from recurlm.training.step import Learner, train_step

PADDING_ID = 0
WEIGHT_DECAY = 1e-5
DECAYED_SUFFIXES = ("_weight", "_gamma")
BEFORE, AFTER = 0, 1


@dataclass(frozen=True)
class Differences:
    """The largest difference of each kind between MXNet's numbers and those computed here.

    perplexity: relative, of the cumulative perplexity after every batch · weights: absolute, after the last batch ·
    logprobs: absolute, nats, of the scored sentences under MXNet's final weights · evaluated: relative, of the
    second text's perplexity under the same.
    """

    perplexity: float
    weights: float
    logprobs: float
    evaluated: float


class MXNetPerplexity:
    """``mx.metric.Perplexity(0)``: probabilities of at least 1e-10, where the label is not 0, since the start."""

    def __init__(self) -> None:
        self.nats, self.tokens = 0.0, 0

    def add(self, losses: Tensor, counted: Tensor) -> float:
        """Adds a batch's losses (T, B) where ``counted`` (T, B) is true; returns the perplexity so far."""
        kept = losses[counted].double().clamp(max=-math.log(SMALLEST_MXNET_PROBABILITY))
        self.nats += kept.sum().item()
        self.tokens += kept.numel()
        return math.exp(self.nats / self.tokens)


def compare_with_recording(folder: Path, model: LanguageModel | None = None) -> Differences:
    """Replays a recording in float32 and measures the differences from MXNet.

    ``model``, if given, is trained in place of the recorded initial model, to see the effect of other initial weights.
    """
    truth = parse_json_object(read_bounded(folder / "truth.json"), str(folder / "truth.json"))
    model, after = model or recorded_model(folder, BEFORE), recorded_model(folder, AFTER)
    perplexities = replay(model, folder, truth["args"])
    recorded = after.weights()
    evaluated = evaluate(after, recorded_batches(folder / "evaluated.npz"))
    return Differences(
        perplexity=_largest_relative(perplexities, truth["perplexity_after_batch"]),
        weights=max(float((tensor - recorded[name]).abs().max()) for name, tensor in model.weights().items()),
        logprobs=max(_logprob_difference(after, sentence) for sentence in truth["scored_by_0001"]),
        evaluated=_largest_relative([evaluated], [truth["evaluated"]["perplexity"]]),
    )


def recorded_model(folder: Path, epoch: int) -> LanguageModel:
    """The recording's model before or after training, with MXNet's weights."""
    prefix = str(folder / "model")
    architecture = read_symbol(symbol_path(prefix))
    weights = model_weights(architecture, read_params(params_path(prefix, epoch)))
    options = ModelOptions.model_validate_json(json.dumps(model_values(architecture)))
    model = LanguageModel(options, architecture.embedding.input_dim)
    model.load_weights(model_tensors(architecture, weights))
    return model


def recorded_batches(path: Path) -> Iterator[Batch]:
    """The batches of ``mx.rnn.BucketSentenceIter``: labels shifted left; padding trains but is not counted."""
    with np.load(path, allow_pickle=False) as arrays:
        for name in sorted(arrays.files):
            data = arrays[name].astype(np.int64).T
            label = np.full_like(data, PADDING_ID)
            label[:-1] = data[1:]
            input_, target = torch.from_numpy(data.copy()), torch.from_numpy(label)
            yield Batch(input_, target, target != PADDING_ID, sentences=data.shape[1], carried=False)


def replay(model: LanguageModel, folder: Path, arguments: Mapping[str, Any]) -> list[float]:
    """Trains the model on the recorded batches; returns MXNet's cumulative perplexity after each batch.

    The loss is the sum over time and mean over the batch, padding included.
    """
    architecture = read_symbol(symbol_path(str(folder / "model")))
    optimizer = _sgd(model, architecture, arguments["lr"], arguments["momentum"])
    learner = Learner(model, optimizer, Training(loss="sequence", precision="fp32"), "fp32")
    metric, perplexities = MXNetPerplexity(), []
    for batch in recorded_batches(folder / "batches.npz"):
        result, _ = train_step(learner, batch, model.initial_state(batch.columns))
        perplexities.append(metric.add(result.losses, batch.counted))
    return perplexities


def evaluate(model: LanguageModel, batches: Iterable[Batch]) -> float:
    """MXNet's perplexity of these batches."""
    metric, perplexity = MXNetPerplexity(), math.nan
    for batch in batches:
        losses, _ = token_losses(model, batch.input, batch.target, model.initial_state(batch.columns))
        perplexity = metric.add(losses, batch.counted)
    return perplexity


def _sgd(model: LanguageModel, architecture: Architecture, rate: float, momentum: float) -> torch.optim.Optimizer:
    """SGD that decays the parameters that MXNet decays: it chooses by name, so never the vector of a fused cell."""
    names = parameter_names(architecture)
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[names[name].endswith(DECAYED_SUFFIXES)].append(parameter)
    decays = [{"params": groups[decayed], "weight_decay": WEIGHT_DECAY * decayed} for decayed in (True, False)]
    return torch.optim.SGD(decays, rate, momentum=momentum)


def _logprob_difference(model: LanguageModel, sentence: Mapping[str, Any]) -> float:
    ids = torch.tensor(sentence["ids"])[:, None]
    losses, _ = token_losses(model, ids[:-1], ids[1:], model.initial_state(1))
    return float((losses[:, 0] + torch.tensor(sentence["logprob_of_next"])).abs().max())


def _largest_relative(found: list[float], expected: list[float]) -> float:
    return max(abs(one - other) / other for one, other in zip(found, expected, strict=True))
