"""The page of `recurlm studio` in a browser: until it is visible, scrolling a long heat map, and eight tabs."""

import contextlib
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import recurlm
from benchmarks._measure import Spread
from benchmarks._report import Check, Options, Result, Row, run

JOB = "studio-page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_VISIBLE_SECONDS, LEAST_FRAMES_A_SECOND, TABS = 1.0, 30, 8
MOST_FRAME = 1000 / LEAST_FRAMES_A_SECOND
ANSWER_SECONDS = 10
LINE = 20
SCROLL = """seconds => new Promise((resolve) => {
  const page = document.scrollingElement, most = page.scrollHeight - innerHeight, times = [];
  const frame = (now) => {
    times.push(now);
    const part = (now - times[0]) / (1000 * seconds);
    page.scrollTop = most * Math.min(1, part);
    if (part < 1) requestAnimationFrame(frame); else resolve(times);
  };
  requestAnimationFrame(frame);
})"""
ASK = "fetch('/runs').then((answer) => answer.json()).then((told) => told.runs.length)"
Browser = Any
Page = Any


def measure(options: Options) -> Result:
    """The studio in a process of its own, beside a browser without a window."""
    size, words = options.pick(256, 256, 16), options.pick(10_000, 10_000, 100)
    tokens = options.pick(10_000, 10_000, 400)
    told = f"2 × {size} model, {words:,} words, heat map of {tokens:,} tokens"
    if reason := _lacking():
        return Result(JOB, told, [], left_out={"the page": reason})
    with tempfile.TemporaryDirectory() as folder:
        runs, text = Path(folder, "runs"), _text(words, tokens)
        _train(text, runs / "model", size)
        with _studio(runs) as address, _browser() as browser:
            visible = [_visible_seconds(browser, address) for _ in range(options.pick(20, 5, 1))]
            lines, whole = (_scrolled(browser, address, shown, options) for shown in (text, text.replace("\n", " ")))
            asked = _tabs(browser, address)
    return Result(JOB, told, _rows(visible, lines, whole, asked), (_answered(asked),))


def _rows(visible: list[float], lines: "Scrolled", whole: "Scrolled", asked: list[float]) -> list[Row]:
    return [
        Row(JOB, "page visible", Spread.of(visible), "s", at_most=MOST_VISIBLE_SECONDS),
        Row(JOB, "heat map, from the click to its colours", Spread.of([lines[0]]), "s"),
        *_frames(f"scrolling, lines of {LINE} words", lines[1]),
        *_frames("scrolling, one paragraph", whole[1]),
        Row(JOB, f"answer in each of {TABS} tabs beside a training", Spread.of(asked), "s", at_most=1.0),
    ]


def _frames(name: str, times: Sequence[float]) -> list[Row]:
    """Mean and 99th percentile of the time between two frames, from their times in ms."""
    between = [after - before for before, after in itertools.pairwise(times)]
    late = sorted(between)[-1 - len(between) // 100]
    mean = Spread(statistics.mean(between), min(between), max(between))
    return [
        Row(JOB, f"{name}: a frame", mean, "ms", at_most=MOST_FRAME),
        Row(JOB, f"{name}: a frame, 99th percentile", Spread.of([late]), "ms"),
    ]


def _answered(asked: list[float]) -> Check:
    return Check("every tab answered", len(asked) == TABS and max(asked) < ANSWER_SECONDS, {"slowest": max(asked)})


def _lacking() -> str:
    """Why the page cannot be opened here; empty where it can."""
    if find_spec("playwright") is None:
        return "playwright is not installed"
    return "" if _program() else f"no browser: none of {', '.join(BROWSERS)} is installed"


def _program() -> str | None:
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _text(words: int, tokens: int) -> str:
    """Lines of words, each word at least once, then as Zipf has them."""
    draw = random.Random(1)
    weights = [1 / rank for rank in range(1, words + 1)]
    chosen = [*range(words), *draw.choices(range(words), weights, k=tokens)]
    draw.shuffle(chosen)
    each = [f"w{number}" for number in chosen[:tokens]]
    return "\n".join(" ".join(each[start : start + LINE]) for start in range(0, tokens, LINE))


def _train(text: str, out: Path, size: int) -> None:
    """One epoch, so that there is a model."""
    source = out.parent.with_name("text.txt")
    source.write_text(text + "\n", encoding="utf-8")
    model = {"embedding_size": size, "hidden_sizes": [size, size]}
    recurlm.train(source, out=out, epochs=1, quiet=True, device="cpu", text={"minimum_count": 1}, model=model)


@contextlib.contextmanager
def _studio(runs: Path) -> Iterator[str]:
    """A running studio's first address."""
    command = [sys.executable, "-m", "recurlm.cli.main", "studio", str(runs), "--no-open", "--device", "cpu"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.communicate()


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        options = {"args": ["--no-sandbox"]} if os.geteuid() == 0 else {}
        launched = started.chromium.launch(executable_path=_program(), **options)
        yield launched
        launched.close()


def _visible_seconds(browser: Browser, address: str) -> float:
    """From the first address in a browser that knows nothing of it to the table of runs and its curves."""
    with contextlib.closing(browser.new_context(locale="en-US")) as context:
        page = context.new_page()
        begin = time.perf_counter()
        page.goto(address, wait_until="commit")
        page.wait_for_selector("tbody tr")
        page.wait_for_selector("svg.chart")
        return time.perf_counter() - begin


Scrolled = tuple[float, list[float]]
"""Seconds from the click to the heat map, and the times of frames in ms while it scrolls."""


def _scrolled(browser: Browser, address: str, text: str, options: Options) -> Scrolled:
    with contextlib.closing(browser.new_context(locale="en-US")) as context:
        page = _opened(context, address)
        page.click("#to-surprisal")
        page.fill("#text", text)
        begin = time.perf_counter()
        page.click("#show")
        page.wait_for_selector(".heat span[data-at]", timeout=120_000)
        seconds = time.perf_counter() - begin
        return seconds, page.evaluate(SCROLL, options.pick(10, 5, 1))


def _opened(context: Any, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("tbody tr")
    return page


def _tabs(browser: Browser, address: str) -> list[float]:
    """Seconds that a request takes in each of many tabs of one browser, all of which follow a training.

    It trains on the embedded text, since a short one is learned before all tabs are open.
    """
    with contextlib.closing(browser.new_context(locale="en-US")) as context:
        pages = [_opened(context, address)]
        body = {"name": "training", "time_limit": "10m"}
        pages[0].request.post(address.partition("?")[0] + "training", data=body)
        pages += [_opened(context, address) for _ in range(TABS - 1)]
        for page in pages:
            page.wait_for_selector("td.alive", timeout=120_000)
        found = [_seconds(page) for page in pages]
        pages[0].request.post(address.partition("?")[0] + "training/stop")
        return found


def _seconds(page: Page) -> float:
    begin = time.perf_counter()
    page.set_default_timeout(ANSWER_SECONDS * 1000)
    page.wait_for_function(ASK)
    return time.perf_counter() - begin


def main() -> None:
    """Print and record it."""
    run(JOB, __doc__, measure)


if __name__ == "__main__":
    main()
