"""Few different shapes for any amount of work, because oneDNN keeps half a megabyte of compiled code per shape."""

from collections.abc import Iterator

SIZES = (1024, 256, 64, 16, 4)
"""Numbers of time steps or positions computed at once; a remainder below the last is computed one by one."""


def parts(length: int, largest: int = SIZES[0]) -> Iterator[slice]:
    """Slices of few different lengths, the longest first, none longer than `largest`."""
    start = 0
    while start < length:
        size = next((size for size in SIZES if size <= min(length - start, largest)), 1)
        yield slice(start, start + size)
        start += size


def rounded_up(size: int) -> int:
    """The next larger of a few sizes: multiples of 4 below 64, then eight sizes in each doubling."""
    step = max(4, 1 << max((size - 1).bit_length() - 4, 0))
    return -(-size // step) * step
