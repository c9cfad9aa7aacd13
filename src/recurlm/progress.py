"""Progress of long work: a live line on a terminal, plain lines elsewhere, or silence."""

import errno
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from recurlm.terminal import escaped, unescaped

LARGEST_SHOWN = 0.99


class Watcher(Protocol):
    """Someone who looks on."""

    def say(self, text: str) -> None:
        """A line worth keeping."""

    def warn(self, text: str) -> None:
        """A line that the user must see, under --quiet too."""

    def step(self, entry: dict[str, Any]) -> None:
        """After a step that is logged."""

    def tick(self, done: float | None, text: str) -> None:
        """Often: the share of the run that is done, None where nobody knows, and a short line."""

    def close(self) -> None:
        """The run is over, well or badly."""


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        return

    def warn(self, text: str) -> None:
        self.say(text)

    def step(self, entry: dict[str, Any]) -> None:
        return

    def tick(self, done: float | None, text: str) -> None:
        return

    def close(self) -> None:
        return


class WarningsOnly(Silent):
    """Under --quiet."""

    def warn(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class PlainLines(Silent):
    """A log line every so many steps on stderr, where there is no terminal."""

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, entry: dict[str, Any]) -> None:
        self.say(describe(entry))


@contextmanager
def perhaps_hung_up() -> Iterator[None]:
    """Write to a terminal that may be gone: the signal that tells of it may come a moment later."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


class LiveLine(Silent):
    """One line on the terminal that is redrawn, and under it nothing."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        self._progress = Progress(
            BarColumn(bar_width=24),
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
                # work goes on for as long as the line is there
                self._progress.update(self._task, completed=min(done, LARGEST_SHOWN), total=1.0)
            self._progress.update(self._task, description=escaped(text))

    def close(self) -> None:
        with perhaps_hung_up():
            self._progress.stop()


def open_watcher(*, quiet: bool = False) -> Watcher:
    """The watcher that fits where stderr goes."""
    if quiet:
        return WarningsOnly()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveLine()
    return PlainLines()


def describe(entry: dict[str, Any]) -> str:
    """One line of numbers for a logged step."""
    return (
        f"epoch {entry['epoch']}  step {entry['step']:,}  loss {entry['loss']:.4f}  "
        f"{perplexity_name(entry)} {entry['perplexity']:.2f}  lr {entry['lr']:.3g}  "
        f"{entry['tokens_per_second'] or 0:,.0f} tokens/s  {entry['sentences_per_second'] or 0:,.0f} sentences/s  "
        f"left {clock(entry['seconds_left'])}"
    )


def perplexity_name(entry: dict[str, Any]) -> str:
    """What a training perplexity is called, which may come from samples of the tokens."""
    return "perplexity (estimated)" if entry.get("estimated") else "perplexity"


def say_all(watcher: Watcher, lines: list[str]) -> None:
    """Say several lines."""
    for line in lines:
        watcher.say(line)


def duration(seconds: float) -> str:
    """Seconds as `--time-limit` takes them, such as 45s, 12m or 1h30m; from ten minutes on in whole minutes."""
    if seconds < 600:
        minutes, rest = divmod(max(math.ceil(seconds), 0), 60)
        return f"{minutes}m{rest:02d}s" if minutes and rest else f"{minutes}m" if minutes else f"{rest}s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours}h{minutes:02d}m" if hours and minutes else f"{hours}h" if hours else f"{minutes}m"


def clock(seconds: float | None) -> str:
    """Seconds as h:mm:ss or m:ss."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
