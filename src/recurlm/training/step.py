"""The arithmetic of one step: forward, loss, backward, update of the weights."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recurlm.config import Training
from recurlm.devices import autocast
from recurlm.distributed import Team
from recurlm.errors import RecurlmError
from recurlm.kernels.embedding import add_row_gradients, looked_up
from recurlm.models.dropout import KeptColumns, keeping_columns
from recurlm.models.language_model import LanguageModel
from recurlm.models.state import LayerStates, detach, map_state
from recurlm.text.batching import IGNORED, Batch
from recurlm.training.gradients import summing_gradients
from recurlm.training.penalties import Shares, minimized, output_penalty


class DivergedError(RecurlmError):
    """The loss or a weight is not finite."""


@dataclass(frozen=True)
class Learner:
    """A model with its optimizer, the options of its steps and the precision of its products (`fp32` or `bf16`).

    team: the processes that take each step together.
    """

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    options: Training
    precision: str
    team: Team = field(default_factory=Team)


@dataclass(frozen=True)
class Forward:
    """A batch read forward.

    loss: scalar to minimize; of a part of a batch, what the part contributes to it · losses: nats of every position
    (T, B), zero where the target is ignored · embedded: (T, B, E) · state: after the batch.
    """

    loss: Tensor
    losses: Tensor
    embedded: Tensor
    state: LayerStates


@dataclass(frozen=True)
class StepResult:
    """What one step measured: nats over the tokens that perplexity counts, and the loss that was minimized.

    All of them are those of the whole batch, except for losses: nats of every position (T, B) that this process read,
    zero where the target is ignored.
    """

    nats: float
    tokens: int
    loss: float
    losses: Tensor


def train_step(learner: Learner, batch: Batch, state: LayerStates) -> tuple[StepResult, LayerStates]:
    """Trains on one batch; returns what the step measured and the state to carry on.

    Raises DivergedError, before the weights change, if the loss is not finite.
    """
    forward = forward_loss(learner, batch, state)
    own = forward.losses[batch.counted].double().sum()
    value, nats = learner.team.sum([forward.loss.item(), own.item()])
    if not math.isfinite(value):
        raise DivergedError(f"the loss is {value}")
    backward(learner, batch, forward)
    learner.optimizer.step()
    result = StepResult(nats, int(batch.whole.counted.sum()), value, forward.losses)
    return result, _carried(batch, forward.state)


def forward_loss(learner: Learner, batch: Batch, state: LayerStates, *, synchronous: bool = True) -> Forward:
    """Reads a batch forward up to the loss. Without `synchronous`, the host reads no value from the device."""
    model, options = learner.model, learner.options
    # the loss computes gradients on the way, so those of the last step are removed before it
    learner.optimizer.zero_grad(set_to_none=True)
    embedded = looked_up(model.embedding.weight, batch.input)
    with autocast(learner.precision, model.device), keeping_columns(_kept_columns(batch)):
        raw, hidden, state = model.outputs(embedded, batch.input, state, batch.restarts)
        total, losses = model.decoder.training_losses(hidden, batch.target, skip_ignored=synchronous)
    targets = _count_targets(batch.whole.target, synchronous)
    penalty = output_penalty(raw, hidden, options, batch.restarts, Shares.of(batch))
    loss = minimized(total, penalty, targets, batch.whole.columns if options.loss == "sequence" else targets)
    return Forward(loss, losses, embedded, state)


def backward(learner: Learner, batch: Batch, forward: Forward) -> None:
    """Computes the gradients of the loss of the whole batch and clips their norm."""
    if batch.part is None:
        forward.loss.backward()  # type: ignore[no-untyped-call]
        add_row_gradients(learner.model.embedding.weight, batch.input, forward.embedded)
    else:
        with summing_gradients(learner.team, learner.model, batch, forward.embedded):
            forward.loss.backward()  # type: ignore[no-untyped-call]
    if learner.options.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(learner.model.parameters(), learner.options.clip_norm)


def _kept_columns(batch: Batch) -> KeptColumns | None:
    if batch.part is None:
        return None
    return KeptColumns(batch.part.first, batch.columns, batch.whole.columns)


def _carried(batch: Batch, state: LayerStates) -> LayerStates:
    """The state to carry on; that of no column where this process read one only to draw as the others do."""
    own = batch.columns if batch.part is None else batch.part.columns
    return map_state(lambda tensor: tensor[:own], detach(state))


def _count_targets(target: Tensor, synchronous: bool) -> Tensor | int:
    """The number of targets, at least 1: a batch of empty lines whose first word is given has none."""
    number = (target != IGNORED).sum()
    return max(int(number), 1) if synchronous else number.clamp(min=1)
