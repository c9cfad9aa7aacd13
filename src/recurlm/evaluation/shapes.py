"""Few different shapes for much work: oneDNN keeps compiled code, half a megabyte or more, for each it has met."""

from collections.abc import Iterator

SIZES = (1024, 256, 64, 16, 4)
"""Time steps or positions that are computed at once; a remainder below the last is computed one by one."""


def parts(length: int, largest: int = SIZES[0]) -> Iterator[slice]:
    """Slices of few different lengths, the longest first, none above `largest`."""
    start = 0
    while start < length:
        size = next((size for size in SIZES if size <= min(length - start, largest)), 1)
        yield slice(start, start + size)
        start += size


def rounded_up(size: int) -> int:
    """The next size of which there are eight in each doubling, multiples of 4 below 64."""
    step = max(4, 1 << max((size - 1).bit_length() - 4, 0))
    return -(-size // step) * step
