"""`--processes`: several processes that carry out one command."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recurlm.cli.interrupts import interrupt_held
from recurlm.errors import StoppedError, UsageError

if TYPE_CHECKING:
    from recurlm.distributed import Team


SECONDS_TO_TELL = 2.0


def settle_processes(asked: int | None, restarts: int, check: Callable[[], None] = lambda: None) -> int | None:
    """Starts the processes that the user asks for; returns the exit code of the command once they have ended.

    Before that, `check` raises the errors that each of them would meet. They start again at most `restarts` times if
    one of them is killed. Returns None where this process carries out the command: alone, or as one of those that were
    started. Raises UsageError where another number of them was started.
    """
    started = os.environ.get("WORLD_SIZE") if "TORCHELASTIC_RUN_ID" in os.environ else None
    if started is not None:
        if asked not in (None, int(started)):
            raise UsageError(f"--processes {asked}: torchrun started {started} processes; leave --processes out")
        return None
    if asked in (None, 1):
        if restarts:
            raise UsageError("--max-restarts belongs to --processes 2 or more")
        return None
    check()
    with interrupt_held():
        from recurlm.training.launching import launch

    assert asked is not None
    return launch(asked, sys.argv[1:], restarts)


def refuse_with_seeds(seed: int | None, restarts: int) -> None:
    """Raises UsageError for what does not go with --seeds: --seed, --max-restarts, and torchrun."""
    if seed is not None:
        raise UsageError("--seeds names all seeds; leave --seed out")
    if restarts:
        raise UsageError("--max-restarts belongs to one run; with --seeds, give the command again with --resume")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError("torchrun trains one model; start --seeds without it, with --processes for seeds at a time")


@contextmanager
def told_by_first() -> Iterator[None]:
    """Inside, a UsageError that all processes of torchrun meet is told by the first one of each machine."""
    try:
        yield
    except UsageError as error:
        if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        time.sleep(SECONDS_TO_TELL)  # torchrun ends the others when this process ends
        raise SystemExit(error.exit_code) from error


@contextmanager
def told_once(team: Team) -> Iterator[None]:
    """Inside, an error that several processes meet is told once: by the first process, or by the launcher.

    At the end this process leaves its team.
    """
    from recurlm.distributed import LostProcessError, leave_to_launcher, note_stop
    from recurlm.training.step import DivergedError

    try:
        with team:
            yield
    except (StoppedError, DivergedError) as error:
        if team.leads:
            if isinstance(error, StoppedError):
                note_stop()
            raise
        raise SystemExit(error.exit_code) from error
    except LostProcessError:
        leave_to_launcher()
        raise
