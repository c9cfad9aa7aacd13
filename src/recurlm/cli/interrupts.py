"""Ctrl-C while a command loads its libraries."""

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def interrupt_held() -> Iterator[None]:
    """Holds Ctrl-C back until the end: while libraries load, C code drops the exception and the signal is lost."""
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)
