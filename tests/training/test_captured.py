"""Captured steps against `train_step`, and the loop that uses them.

On a CPU a stand-in repeats the captured work by doing it again on the same tensors. What only a GPU can show is marked.
"""

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recurlm.config import SGD, Adam, Dropout, ModelOptions, RMSProp, Training
from recurlm.errors import StoppedError
from recurlm.models.language_model import LanguageModel
from recurlm.models.state import LayerStates
from recurlm.runs.folder import MODEL_FILE
from recurlm.text.batching import Batch
from recurlm.training import captured as module
from recurlm.training.captured import (
    WARM_UP_STEPS,
    CapturedSteps,
    CUDAGraphs,
    Recorder,
    Tally,
    Work,
    device_step,
    open_captured_steps,
)
from recurlm.training.loop import Trainer
from recurlm.training.optimizers import build_optimizer, set_rate
from recurlm.training.step import DivergedError, Learner, train_step
from recurlm.training.stopping import StopRequest
from small_runs import StopAfter

OpenTrainer = Callable[..., Trainer]
Optimizer = SGD | Adam | RMSProp

VOCABULARY = 11
OPTIMIZERS = [SGD(), SGD(momentum=0.9, weight_decay=0.01), Adam(kind="adamw", weight_decay=0.01), Adam(kind="adam")]
ALL_OPTIMIZERS = pytest.mark.parametrize(
    "options", [*OPTIMIZERS, RMSProp(), RMSProp(momentum=0.5)], ids=lambda o: f"{o.kind} {getattr(o, 'momentum', '')}"
)
RATES = [2**-5, 2**-6, 2**-7]
"""Exact in float32, in which a GPU keeps the rate."""
SHAPES = [(4, 3), (6, 3), (4, 3), (4, 3), (6, 3), (5, 2), (4, 3), (6, 3), (6, 3), (4, 3), (2, 2), (6, 3)]

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
without_graph = pytest.mark.filterwarnings("ignore:This instance was constructed with capturable=True")
"""For plain steps of an optimizer that `build_optimizer` made for graphs."""


class Again:
    """Repeats work by doing it again."""

    def __init__(self) -> None:
        self.runs = self.captures = self.repeats = 0

    def run(self, work: Work) -> None:
        self.runs += 1
        work()

    def capture(self, work: Work) -> Work:
        self.captures += 1

        def repeat() -> None:
            self.repeats += 1
            work()

        return repeat


class Unable(Again):
    def capture(self, work: Work) -> Work:
        raise RuntimeError("operation not permitted\nwhen stream is capturing")


