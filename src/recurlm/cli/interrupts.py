"""Ctrl-C while the command line or a command loads its libraries."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

INTERRUPTED = "recurlm: interrupted"


class CommandInterrupted(BaseException):
    """Ctrl-C in a command. Typer would end the process without a word at a KeyboardInterrupt."""


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


@contextlib.contextmanager
def interrupt_ends() -> Iterator[None]:
    """Inside, Ctrl-C ends the process at once with a plain line and exit code 130. It stays ignored where it was."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: _end())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"{INTERRUPTED}\n".encode())
    os._exit(128 + signal.SIGINT)
