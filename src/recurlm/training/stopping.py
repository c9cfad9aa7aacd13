"""Ctrl-C, SIGTERM and SIGHUP: the first signal asks to stop at the next step, the second ends the process at once."""

import os
import signal
import sys
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

from recurlm.distributed import Team


def stopping_signals() -> list[int]:
    """The signals that ask to stop. SIGHUP is not among them if it is ignored, as under nohup."""
    hangup = getattr(signal, "SIGHUP", None)
    heard = hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([hangup] if heard and hangup is not None else [])]


class StopRequest:
    """Inside, the first signal sets `requested` instead of ending the program; the second ends the program."""

    def __init__(self, signals: Iterable[int] | None = None) -> None:
        """`signals` are those that ask to stop; by default all of `stopping_signals`."""
        self.requested = False
        self._signals = signals
        self._before: dict[int, Any] = {}
        self._terminals: list[TextIO] = []

    def __enter__(self) -> Self:
        # a terminal that has hung up no longer says that it is a terminal
        self._terminals = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and stream.isatty()]
        for number in stopping_signals() if self._signals is None else self._signals:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            leave(self._terminals)
        if not self.requested:
            self.requested = True
            return
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)


class AgreedStop:
    """A request to stop that reached any process of a team: all of them see it at the same look."""

    def __init__(self, request: StopRequest, team: Team) -> None:
        self._request, self._team = request, team

    @property
    def requested(self) -> bool:
        """Whether to stop. All processes look together. The end of the launcher is a request too."""
        if self._team.count == 1:
            return self._request.requested
        return self._team.sum([self._request.requested or self._team.abandoned])[0] > 0


Stop = StopRequest | AgreedStop


def leave(terminals: list[TextIO]) -> None:
    """Sends the output for terminals that have hung up nowhere: writing to them would fail and change the exit code."""
    for terminal in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, terminal.fileno())
        os.close(nowhere)
