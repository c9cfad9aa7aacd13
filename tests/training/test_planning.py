"""Plans under a time limit, by hand: a validator whose tokens take given times, and a clock that stands still."""

from types import SimpleNamespace

import numpy as np
import pytest

from recurlm.training.clock import Clock
from recurlm.training.counters import Counters
from recurlm.training.planning import drop_exactness, plan_measuring, renew_estimate


def validator(exact: float = 20.0, quick: float = 8.0, part: int | None = None) -> SimpleNamespace:
    """One that estimates so many seconds for the final evaluation, and 5 for a validation."""
    timed: list[tuple[bool, int]] = []
    return SimpleNamespace(
        timed=timed,
        time=lambda *, exact, repeats=1: timed.append((exact, repeats)),
        choose_part=lambda limit: part,
        estimate=lambda *, exact, seconds={True: exact, False: quick}: seconds[exact],
        estimate_validation=lambda: 5.0,
        options=SimpleNamespace(split="valid"),
        corpus={"valid": SimpleNamespace(ids=np.zeros(9000))},
        part=None,
    )


def clock(limit: float | None, **counters: object) -> Clock:
    """A clock of a process that took 10 s to load, so that closing takes 7."""
    return Clock(limit, Counters(**counters), began=90.0, loaded=100.0, now=lambda: 100.0)  # type: ignore[arg-type]


def test_the_line_about_time_adds_up() -> None:
    given, measured = clock(100.0), validator()
    lines = plan_measuring(given, measured, begins=True, saved=25_000_000)  # type: ignore[arg-type]
    # loading 10, validation 5 + 8 saves of 25 MB at 200 MB a second, evaluation 20, closing 7
    assert (given.validation, given.evaluation) == (6.0, 20.0)
    assert lines == ["time   1m40s in all: 10s until here, about 57s for training and validation, 33s for the end"]
    assert measured.timed == [(False, 3), (True, 3)]


def test_what_was_used_before_is_told() -> None:
    lines = plan_measuring(clock(100.0, start_up=4.0, seconds=13.0), validator(), begins=False, saved=0)  # type: ignore[arg-type]
    assert lines[0].startswith("time   1m40s in all: 17s used before, 10s until here, about 41s for training")
    lines = plan_measuring(clock(100.0, seconds=58.0), validator(), begins=False, saved=0)  # type: ignore[arg-type]
    assert lines == ["time   1m40s in all: 58s used before, so no time is left for training"]


@pytest.mark.parametrize(("limit", "kept"), [(32.5, True), (32.0, False)])
def test_a_limit_that_leaves_no_time_to_train_is_told_with_one_that_does(limit: float, kept: bool) -> None:
    # loading 10, validation 5, exact evaluation 10, closing 7: 32
    line, *_ = plan_measuring(clock(limit), validator(exact=10.0), begins=False, saved=0)  # type: ignore[arg-type]
    assert ("cannot be kept" not in line) == kept
    assert kept or line.endswith("take about 32s; one step is trained\n       give --time-limit 2m40s or more")


@pytest.mark.parametrize(("limit", "exact"), [(80.0, True), (79.9, False)])
def test_an_exact_evaluation_may_take_a_quarter_of_the_limit(limit: float, exact: bool) -> None:
    given = clock(limit)
    lines = plan_measuring(given, validator(), begins=True, saved=0)  # type: ignore[arg-type]
    assert given.counters.exact is exact
    assert given.evaluation == (20.0 if exact else 8.0)
    assert any("the exact evaluation would take about 20s" in line for line in lines) is not exact


def test_a_part_is_decided_once_and_told_each_time() -> None:
    given, measured = clock(1000.0), validator(part=3000)
    lines = plan_measuring(given, measured, begins=True, saved=0)  # type: ignore[arg-type]
    assert (given.counters.part, measured.part) == (3000, 3000)
    assert "validation reads the first 3,000 of 9,000 valid tokens" in lines[1]
    resumed, measured = clock(1000.0, part=2000, exact=False), validator(part=3000)
    lines = plan_measuring(resumed, measured, begins=False, saved=0)  # type: ignore[arg-type]
    assert (resumed.counters.part, measured.part, resumed.counters.exact) == (2000, 2000, False)
    assert "the first 2,000 of 9,000" in lines[1]


def test_estimates_of_the_evaluation_only_grow() -> None:
    given = clock(1000.0)
    given.evaluation = 15.0
    measured = validator()
    renew_estimate(given, measured)  # type: ignore[arg-type]
    assert (given.evaluation, measured.timed) == (20.0, [(True, 1)])
    given.evaluation = 30.0
    renew_estimate(given, measured)  # type: ignore[arg-type]
    assert given.evaluation == 30.0
    quick, measured = clock(1000.0, exact=False), validator()
    renew_estimate(quick, measured)  # type: ignore[arg-type]
    assert (quick.evaluation, measured.timed) == (8.0, [])
    renew_estimate(free := clock(None), measured)  # type: ignore[arg-type]
    assert (free.evaluation, measured.timed) == (0.0, [])


@pytest.mark.parametrize(
    ("counters", "evaluation", "dropped"),
    [
        ({"finished": True}, 98.1, True),
        ({"finished": True}, 97.9, False),  # 97.9 and 7 for closing: within 105
        ({"finished": False}, 98.1, False),
        ({"finished": True, "exact": False}, 98.1, False),
    ],
)
def test_exactness_is_given_up_where_it_no_longer_fits(
    counters: dict[str, bool], evaluation: float, dropped: bool
) -> None:
    given = clock(100.0, **counters)
    before = given.counters.exact
    given.evaluation = evaluation
    assert len(drop_exactness(given)) == dropped
    assert given.counters.exact == (before and not dropped)
