import json
import os
import subprocess
import sys

import pytest
from benchmarks._record import ROOT
from benchmarks._report import Options

from benchmarks import studio_page
from studio.browser import needs_browser


def test_without_a_browser_it_says_why(monkeypatch):
    monkeypatch.setattr(studio_page, "BROWSERS", ("no-such-browser",))
    result = studio_page.measure(Options("tiny"))
    assert result.left_out == {"the page": "no browser: none of no-such-browser is installed"}
    assert result.rows == []


def test_the_text_has_every_word_and_the_asked_number_of_tokens():
    lines = [line.split() for line in studio_page._text(100, 400).splitlines()]
    assert sum(map(len, lines)) == 400
    assert {len(line) for line in lines} == {20}
    assert len({word for line in lines for word in line}) > 80


def test_frames_are_told_by_the_time_between_them():
    mean, late = studio_page._frames("scrolling", [0, 10, 20, 30, 60])
    assert (mean.figure.median, mean.met) == (15, True)
    assert late.figure.median == 30
    slow, _ = studio_page._frames("scrolling", [0, 40, 80])
    assert slow.met is False


@pytest.mark.thorough
@needs_browser
def test_a_tiny_measurement_opens_the_page_scrolls_and_asks_in_every_tab(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "studio_page", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=300)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((tmp_path / "summary.json").read_text())["studio-page"]["results"]
    assert result["left_out"] == {}
    assert all(row["figure"]["median"] > 0 for row in result["rows"])
    assert [check["passed"] for check in result["checks"]] == [True]
