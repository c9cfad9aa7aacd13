"""Training steps on a GPU: a CUDA graph for each shape of batch, as MXNet's bucketing has an executor for each length.

A step of a small model is hundreds of short kernels, and starting them one by one takes longer than running them.
A graph starts them all at once. All graphs share the weights, the memory of the optimizer, the carried state and one
pool of working memory. For each step, a batch is copied into the input of a graph, and the graph is replayed.

A replayed graph cannot ask the host, so everything that depends on values stays on the device: the learning rate, the
norm of the gradient, the counts, and whether the loss is finite.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor

from recurlm.models.state import LayerStates, detach, restart
from recurlm.text.batching import Batch
from recurlm.training.optimizers import MuonWithAdamW
from recurlm.training.step import Learner, backward, forward_loss

WARM_UP_STEPS = 2
MOST_GRAPHS = 64

Work = Callable[[], None]
Shape = tuple[int, ...]


class Tally:
    """Nats, tokens and good steps since the last `take()`, and the last loss: `values`, float64 (4,), on the device.

    A step is good if its loss is finite. A loss that is not finite stays, and no step after it is good.
    """

    def __init__(self, device: torch.device) -> None:
        self.values = torch.zeros(4, dtype=torch.float64, device=device)
        self._nats, self._tokens, self._good_steps, self._loss = self.values.unbind()

    def add(self, loss: Tensor, losses: Tensor, counted: Tensor) -> Tensor:
        """Counts a step: its loss, and the `counted` ones of its losses (T, B); returns whether the step is good."""
        self._loss.copy_(loss.where(self._loss.isfinite(), self._loss))
        good = self._loss.isfinite()
        self._good_steps.add_(good)
        self._nats.add_(losses.masked_fill(~counted, 0).sum(dtype=torch.float64))
        self._tokens.add_(counted.sum())
        return good

    def take(self) -> Tensor:
        """Returns a copy without synchronizing, then resets the counts."""
        taken = self.values.clone()
        self.values.zero_()
        return taken


def device_step(learner: Learner, batch: Batch, state: LayerStates, tally: Tally) -> LayerStates:
    """`train_step` in which the host reads nothing from the device; returns the state to carry on.

    If the loss of this or an earlier step is not finite, the weights stay as they are. Nothing is raised: the tally
    counts one good step less.
    """
    forward = forward_loss(learner, batch, state, synchronous=False)
    good = tally.add(forward.loss.detach(), forward.losses, batch.counted)
    backward(learner, batch, forward)
    with _no_warning_without_graph():
        _step_if(good, learner.optimizer)
    return detach(forward.state)


@contextmanager
def _no_warning_without_graph() -> Iterator[None]:
    """Inside, an optimizer made for graphs does not warn about the first steps, which run without a graph."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        yield


def _step_if(good: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Takes the step of the optimizer, which changes no weight if `good` is false."""
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
    """Records work on the device, to repeat it without starting each kernel by itself."""

    def run(self, work: Work) -> None:
        """Does the work once."""

    def capture(self, work: Work) -> Work:
        """Returns work that repeats this work on the same tensors, and does nothing yet. Raises RuntimeError."""


class CUDAGraphs:
    """CUDA graphs that share one pool of memory: only one runs at a time, and none leaves values there for another."""

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, work: Work) -> None:
        """Runs on the stream that captures, so that the libraries have set up what they need there."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()
        torch.cuda.current_stream().wait_stream(self._stream)

    def capture(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # the outer context restores the stream even if the inner context fails to end
        with torch.cuda.stream(self._stream), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        return graph.replay


@dataclass(frozen=True)
class _Captured:
    """A step that can be repeated, and the batch that it reads."""

    batch: Batch
    repeat: Work

    def load(self, batch: Batch) -> None:
        self.batch.input.copy_(batch.input)
        self.batch.target.copy_(batch.target)
        self.batch.counted.copy_(batch.counted)


class CapturedSteps:
    """The steps of a run; a step is captured for each shape of batch that comes often enough.

    The first steps of a shape run kernel by kernel. They train like all others, so nothing is undone after them, and a
    rare shape costs no graph. So does a batch inside which a document begins.
    """

    def __init__(self, learner: Learner, recorder: Recorder, say: Callable[[str], None]) -> None:
        """`say` receives a line if capturing fails; all steps then run kernel by kernel."""
        self.learner, self.recorder, self.say = learner, recorder, say
        self.tally = Tally(learner.model.device)
        self._seen: Counter[Shape] = Counter()
        self._captured: dict[Shape, _Captured] = {}
        self._states: dict[int, LayerStates] = {}
        self._fails = False

    def step(self, batch: Batch, state: LayerStates) -> LayerStates:
        """Takes one step; returns the state to carry on, in tensors that the next step overwrites."""
        batch, state = _restarted(batch.to(self.learner.model.device), state)
        held = self._hold(state, batch.columns)
        captured = self._find(batch, held) if batch.restarts is None else None
        if captured is None:
            self.recorder.run(lambda: self._advance(batch, held))
        else:
            captured.load(batch)
            captured.repeat()
        return held

    def _advance(self, batch: Batch, held: LayerStates) -> None:
        state = device_step(self.learner, batch, held, self.tally)
        for buffer, tensor in zip(chain(*held), chain(*state), strict=True):
            buffer.copy_(tensor)

    def _hold(self, state: LayerStates, columns: int) -> LayerStates:
        """Copies a state into the tensors that the steps with this number of columns read and write."""
        if columns not in self._states:
            self._states[columns] = self.learner.model.initial_state(columns)
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


def _restarted(batch: Batch, state: LayerStates) -> tuple[Batch, LayerStates]:
    """A batch and the state before it, where columns that restart in the first row have done so.

    Only a batch without other restarts has none left: a graph always sweeps from the first row to the last.
    """
    if batch.restarts is None:
        return batch, state
    left = batch.restarts if batch.restarts[1:].any() else None
    return replace(batch, restarts=left), restart(state, batch.restarts[0])


def open_captured_steps(learner: Learner, say: Callable[[str], None]) -> CapturedSteps | None:
    """Captured steps if the model is on a GPU and the optimizer is of `build_optimizer`, but not Muon; else None.

    None, too, for one of several processes.
    """
    if learner.team.count > 1:
        return None
    if learner.model.device.type != "cuda" or isinstance(learner.optimizer, MuonWithAdamW):
        return None
    return CapturedSteps(learner, CUDAGraphs(), say)
