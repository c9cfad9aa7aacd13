"""`--processes`: several processes that carry out one command."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recurlm.cli.interrupts import interrupt_held
from recurlm.errors import RecurlmError, RecurlmWarning, StoppedError, UsageError
from recurlm.launched import note_stop

if TYPE_CHECKING:
    from recurlm.distributed import Team


SECONDS_TO_TELL = 2.0


def settle_processes(
    asked: int | None, restarts: int, advice: str, check: Callable[[], None] = lambda: None
) -> int | None:
    """Starts the processes that the user asks for; returns the exit code of the command once they have ended.

    Before that, `check` raises the errors that each of them would meet. They start again at most `restarts` times if
    one of them is killed; after that, the user is told with this advice. Returns None where this process carries out
    the command: alone, or as one of those that were started. Raises UsageError where another number of them was
    started.
    """
    started = _launched_processes()
    if started is not None:
        if asked not in (None, started):
            raise UsageError(f"--processes {asked}: torchrun started {started} processes; leave --processes out")
        return None
    if asked in (None, 1):
        if restarts:
            raise UsageError("--max-restarts belongs to --processes 2 or more")
        return None
    check()
    with interrupt_held():
        from recurlm.distributed import LostProcessError
        from recurlm.launching import launch

    assert asked is not None
    try:
        return launch(asked, sys.argv[1:], restarts)
    except LostProcessError as error:
        raise LostProcessError(f"{error}\n{advice}") from error


def number_of_processes(asked: int | None) -> int:
    """How many processes carry out the command: as many as were started, or as the user asks for."""
    return _launched_processes() or asked or 1


def _launched_processes() -> int | None:
    """The number of processes that torch's launcher started; None where it did not start this one."""
    return int(os.environ["WORLD_SIZE"]) if _is_launched() else None


def _is_launched() -> bool:
    """Whether torch's launcher started this process; asks before torch is loaded."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def refuse_with_seeds(seed: int | None, restarts: int) -> None:
    """Raises UsageError for what does not go with --seeds: --seed, --max-restarts, and torchrun."""
    if seed is not None:
        raise UsageError("--seeds names all seeds; leave --seed out")
    if restarts:
        raise UsageError("--max-restarts belongs to one run; with --seeds, give the command again with --resume")
    if _is_launched():
        raise UsageError("torchrun trains one model; start --seeds without it, with --processes for seeds at a time")


@contextmanager
def told_by_first() -> Iterator[None]:
    """Inside, a UsageError that all processes of torchrun meet is told by the first one of each machine."""
    try:
        yield
    except UsageError as error:
        if not _is_launched() or os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        time.sleep(SECONDS_TO_TELL)  # torchrun ends the others when this process ends
        raise SystemExit(error.exit_code) from error


@contextmanager
def told_once(team: Team, advice: str, *shared: type[RecurlmError]) -> Iterator[None]:
    """Inside, what several processes meet together is told once.

    The first process tells its warnings and the errors that all processes meet (`shared`). An error that a lost process
    causes comes with the advice, or is left to the launcher. At the end this process leaves its team.
    """
    from recurlm.distributed import LostProcessError, leave_to_launcher

    if not team.leads:
        warnings.simplefilter("ignore", RecurlmWarning)
    try:
        with team:
            yield
    except shared as error:
        if team.leads:
            if isinstance(error, StoppedError):
                note_stop()
            raise
        raise SystemExit(error.exit_code) from error
    except LostProcessError as error:
        leave_to_launcher()
        raise LostProcessError(f"{error}\n{advice}") from error