def tiny_model(dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> LanguageModel:
    torch.manual_seed(3)
    rates = Dropout(input=dropout, output=dropout, between=dropout, embedding=dropout)
    model = LanguageModel(ModelOptions(embedding_size=5, hidden_sizes=(6, 4), dropout=rates), VOCABULARY)
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    return model.to(dtype)


def with_rate_on_device(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """As `build_optimizer` makes it for a GPU."""
    rate = torch.tensor(optimizer.param_groups[0]["lr"])
    for group in optimizer.param_groups:
        group["lr"] = rate
    return optimizer


def drawn_batches(device: str = "cpu") -> list[Batch]:
    """Batches of several shapes, every third with ignored and uncounted positions, some with carried state."""
    generator = torch.Generator().manual_seed(7)
    batches: list[Batch] = []
    for number, shape in enumerate(SHAPES):
        input_, target = torch.randint(VOCABULARY, (2, *shape), generator=generator)
        if number % 3 == 0:
            target[-1, 0] = -100
        counted = target > (0 if number % 4 == 0 else -1)
        carried = number > 0 and shape[1] == SHAPES[number - 1][1] and number % 5 != 0
        batches.append(Batch(input_.to(device), target.to(device), counted.to(device), shape[1], carried))
    return batches


def plain(model: LanguageModel, options: Optimizer, training: Training) -> list[tuple[float, int, float, LayerStates]]:
    learner = Learner(model, build_optimizer(options, model), training, "fp32")
    state = model.initial_state(1)
    results = []
    for number, batch in enumerate(drawn_batches(str(model.device))):
        state = state if batch.carried else model.initial_state(batch.columns)
        set_rate(learner.optimizer, RATES[number % 3])
        result, state = train_step(learner, batch, state)
        results.append((result.nats, result.tokens, result.loss, state))
    return results


def captured(
    model: LanguageModel, options: Optimizer, training: Training, recorder: Recorder
) -> list[tuple[float, int, float, LayerStates]]:
    optimizer = build_optimizer(options, model)
    if model.device.type == "cpu":
        optimizer = with_rate_on_device(optimizer)
    steps = CapturedSteps(Learner(model, optimizer, training, "fp32"), recorder, print)
    state = model.initial_state(1)
    results = []
    for number, batch in enumerate(drawn_batches(str(model.device))):
        state = state if batch.carried else model.initial_state(batch.columns)
        set_rate(optimizer, RATES[number % 3])
        state = steps.step(batch, state)
        nats, tokens, good, loss = steps.tally.take().tolist()
        assert good == 1
        results.append((nats, tokens, loss, tuple(tuple(part.clone() for part in layer) for layer in state)))
    return results


def assert_same(
    ours: list[tuple[float, int, float, LayerStates]],
    theirs: list[tuple[float, int, float, LayerStates]],
    tolerance: float,
) -> None:
    for (nats, tokens, loss, state), (its_nats, its_tokens, its_loss, its_state) in zip(ours, theirs, strict=True):
        assert tokens == its_tokens
        assert nats == pytest.approx(its_nats, rel=tolerance)
        assert loss == pytest.approx(its_loss, rel=tolerance)
        torch.testing.assert_close(state, its_state, rtol=tolerance, atol=tolerance)


@ALL_OPTIMIZERS
@pytest.mark.parametrize("loss", ["token", "sequence"])
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_captured_steps_are_the_plain_steps(options: Optimizer, loss: str, clip_norm: float | None) -> None:
    training = Training(loss=loss, clip_norm=clip_norm)
    model, twin, recorder = tiny_model(), tiny_model(), Again()
    ours, theirs = captured(model, options, training, recorder), plain(twin, options, training)
    assert_same(ours, theirs, 1e-9)
    for name, tensor in model.weights().items():
        torch.testing.assert_close(tensor, twin.weights()[name], rtol=1e-9, atol=1e-9)
    # (4, 3) and (6, 3) come five times; the two that come once are never captured
    assert (recorder.runs, recorder.captures, recorder.repeats) == (2 * WARM_UP_STEPS + 2, 2, len(SHAPES) - 6)


def test_batches_with_restarts_inside_are_never_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second batch restarts a column inside, every other one only in its first row."""
    drawn = drawn_batches()
    for number, batch in enumerate(drawn):
        restarts = np.zeros(tuple(batch.input.shape), np.bool_)
        restarts[0, 0] = True
        restarts[1, 1] = number % 2 == 0
        drawn[number] = replace(batch, restarts=restarts)
    monkeypatch.setitem(globals(), "drawn_batches", lambda device="cpu": drawn)
    model, twin, recorder = tiny_model(), tiny_model(), Again()
    assert_same(captured(model, SGD(), Training(), recorder), plain(twin, SGD(), Training()), 1e-9)
    plainly = sum(batch.restarts[1:].any() for batch in drawn if batch.restarts is not None)
    assert recorder.repeats > 0
    assert recorder.runs >= plainly == 6


def test_no_more_graphs_are_made_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GRAPHS", 1)
    model, twin, recorder = tiny_model(), tiny_model(), Again()
    assert_same(captured(model, SGD(), Training(), recorder), plain(twin, SGD(), Training()), 1e-9)
    assert (recorder.captures, recorder.repeats) == (1, 3)


def test_where_capturing_fails_the_steps_are_the_same_and_it_is_said_once(capsys: pytest.CaptureFixture) -> None:
    model, twin = tiny_model(), tiny_model()
    assert_same(captured(model, SGD(), Training(), Unable()), plain(twin, SGD(), Training()), 1e-9)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("operation not permitted")


@pytest.mark.parametrize("options", OPTIMIZERS, ids=lambda o: f"{o.kind} {getattr(o, 'momentum', '')}")
@pytest.mark.parametrize("loss", ["token", "sequence"])
def test_a_step_asks_the_device_nothing(no_questions: Callable, options: Optimizer, loss: str) -> None:
    """RMSProp is left out: on a CPU its step reads the rate, on a GPU it does not."""
    model = tiny_model(torch.float32, dropout=0.2)
    optimizer = with_rate_on_device(build_optimizer(options, model))
    learner = Learner(model, optimizer, Training(loss=loss, clip_norm=1.0), "fp32")
    batch, tally = drawn_batches()[0], Tally(model.device)
    state = model.initial_state(batch.columns)
    with no_questions():
        for _ in range(2):
            state = device_step(learner, batch, state, tally)
            tally.take()
    with pytest.raises(AssertionError, match="asks the device"), no_questions():
        train_step(learner, batch, state)


def test_a_step_before_its_graph_does_not_warn_that_there_is_no_graph() -> None:
    """The words of torch's warning; in tests a warning is an error."""
    model = tiny_model(torch.float32)
    optimizer = with_rate_on_device(build_optimizer(SGD(), model))
    step, shown = optimizer.step, ["This instance was constructed with capturable=True or some of all the groups"]

    def warning() -> None:
        warnings.warn(shown[0], stacklevel=2)
        step()

    optimizer.step = warning  # type: ignore[assignment, method-assign]
    learner, batch = Learner(model, optimizer, Training(), "fp32"), drawn_batches()[0]
    before = warnings.filters[:]
    device_step(learner, batch, model.initial_state(batch.columns), Tally(model.device))
    assert warnings.filters == before
    shown[0] = "another"
    with pytest.raises(UserWarning, match="another"):
        device_step(learner, batch, model.initial_state(batch.columns), Tally(model.device))


@ALL_OPTIMIZERS
def test_after_a_loss_that_is_no_number_no_step_changes_a_weight(options: Optimizer) -> None:
    model = tiny_model()
    optimizer = with_rate_on_device(build_optimizer(options, model))
    steps = CapturedSteps(Learner(model, optimizer, Training(clip_norm=1.0), "fp32"), Again(), print)
    batch = drawn_batches()[1]
    states = [model.initial_state(3), model.initial_state(3), model.initial_state(3), model.initial_state(3)]
    states[2][0][0].fill_(math.nan)
    weights = []
    for state in states:
        set_rate(optimizer, 2**-5)
        steps.step(batch, state)
        weights.append({name: tensor.clone() for name, tensor in model.weights().items()})
    _, _, good, loss = steps.tally.take().tolist()
    assert good == 2
    assert math.isnan(loss)
    assert not torch.equal(weights[0]["decoder.weight"], weights[1]["decoder.weight"])
    for name, tensor in weights[1].items():
        assert torch.equal(weights[2][name], tensor)
        assert torch.equal(weights[3][name], tensor)


def test_a_batch_with_nothing_to_predict_is_a_good_step_that_teaches_nothing() -> None:
    model, untouched = tiny_model(), tiny_model()
    optimizer = with_rate_on_device(build_optimizer(SGD(), model))
    steps = CapturedSteps(Learner(model, optimizer, Training(), "fp32"), Again(), print)
    batch = drawn_batches()[0]
    nothing = replace(batch, target=torch.full_like(batch.target, -100), counted=torch.zeros_like(batch.counted))
    steps.step(nothing, model.initial_state(3))
    assert steps.tally.take().tolist() == [0, 0, 1, 0]
    torch.testing.assert_close(model.weights(), untouched.weights(), rtol=0, atol=0)


def test_capturing_changes_nothing() -> None:
    """Neither weights nor optimizer nor random state: the steps before it are steps, and capturing does none."""
    model = tiny_model(dropout=0.3)
    optimizer = with_rate_on_device(build_optimizer(Adam(), model))
    recorder = Again()
    steps = CapturedSteps(Learner(model, optimizer, Training(), "fp32"), recorder, print)
    batch = drawn_batches()[0]
    for _ in range(WARM_UP_STEPS):
        steps.step(batch, model.initial_state(3))
    before = [tensor.clone() for tensor in everything(model, optimizer)]
    steps._capture((9, 9), batch, model.initial_state(3))
    assert recorder.captures == 1
    for tensor, earlier in zip(everything(model, optimizer), before, strict=True):
        assert torch.equal(tensor, earlier)


def everything(model: LanguageModel, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    memory = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return [*model.weights().values(), *memory, torch.get_rng_state()]


def test_without_a_gpu_nothing_is_captured(open_trainer: OpenTrainer) -> None:
    model = tiny_model()
    assert open_captured_steps(Learner(model, build_optimizer(SGD(), model), Training(), "fp32"), print) is None
    assert open_trainer("run").stepper.captured is None


@pytest.fixture
def open_captured(open_trainer: OpenTrainer) -> OpenTrainer:
    """Trainers as on a GPU, with the stand-in."""

    def open_(out: str, **options: object) -> Trainer:
        trainer = open_trainer(out, **options)
        with_rate_on_device(trainer.learner.optimizer)
        trainer.stepper.captured = CapturedSteps(trainer.learner, Again(), print)
        return trainer

    return open_


SECTIONS = pytest.mark.parametrize(
    "sections",
    [
        {"model": {"embedding_size": 16, "hidden_sizes": [16, 12], "dropout": {"input": 0.2, "between": 0.2}}},
        {"batches": {"kind": "stream", "batch_size": 4, "bptt": 10, "random_lengths": True}},
        {
            "batches": {"kind": "sentences", "batch_size": 8, "buckets": "auto"},
            "optimizer": {"kind": "sgd", "learning_rate": 0.5, "momentum": 0.9},
        },
        {
            "model": {"embedding_size": 16, "hidden_sizes": [16], "dropout": {"recurrent_weights": 0.5, "state": 0.2}},
            "batches": {"kind": "stream", "batch_size": 4, "bptt": 10, "reset_probability": 0.1},
            "training": {"epochs": 2, "log_every": 5, "activation_penalty": 2.0, "slowness_penalty": 1.0},
            "average": {"kind": "exponential", "decay": 0.9},
        },
    ],
    ids=["dropout", "random lengths", "buckets and momentum", "weight drop, penalties and average"],
)


@SECTIONS
def test_a_run_of_captured_steps_is_the_run_of_plain_ones(
    open_trainer: OpenTrainer, open_captured: OpenTrainer, sections: dict
) -> None:
    trainers, results = [], []
    for name, open_ in (("plain", open_trainer), ("captured", open_captured)):  # to open it seeds it
        trainers.append(open_(name, **sections))
        results.append(trainers[-1].fit(StopRequest()))
    plain_result, result = results
    assert result.steps == plain_result.steps
    assert result.valid.value == pytest.approx(plain_result.valid.value, rel=1e-4)
    logs = [
        [json.loads(line) for line in (t.run.folder.path / "metrics.jsonl").read_text().splitlines()] for t in trainers
    ]
    for theirs, ours in zip(*logs, strict=True):
        assert (ours["event"], ours["step"]) == (theirs["event"], theirs["step"])
        if theirs["event"] in ("step", "epoch"):
            assert ours["tokens"] == theirs["tokens"]
            assert ours["lr"] == theirs["lr"]
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-3)
            assert ours["perplexity"] == pytest.approx(theirs["perplexity"], rel=1e-3)


@SECTIONS
@pytest.mark.parametrize("looks", [1, 7, 23])
def test_a_stopped_run_goes_on_to_the_same_bits(open_captured: OpenTrainer, sections: dict, looks: int) -> None:
    whole = open_captured("whole", **sections)
    expected = whole.fit(StopRequest())
    with pytest.raises(StoppedError):
        open_captured("parts", **sections).fit(StopAfter(looks))
    torch.manual_seed(99)
    resumed = open_captured("parts", resume=True, **sections)
    result = resumed.fit(StopRequest())
    assert (resumed.run.folder.path / MODEL_FILE).read_bytes() == (whole.run.folder.path / MODEL_FILE).read_bytes()
    assert (result.valid.value, result.steps) == (expected.valid.value, expected.steps)
    assert resumed.counters.tokens == whole.counters.tokens


@pytest.mark.parametrize(("checkpoint_seconds", "saved"), [(1e-6, 40), (60.0, None)], ids=["saving", "logging"])
def test_a_loss_that_is_no_number_is_told_with_its_step_before_anything_is_saved(
    open_captured: OpenTrainer, checkpoint_seconds: float, saved: int | None
) -> None:
    training = {"epochs": 3, "checkpoint_seconds": checkpoint_seconds, "log_every": 7}
    trainer = open_captured("run", training=training)
    step = trainer._step

    def poisoned(batch: Batch) -> None:
        if trainer.counters.step == 40:
            with torch.no_grad():
                trainer.run.model.embedding.weight[:] = math.nan
        step(batch)

    trainer._step = poisoned  # type: ignore[method-assign]
    with pytest.raises(DivergedError, match=r"loss is nan at step 41;.*\n.*learning_rate"):
        trainer.fit(StopRequest())
    files = trainer.run.folder.checkpoints.latest()
    if saved is not None:
        assert files is not None
        assert json.loads(files["counters.json"])["step"] == saved
    else:
        assert trainer.counters.step == 42


@pytest.mark.gpu
@on_gpu
@without_graph
@ALL_OPTIMIZERS
@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_on_a_gpu_captured_steps_are_the_plain_steps(options: Optimizer, clip_norm: float | None) -> None:
    training = Training(clip_norm=clip_norm)
    model, twin = (tiny_model(torch.float32).to(torch.device("cuda")) for _ in range(2))
    ours, theirs = captured(model, options, training, CUDAGraphs()), plain(twin, options, training)
    assert_same(ours, theirs, 1e-4)
    for name, tensor in model.weights().items():
        torch.testing.assert_close(tensor, twin.weights()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@on_gpu
def test_on_a_gpu_each_replay_draws_other_masks_and_the_seed_decides_which() -> None:
    """CUDA graphs take their random numbers from torch's default generator, which every replay moves on."""

    def losses(recorder: Recorder) -> list[float]:
        model = tiny_model(torch.float32, dropout=0.5).to(torch.device("cuda"))
        optimizer = build_optimizer(SGD(), model)
        set_rate(optimizer, 0.0)
        steps = CapturedSteps(Learner(model, optimizer, Training(), "fp32"), recorder, print)
        torch.manual_seed(5)
        batch, found = drawn_batches("cuda")[0], []
        for _ in range(8):
            steps.step(batch, model.initial_state(batch.columns))
            found.append(steps.tally.take()[3].item())
        return found

    replayed = losses(CUDAGraphs())
    assert len(set(replayed)) == len(replayed)
    assert replayed == pytest.approx(losses(Again()), rel=1e-5)


@pytest.mark.gpu
@on_gpu
@SECTIONS
def test_on_a_gpu_a_run_is_that_of_kernel_by_kernel_steps(open_trainer: OpenTrainer, sections: dict) -> None:
    graphs = open_trainer("graphs", device="cuda", **sections)
    assert graphs.stepper.captured is not None
    value = graphs.fit(StopRequest()).valid.value
    assert graphs.stepper.captured._captured
    single = open_trainer("single", device="cuda", **sections)
    assert single.stepper.captured is not None
    single.stepper.captured.recorder = Again()
    assert value == pytest.approx(single.fit(StopRequest()).valid.value, rel=1e-3)


@pytest.mark.gpu
@on_gpu
def test_on_a_gpu_a_batch_comes_whole() -> None:
    for batch in drawn_batches():
        there = batch.to(torch.device("cuda"))
        for name in ("input", "target", "counted"):
            assert torch.equal(getattr(there, name).cpu(), getattr(batch, name))
        assert replace(there, input=batch.input, target=batch.target, counted=batch.counted) == batch
