"""Between the steps of a run: when it saves, how it times validations, and what follows from them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from recurlm.errors import StoppedError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.models.state import LayerStates
from recurlm.progress import Silent
from recurlm.text.batching import Batch
from recurlm.training import stepper
from recurlm.training.clock import Clock
from recurlm.training.loop import AfterValidation, Trainer
from recurlm.training.step import Learner, StepResult, train_step
from recurlm.training.stopping import StopRequest
from small_runs import StopAfter

OpenTrainer = Callable[..., Trainer]


@dataclass
class Timed(Silent):
    """A run on a clock that moves only where steps, saving and validations take their seconds."""

    stepping: float = 0.5
    saving: float = 0.0
    validation: float = 3.0
    now: float = 0.0
    ends: list[float] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def train_step(self, learner: Learner, batch: Batch, state: LayerStates) -> tuple[StepResult, LayerStates]:
        self.now += self.stepping
        self.ends.append(self.now)
        return train_step(learner, batch, state)

    def trainer(self, prepared: Trainer, after_validation: AfterValidation | None = None) -> Trainer:
        trainer = Trainer(prepared.run, self, Clock(now=lambda: self.now), after_validation=after_validation)
        measure, save = trainer.validator.measure, trainer.checkpointer.save

        def measured(split: str, **options: object) -> Perplexity:
            self.now += self.validation
            return measure(split, **options)  # type: ignore[arg-type]

        def saving() -> None:
            self.now += self.saving
            self.saved.append(trainer.counters.step)
            save()

        trainer.validator.measure = measured  # type: ignore[method-assign, assignment]
        trainer.checkpointer.save = saving  # type: ignore[method-assign]
        return trainer


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> Timed:
    timed = Timed()
    monkeypatch.setattr(stepper, "train_step", timed.train_step)
    return timed


def test_a_run_saves_when_the_seconds_of_its_recipe_have_passed(open_trainer: OpenTrainer, timed: Timed) -> None:
    trainer = timed.trainer(open_trainer("run", training={"epochs": 1, "checkpoint_seconds": 2.0}))
    timed.now += 100  # between opening and training, which does not count
    steps = trainer.run.batches.length(0)
    trainer.fit(StopRequest())
    # after 2.5 seconds, five steps, each time; and before and after the validation
    assert timed.saved == [*range(5, steps + 1, 5), steps, steps]


def test_the_seconds_of_a_validation_count_saving_before_and_after_it(open_trainer: OpenTrainer, timed: Timed) -> None:
    timed.saving = 1.0
    trainer = timed.trainer(open_trainer("run", training={"epochs": 2, "checkpoint_seconds": 1e6}))
    counters = trainer.counters
    trainer.fit(StopRequest())
    assert counters.validation_seconds == pytest.approx(2 * (1 + 3 + 1))
    assert counters.longest_validation == pytest.approx(5)
    # two epochs of half a second a step, a whole first validation, and the second until it was measured
    assert counters.validated_at == pytest.approx(0.5 * counters.step + (1 + 3 + 1) + (1 + 3))


def test_the_longest_validation_stays(open_trainer: OpenTrainer, timed: Timed) -> None:
    def quicker(epoch: int, measured: Perplexity) -> None:
        timed.validation = 1.0

    trainer = timed.trainer(open_trainer("run"), quicker)
    trainer.fit(StopRequest())
    assert trainer.counters.longest_validation == pytest.approx(3)
    assert trainer.counters.validation_seconds == pytest.approx(3 + 1)


@pytest.mark.parametrize(("waited", "reductions", "left"), [(1, 0, 1), (2, 0, 2), (3, 1, 0)])
def test_a_plateau_reduces_the_rate_after_more_than_its_patience(
    open_trainer: OpenTrainer, waited: int, reductions: int, left: int
) -> None:
    trainer = open_trainer("run", schedule={"kind": "plateau", "patience": 2})
    trainer.counters.waited = waited
    trainer._close_epoch()
    assert (trainer.counters.reductions, trainer.counters.waited) == (reductions, left)


@pytest.mark.parametrize(("patience", "finished"), [(None, False), (2, True), (3, False)])
def test_a_run_ends_after_as_many_validations_without_gain_as_its_patience(
    open_trainer: OpenTrainer, patience: int | None, finished: bool
) -> None:
    trainer = open_trainer("run", training={"epochs": 9} | ({} if patience is None else {"patience": patience}))
    trainer.counters.validations_without_gain = 2
    trainer._close_epoch()
    assert trainer.counters.finished is finished
    assert trainer.counters.epoch == 1


def test_the_result_is_that_of_the_model_that_was_kept(open_trainer: OpenTrainer, timed: Timed) -> None:
    validated: list[tuple[int, float]] = []

    def spoil(epoch: int, measured: Perplexity) -> None:
        validated.append((epoch, measured.value))
        with torch.no_grad():
            for parameter in trainer.run.model.parameters():
                parameter.zero_()

    prepared = open_trainer("run", training={"epochs": 1}, validation={"columns": 1, "warm_up": 0})
    trainer = timed.trainer(prepared, spoil)
    result = trainer.fit(StopRequest())
    assert validated == [(1, pytest.approx(result.valid.value, rel=1e-6))]
    folder = trainer.run.folder
    *_, final = map(json.loads, folder.read("metrics.jsonl").splitlines())  # held to its digest in the manifest
    assert final == {"event": "final", "step": trainer.counters.step} | result.to_json()


def test_a_run_that_goes_on_says_after_which_step(open_trainer: OpenTrainer, timed: Timed) -> None:
    with pytest.raises(StoppedError, match="stopped at step 7; go on with the same command and --resume"):
        timed.trainer(open_trainer("run")).fit(StopAfter(6))
    assert not any("going on" in text for text in timed.said)
    timed.trainer(open_trainer("run", resume=True)).fit(StopRequest())
    assert "going on after step 7" in timed.said


def test_a_run_stopped_in_a_validation_goes_on_from_before_it(open_trainer: OpenTrainer, timed: Timed) -> None:
    trainer = timed.trainer(open_trainer("run", training={"epochs": 1}))
    steps = trainer.run.batches.length(0)
    with pytest.raises(StoppedError, match=f"stopped at step {steps}"):
        trainer.fit(StopAfter(steps))
    assert timed.saved == [steps]
