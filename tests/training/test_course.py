"""The course of a run, by hand from counters and a clock that stands still."""

import pytest

from recurlm.config import Recipe
from recurlm.training.clock import Clock
from recurlm.training.counters import Counters
from recurlm.training.course import Course


def course(limit: float | None = None, *, total: int = 40, **sections: object) -> Course:
    """A course whose training may take the whole limit."""
    recipe = Recipe.model_validate({"training": {"epochs": 4}} | sections, strict=False)
    return Course(recipe, Clock(limit, Counters(), began=0.0, loaded=0.0, now=lambda: 0.0), total)


UNTIL_TIME = {"training": {"epochs": 4, "until": "time"}}


@pytest.mark.parametrize(
    ("step", "seconds", "limit", "until_time", "share"),
    [
        (0, 0.0, None, False, 0.0),
        (10, 50.0, None, False, 0.25),
        (10, 20.0, 100.0, False, 0.25),
        (10, 40.0, 100.0, False, 0.4),
        (10, 40.0, 100.0, True, 0.4),
        (30, 40.0, 100.0, True, 0.4),
        (50, 0.0, None, False, 1.0),
        (10, 150.0, 100.0, False, 1.0),
    ],
)
def test_a_run_is_as_far_as_its_steps_or_its_clock(
    step: int, seconds: float, limit: float | None, until_time: bool, share: float
) -> None:
    run = course(limit, **(UNTIL_TIME if until_time else {}))
    run.counters.step, run.counters.seconds = step, seconds
    assert run.share == pytest.approx(share)


@pytest.mark.parametrize(
    ("epoch", "seconds", "limit", "halvings"),
    [
        (0, 0.0, None, 0),
        (1, 0.0, None, 1),
        (0, 49.0, 100.0, 1),
        (0, 51.0, 100.0, 2),
        (3, 10.0, 100.0, 3),
        (0, 100.0, 100.0, 3),
    ],
)
def test_a_clock_that_ends_the_run_early_pulls_the_epochs_of_its_schedule_together(
    epoch: int, seconds: float, limit: float | None, halvings: int
) -> None:
    schedule = {"kind": "step", "after": 1, "every": 1, "divisor": 2.0}
    run = course(limit, schedule=schedule, optimizer={"kind": "sgd", "learning_rate": 8.0})
    run.counters.epoch, run.counters.seconds = epoch, seconds
    assert run.learning_rate == pytest.approx(8.0 / 2**halvings)


def test_the_time_left_is_that_of_the_limit_or_that_of_the_steps() -> None:
    free = course()
    assert free.seconds_left is None
    free.counters.step, free.counters.seconds = 10, 30.0
    assert free.seconds_left == pytest.approx(90)
    limited = course(100.0)
    assert limited.seconds_left == 100
    limited.counters.step, limited.counters.seconds = 30, 30.0
    assert limited.seconds_left == pytest.approx(10)
    limited.counters.seconds = 101.0
    assert limited.seconds_left == 0


@pytest.mark.parametrize(
    ("epoch", "every", "validates"),
    [(0, 1, True), (0, 2, False), (1, 2, True), (2, 2, False), (3, 3, True), (2, 3, True)],
)
def test_every_nth_epoch_is_validated_and_the_last(epoch: int, every: int, validates: bool) -> None:
    run = course(validation={"every": every})
    run.counters.epoch = epoch
    assert run.validates is validates


def test_a_validation_that_would_take_too_much_of_the_time_waits() -> None:
    run = course(100.0)
    run.clock.validation = 20.0
    assert not run.validates
    run.counters.seconds = 180.0  # no longer before its time, and the clock is not up before the first step
    assert run.validates


@pytest.mark.parametrize(("epochs", "until_time", "ends"), [(3, False, False), (4, False, True), (9, True, False)])
def test_a_run_ends_after_its_epochs_unless_it_trains_until_a_time(epochs: int, until_time: bool, ends: bool) -> None:
    assert course(100.0, **(UNTIL_TIME if until_time else {})).ends_after(epochs) is ends


def test_the_clock_ends_every_run() -> None:
    run = course(100.0)
    run.counters.step, run.counters.seconds = 1, 100.0
    assert run.ends_after(1)
