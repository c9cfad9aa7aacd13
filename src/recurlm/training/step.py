"""The arithmetic of one step: forward, loss, backward, into the weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.config import Training
from recurlm.devices import autocast
from recurlm.errors import RecurlmError
from recurlm.kernels.embedding import add_row_gradients, looked_up
from recurlm.models.language_model import LanguageModel
from recurlm.models.state import LayerStates, detach
from recurlm.text.batching import IGNORED, Batch
from recurlm.training.penalties import minimised, output_penalty


class DivergedError(RecurlmError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class StepResult:
    """What one step measured: nats over the tokens that perplexity counts, and the loss that was minimised.

    losses: nats of every position (T, B), zero where the loss does not look.
    """

    nats: float
    tokens: int
    loss: float
    losses: Tensor


def train_step(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: LayerStates,
    options: Training,
    precision: str,
) -> tuple[StepResult, LayerStates]:
    """One batch forward, backward and into the weights; returns what it measured and the state to carry on.

    Raises DivergedError before the weights are touched where the loss is not finite.
    """
    # the loss computes gradients on the way: those of the last step must be gone by then
    optimizer.zero_grad(set_to_none=True)
    embedded = looked_up(model.embedding.weight, batch.input)
    with autocast(precision, model.device):
        raw, hidden, state = model.outputs(embedded, batch.input, state)
        total, losses = model.decoder.training_losses(hidden, batch.target)
    # a batch of empty lines whose first word is given has nothing to predict
    targets = max(int((batch.target != IGNORED).sum()), 1)
    penalty = output_penalty(raw, hidden, options)
    loss = minimised(total, penalty, targets, batch.columns if options.loss == "sequence" else targets)
    value = loss.item()
    if not math.isfinite(value):
        raise DivergedError(f"the loss is {value}")
    loss.backward()  # type: ignore[no-untyped-call]
    add_row_gradients(model.embedding.weight, batch.input, embedded)
    if options.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
    optimizer.step()
    counted = losses[batch.counted]
    result = StepResult(counted.double().sum().item(), counted.numel(), value, losses)
    return result, detach(state)
