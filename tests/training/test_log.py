"""The training log, against figures computed by hand from the nats of each step and from a clock of the test."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recurlm.errors import StoppedError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.generation.sampling import SamplingOptions, sample
from recurlm.models.state import LayerStates
from recurlm.progress import Silent
from recurlm.text.batching import Batch
from recurlm.text.vocabulary import EOS_ID
from recurlm.training import stepper
from recurlm.training.clock import Clock
from recurlm.training.loop import Trainer
from recurlm.training.step import Learner, StepResult, train_step
from recurlm.training.stopping import StopRequest
from small_runs import StopAfter

OpenTrainer = Callable[..., Trainer]

LOG_EVERY = 9
SECTIONS = {
    "training": {"epochs": 3, "log_every": LOG_EVERY},
    "schedule": {"kind": "step", "after": 1, "every": 1, "divisor": 2.0},
}
RATES = {1: 0.01, 2: 0.005, 3: 0.0025}
"""By epoch, under this schedule."""
VALIDATION_SECONDS = 3.0


@dataclass
class Step:
    """What one step measured, and the second at its end."""

    nats: float
    tokens: int
    sentences: int
    end: float


@dataclass
class Watched(Silent):
    """A run whose steps and validations are recorded, with a clock that moves only in them."""

    now: float = 0.0
    steps: list[Step] = field(default_factory=list)
    validations: list[tuple[int, float, Perplexity]] = field(default_factory=list)
    """Steps before it, the second at its end, the measurement."""
    ticks: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def tick(self, done: float | None, text: str) -> None:
        self.ticks.append(text)

    def say(self, text: str) -> None:
        self.said.append(text)

    def train_step(self, learner: Learner, batch: Batch, state: LayerStates) -> tuple[StepResult, LayerStates]:
        """A step that takes a quarter, a half or three quarters of a second."""
        result, state = train_step(learner, batch, state)
        self.now += 0.25 * (1 + len(self.steps) % 3)
        self.steps.append(Step(result.nats, result.tokens, int((batch.target == EOS_ID).sum()), self.now))
        return result, state

    def trainer(self, prepared: Trainer, limit: float | None = None) -> Trainer:
        """The trainer of a prepared run, watched."""
        clock = Clock(limit, began=self.now - 10, loaded=self.now, now=lambda: self.now)
        trainer = Trainer(prepared.run, self, clock)
        measure = trainer.validator.measure

        def measured(split: str, **options: object) -> Perplexity:
            self.now += VALIDATION_SECONDS
            found = measure(split, **options)  # type: ignore[arg-type]
            self.validations.append((len(self.steps), self.now, found))
            return found

        trainer.validator.measure = measured  # type: ignore[method-assign, assignment]
        return trainer


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched()
    monkeypatch.setattr(stepper, "train_step", watched.train_step)
    return watched


def entries(run: Path, event: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


@dataclass
class Figures:
    """What the log must say after a number of steps, from the recorded steps alone."""

    steps: list[Step]
    number: int
    epoch_length: int

    @property
    def epoch(self) -> int:
        return (self.number - 1) // self.epoch_length + 1

    @property
    def of_epoch(self) -> list[Step]:
        return self.steps[(self.epoch - 1) * self.epoch_length : self.number]

    def window(self, *, logged: bool) -> list[Step]:
        """The steps since the last logged step or the beginning of the epoch, whichever is later."""
        last_logged = ((self.number - 1) if logged else self.number) // LOG_EVERY * LOG_EVERY
        return self.steps[max(last_logged, (self.epoch - 1) * self.epoch_length) : self.number]

    def entry(self, event: str, *, second: float, began: float) -> dict:
        """`second`: of the clock, now; `began`: at the beginning of the window."""
        window, share = self.window(logged=event == "step"), self.number / (3 * self.epoch_length)
        seconds = second - began
        over = window if event == "step" else self.of_epoch
        return {
            "event": event,
            "step": self.number,
            "epoch": self.epoch,
            "tokens": sum(step.tokens for step in self.steps[: self.number]),
            "seconds": round(second, 3),
            "share": share,
            "loss": nats_a_token(over),
            "perplexity": math.exp(nats_a_token(self.of_epoch)),
            "lr": RATES[self.epoch],
            "tokens_per_second": sum(step.tokens for step in window) / seconds if window else None,
            "sentences_per_second": sum(step.sentences for step in window) / seconds if window else None,
            "seconds_left": second * (1 - share) / share,
        }


def nats_a_token(steps: list[Step]) -> float:
    return sum(step.nats for step in steps) / sum(step.tokens for step in steps)


def approximately(entry: dict) -> dict:
    return {key: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value for key, value in entry.items()}


def epoch_length(trainer: Trainer) -> int:
    length = trainer.run.batches.length(0)
    assert length > 2 * LOG_EVERY
    assert length % LOG_EVERY, "the last window of an epoch must not be logged, to show where the next one begins"
    return length


def window_begins(watched: Watched, number: int, length: int) -> float:
    """The second at which the window of a logged step begins: after a logged step, or after a validation."""
    first_of_epoch = (number - 1) // length * length
    logged = (number - 1) // LOG_EVERY * LOG_EVERY
    if logged > first_of_epoch:
        return watched.steps[logged - 1].end
    return next((end for steps, end, _ in watched.validations if steps == first_of_epoch), 0.0)


def test_a_logged_step_has_the_figures_of_its_window_and_of_its_epoch(
    open_trainer: OpenTrainer, watched: Watched
) -> None:
    trainer = watched.trainer(open_trainer("run", **SECTIONS))
    length = epoch_length(trainer)
    trainer.fit(StopRequest())
    logged = entries(trainer.run.folder.path, "step")
    assert [entry["step"] for entry in logged] == list(range(LOG_EVERY, 3 * length + 1, LOG_EVERY))
    for entry in logged:
        number = entry["step"]
        expected = Figures(watched.steps, number, length).entry(
            "step", second=watched.steps[number - 1].end, began=window_begins(watched, number, length)
        )
        assert entry == approximately(expected)


def test_a_validated_epoch_has_the_figures_of_the_whole_epoch(open_trainer: OpenTrainer, watched: Watched) -> None:
    trainer = watched.trainer(open_trainer("run", **SECTIONS))
    length = epoch_length(trainer)
    trainer.fit(StopRequest())
    logged = entries(trainer.run.folder.path, "epoch")
    assert [entry["step"] for entry in logged] == [length, 2 * length, 3 * length]
    for entry, (number, second, measured) in zip(logged, watched.validations, strict=False):
        last_logged = number // LOG_EVERY * LOG_EVERY
        expected = Figures(watched.steps, number, length).entry(
            "epoch", second=second, began=watched.steps[last_logged - 1].end
        )
        expected |= {"valid_perplexity": math.exp(measured.nats / measured.tokens), "signature": measured.signature}
        assert entry == approximately(expected)


def test_the_first_entry_in_numbers(open_trainer: OpenTrainer, watched: Watched) -> None:
    """Nine steps of 4 columns and 10 time steps take 0.25, 0.5 and 0.75 seconds, three times."""
    trainer = watched.trainer(open_trainer("run", **SECTIONS))
    length = epoch_length(trainer)
    trainer.fit(StopRequest())
    entry, *_ = entries(trainer.run.folder.path, "step")
    assert (entry["step"], entry["epoch"], entry["tokens"]) == (9, 1, 360)
    assert entry["seconds"] == 4.5
    assert entry["tokens_per_second"] == pytest.approx(80)
    assert entry["seconds_left"] == pytest.approx(0.5 * (3 * length - 9))
    assert 1 < entry["perplexity"] < 30


def test_the_live_line_has_the_figures_since_the_last_logged_step(open_trainer: OpenTrainer, watched: Watched) -> None:
    trainer = watched.trainer(open_trainer("run", **SECTIONS))
    length = epoch_length(trainer)
    trainer.fit(StopRequest())
    lines = [text for text in watched.ticks if "epoch" in text]
    assert len(lines) == 3 * length
    for number, line in enumerate(lines, 1):
        figures = Figures(watched.steps, number, length)
        second, window = watched.steps[number - 1].end, figures.window(logged=True)
        seconds = second - window_begins(watched, number, length)
        share = number / (3 * length)
        left = second * (1 - share) / share
        shown = "" if left < 1 else f"{round(left) // 60}:{round(left) % 60:02d} left  "
        assert line == (
            f"{shown}epoch {figures.epoch}/3  perplexity {math.exp(nats_a_token(figures.of_epoch)):.1f}  "
            f"{sum(step.tokens for step in window) / seconds:,.0f} tok/s  "
            f"loss {nats_a_token(window):.3f}  lr {RATES[figures.epoch]:.2g}  "
            f"{sum(step.sentences for step in window) / seconds:,.0f} sent/s"
        )


def test_the_time_left_is_what_a_limit_leaves_that_ends_the_run(open_trainer: OpenTrainer, watched: Watched) -> None:
    """10 s passed before the modules were loaded, so closing takes 7 s; 2 s more pass before training starts."""
    trainer = watched.trainer(open_trainer("run", **SECTIONS), limit=40.0)
    watched.now += 2
    trainer.fit(StopRequest())
    logged = entries(trainer.run.folder.path, "step")
    assert logged
    for entry in logged:
        assert entry["seconds_left"] == pytest.approx(40 - 7 - 12 - entry["seconds"], abs=1e-3)
        assert entry["seconds"] == pytest.approx(watched.steps[entry["step"] - 1].end - 2)


def test_a_run_that_is_resumed_within_a_window_logs_what_an_undisturbed_run_logs(
    open_trainer: OpenTrainer, watched: Watched
) -> None:
    whole = watched.trainer(open_trainer("whole", **SECTIONS))
    whole.fit(StopRequest())
    watched.now, watched.steps[:] = 0.0, []
    with pytest.raises(StoppedError):
        watched.trainer(open_trainer("parts", **SECTIONS)).fit(StopAfter(LOG_EVERY + 3))
    watched.now += 5000  # no process trains in this time
    resumed = watched.trainer(open_trainer("parts", resume=True, **SECTIONS))
    resumed.fit(StopRequest())
    for event in ("step", "epoch"):
        ours, theirs = (entries(trainer.run.folder.path, event) for trainer in (resumed, whole))
        assert ours == [approximately(entry) for entry in theirs]


def test_a_resumed_run_under_a_time_limit_says_how_much_time_it_has(
    open_trainer: OpenTrainer, watched: Watched
) -> None:
    first = watched.trainer(open_trainer("run", **SECTIONS), limit=500.0)
    with pytest.raises(StoppedError):
        first.fit(StopAfter(8))
    assert watched.now == 4.5  # 10 s before it, and nine steps
    resumed = watched.trainer(open_trainer("run", resume=True, **SECTIONS), limit=500.0)
    with pytest.raises(StoppedError):
        resumed.fit(StopAfter(0))
    first_line, resumed_line = (line for line in watched.said if line.startswith("time"))
    assert first_line.startswith("time   8m20s in all: 10s until here, about 8m")
    assert resumed_line.startswith("time   8m20s in all: 15s used before, 10s until here, about 7m")


def test_after_a_validation_the_log_shows_a_sample_at_temperature_0_8(
    open_trainer: OpenTrainer, watched: Watched
) -> None:
    trainer = watched.trainer(open_trainer("run", training={"epochs": 1}))
    trainer.fit(StopRequest())
    run = trainer.run
    codec = run.corpus.codec
    options = SamplingOptions(temperature=0.8, banned=codec.vocabulary.placeholders)
    drawn = [int(ids[0]) for ids in itertools.islice(sample(run.model, [], options), 20)]
    sentences = " ".join("\n" if index == EOS_ID else codec.vocabulary.tokens[index] for index in drawn).split("\n")
    expected = " / ".join(sentence.strip() for sentence in sentences if sentence.strip())
    [shown] = [line for line in watched.said if "it writes" in line]
    assert shown == f"  it writes: {expected}"
