"""Checks that the options of test-time adaptation share."""

import math

from recurlm.errors import UsageError


def need_natural(**values: int) -> None:
    """Raises UsageError for a value below 1."""
    for name, value in values.items():
        if value < 1:
            raise UsageError(f"{name} {value}: must be at least 1")


def need_positive(**values: float) -> None:
    """Raises UsageError for a value that is not above 0 and finite."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} {value}: must be above 0")


def need_not_negative(**values: float) -> None:
    """Raises UsageError for a value below 0 or not finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise UsageError(f"{name} {value}: must be at least 0")


def need_share(**values: float) -> None:
    """Raises UsageError for a value outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name} {value}: must be at least 0 and below 1")
