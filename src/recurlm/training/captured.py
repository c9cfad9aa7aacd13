"""Training steps on a GPU: a CUDA graph for each shape of batch, as MXNet's bucketing has an executor for each length.

A step of a small model is hundreds of short kernels, and starting them one after the other takes longer than they run.
A graph starts them at once. All graphs share the weights, the optimizer's memory, the carried state and one pool of
working memory; a batch is copied into the graph's own input and the graph runs again.

A graph asks the host nothing, so whatever depends on values stays on the device: the rate, the norm of the gradient,
what was counted, and whether the loss is a number.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from recurlm.config import Training
from recurlm.devices import autocast
from recurlm.kernels.embedding import add_row_gradients, looked_up
from recurlm.models.language_model import LanguageModel
from recurlm.models.state import LayerStates, detach
from recurlm.text.batching import IGNORED, Batch
from recurlm.training.optimizers import MuonWithAdamW
from recurlm.training.penalties import minimised, output_penalty

WARM_UP_STEPS = 2
MOST_GRAPHS = 64

Work = Callable[[], None]
Shape = tuple[int, ...]


class Tally:
    """Nats, tokens and good steps since somebody looked, and the last loss: `values`, float64 (4,), on the device.

    A loss that is not finite stays, and no step after it is good.
    """

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(4, dtype=torch.float64, device=device)
        self._nats, self._tokens, self._good_steps, self._loss = self.values.unbind()

    def add(self, loss: Tensor, losses: Tensor, counted: Tensor) -> Tensor:
        """Count a step: its loss, and of its losses (T, B) those `counted`; returns whether it is good."""
        self._loss.copy_(loss.where(self._loss.isfinite(), self._loss))
        good = self._loss.isfinite()
        self._good_steps.add_(good)
        self._nats.add_(losses.masked_fill(~counted, 0).sum(dtype=torch.float64))
        self._tokens.add_(counted.sum())
        return good

    def take(self) -> Tensor:
        """A copy of the values, for which nobody waits; counting begins anew."""
        taken = self.values.clone()
        self.values.zero_()
        return taken


def device_step(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    state: LayerStates,
    options: Training,
    precision: str,
    tally: Tally,
) -> LayerStates:
    """`train_step` without a question to the device; returns the state to carry on.

    Where the loss is not finite, now or earlier, the step comes to nothing: the tally tells, and nothing is raised.
    """
    optimizer.zero_grad(set_to_none=True)
    embedded = looked_up(model.embedding.weight, batch.input)
    with autocast(precision, model.device):
        raw, hidden, state = model.outputs(embedded, batch.input, state)
        total, losses = model.decoder.training_losses(hidden, batch.target, skip_ignored=False)
    targets = (batch.target != IGNORED).sum().clamp(min=1)
    penalty = output_penalty(raw, hidden, options)
    loss = minimised(total, penalty, targets, batch.columns if options.loss == "sequence" else targets)
    good = tally.add(loss.detach(), losses, batch.counted)
    loss.backward()  # type: ignore[no-untyped-call]
    add_row_gradients(model.embedding.weight, batch.input, embedded)
    if options.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
    _step_if(good, optimizer)
    return detach(state)


def _step_if(good: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer's step, which changes no weight where `good` is false."""
    if optimizer.defaults.get("fused"):
        optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]
        optimizer.step()
        del optimizer.found_inf  # type: ignore[attr-defined]
        return
    for group in optimizer.param_groups:
        group["lr"].mul_(good)
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(~good, 0)
    optimizer.step()


class Recorder(Protocol):
    """Something that can repeat work on the device without being told each part of it again."""

    def run(self, work: Work) -> None:
        """Do it, once."""

    def capture(self, work: Work) -> Work:
        """What does it again, on the same tensors; nothing is done yet. Raises RuntimeError where that cannot be."""


