"""Progress of long work: a live line on a terminal, plain lines elsewhere, or silence."""

import errno
import math
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from recurlm.terminal import escaped, unescaped

LARGEST_SHOWN = 0.99
BETWEEN_PARTS = "  "
"""Stands between the parts of a text beside a progress bar, the most important part first."""
WIDE_TERMINAL = 80
WIDE_BAR, NARROW_BAR = 24, 12
BESIDE_BAR = 8
"""Columns that the percentage and the spaces between take."""


class Watcher(Protocol):
    """Receives progress events."""

    def say(self, text: str) -> None:
        """Receives a line worth keeping."""

    def warn(self, text: str) -> None:
        """Receives a line that the user must see, even with --quiet."""

    def step(self, text: str) -> None:
        """Receives a line about a logged step of training."""

    def epoch(self, text: str, specimen: str | None) -> None:
        """Receives a line about a validated epoch, and what the model writes by then, if that is known."""

    def tick(self, done: float | None, text: str) -> None:
        """Receives, often, the fraction of the work that is done (None: unknown) and a short text.

        `BETWEEN_PARTS` separates the parts of the text, the most important one first.
        """

    def close(self) -> None:
        """Receives the end of the work, whether it succeeded or failed."""


class Silent:
    """Shows nothing."""

    def say(self, text: str) -> None:
        return

    def warn(self, text: str) -> None:
        self.say(text)

    def step(self, text: str) -> None:
        return

    def epoch(self, text: str, specimen: str | None) -> None:
        self.say(text)
        if specimen is not None:
            self.say(f"  it writes: {specimen}")

    def tick(self, done: float | None, text: str) -> None:
        return

    def close(self) -> None:
        return


class WarningsOnly(Silent):
    """Shows warnings only, for --quiet."""

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class PlainLines(Silent):
    """Prints every line on stderr, logged steps included; for output that is not a terminal."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, text: str) -> None:
        self.say(text)


@contextmanager
def perhaps_hung_up() -> Iterator[None]:
    """Permits writing to a terminal that may have hung up: its signal may arrive a moment after the failed write."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class LiveLine(Silent):
    """Redraws one line at the bottom of the terminal; other lines scroll above it.

    A narrow terminal shows a shorter bar and as many parts of the text as fit.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._bar = BarColumn(bar_width=WIDE_BAR)
        self._progress = Progress(
            self._bar,
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=unescaped(sys.stderr)),
            transient=True,
            refresh_per_second=8,
        )
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def say(self, text: str) -> None:
        with perhaps_hung_up():
            self._progress.console.print(escaped(text), markup=False, highlight=False)

    def tick(self, done: float | None, text: str) -> None:
        with perhaps_hung_up():
            if done is not None:
                # the line never shows 100 % while work continues
                self._progress.update(self._task, completed=min(done, LARGEST_SHOWN), total=1.0)
            width = self._progress.console.width
            self._bar.bar_width = WIDE_BAR if width >= WIDE_TERMINAL else NARROW_BAR
            shown = fitted(escaped(text), width - self._bar.bar_width - BESIDE_BAR)
            self._progress.update(self._task, description=shown)

    def close(self) -> None:
        with perhaps_hung_up():
            self._progress.stop()


def fitted(text: str, width: int) -> str:
    """The first parts of a text that fit into a number of columns; the first part is cut where it alone does not."""
    from rich.cells import cell_len, set_cell_size

    first, *rest = text.split(BETWEEN_PARTS)
    shown = first if cell_len(first) <= width else set_cell_size(first, max(width, 1) - 1) + "…"
    for part in rest:
        longer = f"{shown}{BETWEEN_PARTS}{part}"
        if cell_len(longer) > width:
            break
        shown = longer
    return shown


def open_watcher(*, quiet: bool = False) -> Watcher:
    """The watcher that suits stderr: a live line on a terminal, else plain lines; warnings only if `quiet`."""
    if quiet:
        return WarningsOnly()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveLine()
    return PlainLines()


def say_all(watcher: Watcher, lines: Iterable[str]) -> None:
    """Says several lines."""
    for line in lines:
        watcher.say(line)


def duration(seconds: float) -> str:
    """Seconds as `--time-limit` takes them, such as 45s, 12m or 1h30m; in whole minutes from ten minutes upward."""
    if seconds < 600:
        minutes, rest = divmod(max(math.ceil(seconds), 0), 60)
        return f"{minutes}m{rest:02d}s" if minutes and rest else f"{minutes}m" if minutes else f"{rest}s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours}h{minutes:02d}m" if hours and minutes else f"{hours}h" if hours else f"{minutes}m"


def hours_minutes_seconds(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss; `?` for None and for numbers that are not finite."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
