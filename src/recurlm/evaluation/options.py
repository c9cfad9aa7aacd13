"""Checks shared by the options of adaptation at test time."""

from recurlm.errors import UsageError

LARGEST = 1e6
"""Larger values would overflow the type of the weights sooner or later."""
LARGEST_COUNT = 1_000_000


def need_natural(**values: int) -> None:
    """Raises UsageError for a value below 1 or above `LARGEST_COUNT`."""
    for name, value in values.items():
        if not 1 <= value <= LARGEST_COUNT:
            raise UsageError(f"{name} {value}: must be from 1 to {LARGEST_COUNT:,}")


def need_positive(**values: float) -> None:
    """Raises UsageError for a value not above 0, or above `LARGEST`."""
    for name, value in values.items():
        if not 0 < value <= LARGEST:
            raise UsageError(f"{name} {value}: must be above 0 and at most {LARGEST:g}")


def need_not_negative(**values: float) -> None:
    """Raises UsageError for a value below 0 or above `LARGEST`."""
    for name, value in values.items():
        if not 0 <= value <= LARGEST:
            raise UsageError(f"{name} {value}: must be at least 0 and at most {LARGEST:g}")


def need_share(**values: float) -> None:
    """Raises UsageError for a value outside [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UsageError(f"{name} {value}: must be at least 0 and below 1")


def need_seed(seed: int) -> None:
    """Raises UsageError for a seed that torch's generator rejects."""
    if not 0 <= seed < 2**63:
        raise UsageError(f"seed {seed}: must be at least 0 and below 2 ** 63")
