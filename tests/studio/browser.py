"""Debian's Chromium for the tests of the page; they skip where it or playwright is missing."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from studio.page_server import RunningStudio

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
needs_browser = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
MILLISECONDS = 60_000


@contextlib.contextmanager
def browser() -> Iterator["playwright.Browser"]:
    """A browser without a window."""
    with playwright.sync_playwright() as started:
        options = {"args": ["--no-sandbox"]} if os.geteuid() == 0 else {}
        launched = started.chromium.launch(executable_path=str(CHROMIUM), **options)
        yield launched
        launched.close()


@contextlib.contextmanager
def opened(studio: RunningStudio) -> Iterator["playwright.Page"]:
    """The page, light and in English. Afterwards every request must have gone to the studio, and none have failed."""
    requested: list[str] = []
    errors: list[str] = []
    with browser() as launched:
        page = launched.new_page(viewport={"width": 1200, "height": 800}, locale="en-US", color_scheme="light")
        page.set_default_timeout(MILLISECONDS)
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda told: errors.append(f"{told.text} {told.location}") if told.type == "error" else None)
        page.goto(studio.address)
        yield page
    foreign = [url for url in requested if urlsplit(url).netloc != f"127.0.0.1:{studio.port}"]
    assert not [url for url in foreign if not url.startswith("blob:")], foreign
    assert len(requested) > 10, requested
    assert not errors, errors
