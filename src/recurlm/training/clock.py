"""The time of a run: the time that it has used over all restarts, and the time that its limit leaves for training."""

import time
from collections.abc import Callable

from recurlm.training.counters import Counters

CLOSING_SHARE = 0.7
"""Drawing the pictures and ending the process take about this share of the time that loading the program took."""
VALIDATION_SHARE = 0.1
"""Largest share of a time limit for validation, apart from the last validation."""

EXCESS = 0.1
"""Share of its limit by which a run may end late."""


def now() -> float:
    """Seconds of the clock that all times of a run are read from."""
    return time.monotonic()


class Clock:
    """Adds passing time to the counters of a run, and compares it with the limit of the run.

    The limit covers the whole run: each process counts from its beginning, and the time after the last checkpoint of a
    killed process does not count. `validation` and `evaluation` are estimates of the seconds of one validation and of
    the final evaluation; the training loop updates them after each measurement.
    """

    def __init__(
        self,
        limit: float | None = None,
        counters: Counters | None = None,
        *,
        began: float | None = None,
        loaded: float | None = None,
        now: Callable[[], float] = now,
    ) -> None:
        """`limit` in seconds; `began` and `loaded`: when this process began, and when its modules were loaded."""
        self.counters, self.limit, self.now = counters or Counters(), limit, now
        self.loaded = self._last = now() if loaded is None else loaded
        self.began = self.loaded if began is None else began
        self.validation = self.evaluation = 0.0

    @property
    def closing(self) -> float:
        """Estimated seconds from the last figure to the end of the process."""
        return CLOSING_SHARE * (self.loaded - self.began)

    def start(self) -> None:
        """Starts the training time; everything that this process did before counts as start-up."""
        self._last = self.now()
        self.counters.start_up += self._last - self.began

    def lap(self) -> None:
        """Adds the time since the last lap to the counters."""
        passed = self.now() - self._last
        self.counters.seconds += passed
        self.counters.window_seconds += passed
        self._last += passed

    @property
    def used(self) -> float:
        """Seconds of the run until the last lap, start-up included."""
        return self.counters.start_up + self.counters.seconds

    @property
    def left(self) -> float | None:
        """Seconds until the process should begin to close; None without a limit, negative beyond it."""
        return None if self.limit is None else self.limit - self.closing - self.used

    @property
    def training_limit(self) -> float | None:
        """Seconds of training and validation until the last step; None without a limit."""
        if self.limit is None:
            return None
        return self.limit - self.counters.start_up - self.closing - self.evaluation - self.validation_cost

    @property
    def validation_cost(self) -> float:
        """Seconds of a validation: the longest so far, or the estimate before the first."""
        return self.counters.longest_validation or self.validation

    @property
    def is_up(self) -> bool:
        """Whether training must end now, so that the run ends within its limit; never before the first step."""
        limit = self.training_limit
        return limit is not None and self.counters.step > 0 and self.counters.seconds >= limit

    @property
    def evaluation_fits(self) -> bool:
        """Whether the final evaluation ends within the limit, half of the permitted excess included."""
        return self.limit is None or self.used + self.evaluation + self.closing <= self.limit * (1 + EXCESS / 2)

    @property
    def share(self) -> float:
        """Fraction of the training time budget already used; 0 without a limit, above 1 beyond it."""
        limit = self.training_limit
        if limit is None:
            return 0.0
        return self.counters.seconds / limit if limit > 0 else 1.0

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation now stays within its share of the time."""
        since = self.counters.seconds - self.counters.validated_at
        return self.limit is None or VALIDATION_SHARE * (since + self.validation_cost) >= self.validation_cost
