from types import SimpleNamespace

import pytest

import recurlm.training.clock as clock_module
from recurlm.training.clock import Clock
from recurlm.training.counters import Counters


class Time:
    """A clock that goes on only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(clock_module, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


def started(time: Time, counters: Counters | None = None) -> Clock:
    """A clock of a process that took 10 s to load, and 5 more to prepare."""
    clock = Clock(100.0, counters, began=time.now - 10)
    clock.validation, clock.evaluation = 2.0, 20.0
    time.now += 5
    clock.start()
    return clock


def test_the_limit_counts_from_the_start_of_the_process(time: Time) -> None:
    clock = started(time)
    time.now += 30
    clock.lap()
    assert clock.used == 45
    assert clock.counters.seconds == 30
    assert clock.closing == pytest.approx(7)
    # 15 before training, 2 and 20 for the measuring after it, 7 for the pictures
    assert clock.training_limit == pytest.approx(100 - 15 - 2 - 20 - 7)
    assert clock.left == pytest.approx(100 - 45 - 7)


def test_a_run_that_goes_on_has_what_the_processes_before_it_left(time: Time) -> None:
    first = started(time)
    time.now += 30
    first.lap()
    time.now += 10_000
    second = started(time, Counters(**vars(first.counters)))
    time.now += 10
    second.lap()
    assert second.used == 45 + 15 + 10
    assert second.training_limit == pytest.approx(100 - 30 - 2 - 20 - 7)


def test_a_validation_takes_at_most_a_tenth_of_the_time(time: Time) -> None:
    clock = started(time)
    due = []
    for _ in range(60):
        time.now += 1
        clock.lap()
        due.append(clock.validation_is_due)
        if due[-1]:
            time.now += 2
            clock.lap()
            clock.counters.validated_at = clock.counters.seconds
            clock.counters.longest_validation = 2.0
    assert due.count(True) == 3  # each 2 s after 18 s of training
    assert clock.counters.seconds == 66


def test_without_a_limit_nothing_is_held_off(time: Time) -> None:
    clock = Clock()
    clock.validation = 1e9
    time.now += 1e6
    clock.lap()
    assert clock.validation_is_due
    assert not clock.is_up
    assert (clock.share, clock.left, clock.training_limit) == (0.0, None, None)


def test_a_limit_that_is_over_before_training_leaves_one_step(time: Time) -> None:
    clock = started(time)
    clock.evaluation = 200.0
    assert not clock.is_up
    clock.counters.step = 1
    assert clock.is_up
    assert clock.share == 1.0


def test_the_exact_evaluation_fits_within_half_of_what_a_run_may_end_late(time: Time) -> None:
    clock = started(time)
    time.now += 62
    clock.lap()
    assert clock.evaluation_fits  # 15 + 62 + 20 + 7 = 104
    time.now += 2
    clock.lap()
    assert not clock.evaluation_fits
