"""The plan of a run under a time limit: what validations and the final evaluation read, and the time that they take."""

from recurlm.progress import duration
from recurlm.training.clock import Clock
from recurlm.training.validation import Validator

LARGEST_EVALUATION = 1 / 4
"""Share of a time limit that an exact final evaluation may take."""
SAVES, SAVED_BYTES_A_SECOND = 8, 2e8
"""A validation writes the weights about this often, in two checkpoints and as the model, at this speed."""


def plan_measuring(clock: Clock, validator: Validator, *, begins: bool, saved: int) -> list[str]:
    """Estimates the time of validations and of the final evaluation, and returns lines about them for the user.

    For a run that begins, decides what is measured. `saved` is the size of the weights in bytes.
    """
    limit, counters = clock.limit or 0.0, clock.counters
    for exact in (False, True):
        validator.time(exact=exact, repeats=3)
    if begins:
        counters.part = validator.choose_part(limit)
        counters.exact = validator.estimate(exact=True) <= limit * LARGEST_EVALUATION
    validator.part = counters.part
    clock.validation = validator.estimate_validation() + SAVES * saved / SAVED_BYTES_A_SECOND
    clock.evaluation = validator.estimate(exact=counters.exact)
    return [*_time_lines(clock), *_measuring_lines(validator, exact=counters.exact)]


def renew_estimate(clock: Clock, validator: Validator) -> None:
    """Renews the estimated time of the final evaluation; validations time themselves."""
    exact = clock.counters.exact
    if clock.limit is None:
        return
    if exact:
        validator.time(exact=True)
    clock.evaluation = max(clock.evaluation, validator.estimate(exact=exact))


def drop_exactness(clock: Clock) -> list[str]:
    """At the end of a run, gives up an exact evaluation that no longer fits the limit; returns a line if it does."""
    counters = clock.counters
    if not counters.finished or not counters.exact or clock.evaluation_fits:
        return []
    counters.exact = False
    return ["the exact evaluation no longer fits into the time limit: the end measures as validation"]


def _time_lines(clock: Clock) -> list[str]:
    limit, used, loading = clock.limit or 0.0, clock.used, clock.now() - clock.began
    others = loading + clock.validation + clock.evaluation + clock.closing
    training = limit - used - others
    before = f"{duration(used)} used before, " if used else ""
    if training > 0:
        return [
            f"time   {duration(limit)} in all: {before}{duration(loading)} until here, about {duration(training)} for "
            f"training and validation, {duration(limit - used - loading - training)} for the end"
        ]
    if used:
        return [f"time   {duration(limit)} in all: {before}so no time is left for training"]
    return [
        f"time   the limit of {duration(limit)} cannot be kept: starting, measuring and closing take about "
        f"{duration(others)}; one step is trained\n"
        f"       give --time-limit {duration(5 * others)} or more"
    ]


def _measuring_lines(validator: Validator, *, exact: bool) -> list[str]:
    lines, split = [], validator.options.split
    if validator.part is not None:
        whole = len(validator.corpus[split].ids)
        lines.append(
            f"       validation reads the first {validator.part:,} of {whole:,} {split} tokens: all of them would take "
            "too much of the time"
        )
    if not exact:
        seconds = duration(validator.estimate(exact=True))
        lines.append(
            f"       the exact evaluation would take about {seconds}: the end measures as validation does; the exact "
            "figures later: recurlm eval RUN"
        )
    return lines