class CUDAGraphs:
    """CUDA's graphs, all in one pool of memory: no two run at once, and none leaves anything there for another."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, work: Work) -> None:
        """On the stream that captures, so that its libraries have set up there what they need."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def capture(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # the outer stream comes back even when the inner context fails to end
        with torch.cuda.stream(self._stream), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        return graph.replay


@dataclass(frozen=True)
class _Captured:
    """A step that can be repeated, and the batch that it reads each time."""

    batch: Batch
    repeat: Work

    def load(self, batch: Batch) -> None:
        self.batch.input.copy_(batch.input)
        self.batch.target.copy_(batch.target)
        self.batch.counted.copy_(batch.counted)


class CapturedSteps:
    """Steps of one run, each shape of batch captured once it has come often enough.

    The first steps of a shape are run kernel by kernel. They are steps like all others, so nothing has to be undone
    after them, and a shape that hardly ever comes costs no graph.
    """

    def __init__(
        self,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        options: Training,
        precision: str,
        recorder: Recorder,
        say: Callable[[str], None],
    ) -> None:
        """`say` is told once where capturing fails; steps then go on kernel by kernel."""
        self.model, self.optimizer, self.options, self.precision = model, optimizer, options, precision
        self.recorder, self.say = recorder, say
        self.tally = Tally(model.device)
        self._seen: Counter[Shape] = Counter()
        self._captured: dict[Shape, _Captured] = {}
        self._states: dict[int, LayerStates] = {}
        self._fails = False

    def step(self, batch: Batch, state: LayerStates) -> LayerStates:
        """One step; returns the state to carry on, in tensors that the next step overwrites."""
        batch = batch.to(self.model.device)
        held = self._hold(state, batch.columns)
        captured = self._find(batch, held)
        if captured is None:
            self.recorder.run(lambda: self._advance(batch, held))
        else:
            captured.load(batch)
            captured.repeat()
        return held

    def _advance(self, batch: Batch, held: LayerStates) -> None:
        state = device_step(self.model, self.optimizer, batch, held, self.options, self.precision, self.tally)
        for buffer, tensor in zip(chain(*held), chain(*state), strict=True):
            buffer.copy_(tensor)

    def _hold(self, state: LayerStates, columns: int) -> LayerStates:
        """The state in the tensors that steps of so many columns read and write."""
        if columns not in self._states:
            self._states[columns] = self.model.initial_state(columns)
        held = self._states[columns]
        for buffer, tensor in zip(chain(*held), chain(*state), strict=True):
            if buffer is not tensor:
                buffer.copy_(tensor)
        return held

    def _find(self, batch: Batch, held: LayerStates) -> _Captured | None:
        shape = tuple(batch.input.shape)
        self._seen[shape] += 1
        waits = self._seen[shape] <= WARM_UP_STEPS or len(self._captured) >= MOST_GRAPHS or self._fails
        if shape not in self._captured and not waits:
            self._capture(shape, batch, held)
        return self._captured.get(shape)

    def _capture(self, shape: Shape, batch: Batch, held: LayerStates) -> None:
        own = replace(batch, input=batch.input.clone(), target=batch.target.clone(), counted=batch.counted.clone())
        try:
            repeat = self.recorder.capture(lambda: self._advance(own, held))
        except RuntimeError as error:
            self._fails = True
            reason = str(error).partition("\n")[0]
            self.say(f"a training step cannot be captured as a CUDA graph here, so steps take longer: {reason}")
        else:
            self._captured[shape] = _Captured(own, repeat)


def open_captured_steps(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    options: Training,
    precision: str,
    say: Callable[[str], None],
) -> CapturedSteps | None:
    """Captured steps where the model is on a GPU and the optimizer `build_optimizer`'s but not Muon; elsewhere None."""
    if model.device.type != "cuda" or isinstance(optimizer, MuonWithAdamW):
        return None
    return CapturedSteps(model, optimizer, options, precision, CUDAGraphs(), say)
