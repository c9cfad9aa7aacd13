"""Checks that the options of test-time adaptation share."""

from recurlm.errors import UsageError

LARGEST = 1e6
"""Whatever lies above would overflow the weights' type sooner or later."""
LARGEST_COUNT = 1_000_000


def need_natural(**values: int) -> None:
    """Raises UsageError for a value below 1 or far too large."""
    for name, value in values.items():
        if not 1 <= value <= LARGEST_COUNT:
            raise UsageError(f"{name} {value}: must be from 1 to {LARGEST_COUNT:,}")


def need_positive(**values: float) -> None:
    """Raises UsageError for a value that is not above 0, or far too large."""
    for name, value in values.items():
        if not 0 < value <= LARGEST:
            raise UsageError(f"{name} {value}: must be above 0 and at most {LARGEST:g}")


def need_not_negative(**values: float) -> None:
    """Raises UsageError for a value below 0 or far too large."""
    for name, value in values.items():
        if not 0 <= value <= LARGEST:
            raise UsageError(f"{name} {value}: must be at least 0 and at most {LARGEST:g}")


def need_share(**values: float) -> None:
    """Raises UsageError for a value outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name} {value}: must be at least 0 and below 1")


def need_seed(seed: int) -> None:
    """Raises UsageError for a seed that torch's generator does not take."""
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: must be at least 0 and below 2 ** 63")
