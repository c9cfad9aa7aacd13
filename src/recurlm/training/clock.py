"""The time of a run: what it has used over all restarts, and what its limit leaves for training."""

import time

from recurlm.training.counters import Counters

CLOSING_SHARE = 0.7
"""Pictures and the end of the process take about this share of the time in which the program was loaded."""
VALIDATION_SHARE = 0.1
"""Validation takes at most this share of the time under a limit, its last one excepted."""

EXCESS = 0.1
"""Share of its limit by which a run may end late."""


def now() -> float:
    """Seconds of the clock that all times of a run are read from."""
    return time.monotonic()


class Clock:
    """Adds the time that passes to the counters of a run, and holds it against the run's limit.

    The limit is the whole run's: each process counts from its beginning, and the time after the last checkpoint of a
    process that was killed does not count. `validation` and `evaluation` are estimates of the seconds that one
    validation and the measuring at the end take; the training loop updates them after each measurement.
    """

    def __init__(self, limit: float | None = None, *, began: float | None = None, loaded: float | None = None) -> None:
        """`limit` in seconds; `began` and `loaded` say when this process began and when its modules were loaded."""
        self.counters, self.limit = Counters(), limit
        self.loaded = self._last = now() if loaded is None else loaded
        self.began = self.loaded if began is None else began
        self.validation = self.evaluation = 0.0

    @property
    def closing(self) -> float:
        """Seconds from the last figure to the end of the process, estimated."""
        return CLOSING_SHARE * (self.loaded - self.began)

    def start(self, counters: Counters) -> None:
        """Begin to count into these counters; what this process did before belongs to starting."""
        self.counters, self._last = counters, now()
        counters.start_up += self._last - self.began

    def lap(self) -> None:
        """Count the time since the last lap as time of the run."""
        passed = now() - self._last
        self.counters.seconds += passed
        self.counters.window_seconds += passed
        self._last += passed

    @property
    def used(self) -> float:
        """Seconds of the run until the last lap."""
        return self.counters.start_up + self.counters.seconds

    @property
    def left(self) -> float | None:
        """Seconds until the end of the process should begin; None without a limit, below 0 beyond it."""
        return None if self.limit is None else self.limit - self.closing - self.used

    @property
    def training_limit(self) -> float | None:
        """Seconds of the run, starting excepted, until its last step; None without a limit."""
        if self.limit is None:
            return None
        return self.limit - self.counters.start_up - self.closing - self.evaluation - self.validation_cost

    @property
    def validation_cost(self) -> float:
        """Seconds of a validation: the longest there was, or what was estimated."""
        return self.counters.longest_validation or self.validation

    @property
    def is_up(self) -> bool:
        """Whether training must end, so that what follows ends within the limit; not before the first step."""
        limit = self.training_limit
        return limit is not None and self.counters.step > 0 and self.counters.seconds >= limit

    @property
    def evaluation_fits(self) -> bool:
        """Whether the measuring at the end keeps nearly within the limit."""
        return self.limit is None or self.used + self.evaluation + self.closing <= self.limit * (1 + EXCESS / 2)

    @property
    def share(self) -> float:
        """Fraction of the training time that is used; 0 without a limit, above 1 beyond it."""
        limit = self.training_limit
        if limit is None:
            return 0.0
        return self.counters.seconds / limit if limit > 0 else 1.0

    @property
    def validation_is_due(self) -> bool:
        """Whether a validation now keeps within its share of the time."""
        since = self.counters.seconds - self.counters.validated_at
        return self.limit is None or VALIDATION_SHARE * (since + self.validation_cost) >= self.validation_cost
