"""Progress in a notebook: one line that is redrawn, and plain lines below it."""

import sys
import time
from typing import Any, Protocol

from recurlm.markup import markup
from recurlm.progress import LARGEST_SHOWN, Silent, Watcher, open_watcher
from recurlm.terminal import escaped

REDRAW_SECONDS = 0.25


class Display(Protocol):
    """The function `IPython.display.display`."""

    def __call__(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        """Shows a content by MIME type and returns a handle that can replace it."""


class NotebookLine(Silent):
    """Redraws one line of the output of a cell; other lines are printed."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._handle: Any = None
        self._drawn = -REDRAW_SECONDS

    def say(self, text: str) -> None:
        print(escaped(text), flush=True)

    def tick(self, done: float | None, text: str) -> None:
        now = time.monotonic()
        if self._handle is None or now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._draw(_line(done, text))

    def close(self) -> None:
        if self._handle is not None:
            self._draw({"text/plain": "", "text/html": ""})

    def _draw(self, content: dict[str, str]) -> None:
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def open_python_watcher(*, quiet: bool = False) -> Watcher:
    """The watcher for a call from Python: a redrawn line in a notebook, else as for the command line."""
    display = None if quiet else _notebook_display()
    return open_watcher(quiet=quiet) if display is None else NotebookLine(display)


def _notebook_display() -> Display | None:
    """How to show something in the running notebook; None outside a notebook. Never loads IPython itself."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display  # type: ignore[no-any-return]


def _line(done: float | None, text: str) -> dict[str, str]:
    """The line by MIME type; it never shows 100 % while work continues."""
    share = None if done is None else min(done, LARGEST_SHOWN)
    percent = "" if share is None else f"{share:.0%}  "
    value = "" if share is None else f' value="{share:.3f}"'
    return {
        "text/plain": f"{percent}{escaped(text)}",
        "text/html": f"<progress{value}></progress> <code>{markup(percent + text)}</code>",
    }
