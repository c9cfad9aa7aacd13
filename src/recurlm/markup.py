"""HTML for notebooks: escaped, self-contained, and without colors of text or page, so that any theme can show it."""

import html
from collections.abc import Iterable

from recurlm.terminal import escaped

CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0"


def markup(text: str) -> str:
    """A text as HTML shows it: markup and control characters are escaped."""
    return html.escape(escaped(text))


def table(rows: Iterable[tuple[str, str]]) -> str:
    """A table of two columns, the names of facts and the facts."""
    lines = (
        f'<tr><th style="{CELL}">{markup(name)}</th><td style="{CELL}">{markup(fact)}</td></tr>' for name, fact in rows
    )
    return f"<table>{''.join(lines)}</table>"
