"""Opens the browser so that no other user of this machine learns the token.

Everybody can read the command lines of running programs, so the browser is started with the name of a file that only
its owner can read, and that leads on to the address.
"""

import contextlib
import html
import os
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

LEADING = (
    '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>recurlm studio</title>'
    '<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">recurlm studio</a>\n'
)


@contextlib.contextmanager
def opened_in_browser(address: str) -> Iterator[None]:
    """Asks the browser for an address; the file that leads to it is removed at the end."""
    with _leading_to(address) as file:
        threading.Thread(target=webbrowser.open, args=(file.as_uri(),), daemon=True).start()
        yield


@contextlib.contextmanager
def _leading_to(address: str) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="recurlm-studio-", suffix=".html")
    file = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(LEADING.format(address=html.escape(address)))
        yield file
    finally:
        file.unlink(missing_ok=True)
