"""Runs the command line in this process as a shell would: arguments and streams in, output and exit code out."""

import contextlib
import io
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch

IGNORED_BY_PYTHON = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
TERMINAL = {"COLUMNS": "100", "TERM": "dumb"}


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code and the bytes of both streams."""

    code: int
    stdout: bytes
    stderr: bytes


class InterruptedStream(io.BytesIO):
    """Sends SIGINT to this process once, as Ctrl-C does, after a line with `text` was written."""

    def __init__(self, text: str | None) -> None:
        super().__init__()
        self._text = None if text is None else text.encode()

    def write(self, content) -> int:
        written = super().write(content)
        if self._text is not None and self._text in self.getvalue() and bytes(content).endswith(b"\n"):
            self._text = None
            signal.raise_signal(signal.SIGINT)
        return written


def succeeding(folder: Path) -> Callable[..., Outcome]:
    """A function that runs `recurlm` in a folder, and takes any exit code but 0 for a failed test."""

    def run(*arguments: object, stdin: str = "") -> Outcome:
        done = run_command(list(map(str, arguments)), stdin=stdin, folder=folder)
        assert done.code == 0, done.stderr
        return done

    return run


def run_command(
    arguments: Sequence[str],
    *,
    stdin: str | bytes = "",
    folder: Path,
    variables: Mapping[str, str] | None = None,
    interrupt_after: str | None = None,
) -> Outcome:
    """Run `recurlm` with these arguments and one thread in a folder, and leave this process as it was.

    The command sees only the RECURLM_ variables in `variables`. It receives SIGINT once it has written
    `interrupt_after` to standard error.
    """
    from recurlm.cli.main import main

    stdout, stderr = io.BytesIO(), InterruptedStream(interrupt_after)
    streams = {
        "stdin": io.TextIOWrapper(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin), "utf-8"),
        "stdout": io.TextIOWrapper(stdout, "utf-8", write_through=True),
        "stderr": io.TextIOWrapper(stderr, "utf-8", errors="backslashreplace", write_through=True),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(_same_process_afterwards())
        stack.enter_context(mock.patch.dict(os.environ, _environment(variables or {}), clear=True))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.multiple(sys, argv=["recurlm", *arguments], **streams))
        # otherwise "Usage:" names the module that python -m runs
        stack.enter_context(mock.patch.object(sys.modules["__main__"], "__package__", None, create=True))
        code = _exit_code(main)
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RECURLM_") or "NATIVE" in key}
    return kept | TERMINAL | dict(variables)


def _exit_code(main) -> int:
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@contextlib.contextmanager
def _same_process_afterwards() -> Iterator[None]:
    """Set Python's default warnings and one thread; restore warnings, signals, threads and random states at the end."""
    handlers = {number: signal.getsignal(number) for number in signal.Signals if number.name in STOPPING}
    threads, states = torch.get_num_threads(), (random.getstate(), np.random.get_state(), torch.get_rng_state())
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.resetwarnings()
            for category in IGNORED_BY_PYTHON:
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_num_threads(threads)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
