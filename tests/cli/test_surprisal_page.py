"""Run the commands and the programs of docs/surprisal.md with its items, on a small model that knows their words."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]
DOCS = Path(__file__).parent.parent.parent / "docs"
ITEMS = DOCS / "examples" / "items.csv"
PAGES = ("surprisal.md", "surprisal.zh.md")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES = ("words.tsv", "regions.tsv", "sentences.tsv")


def blocks(page: str, language: str) -> list[str]:
    found = FENCED.findall((DOCS / page).read_text("utf-8"))
    return [content for kind, content in found if kind == language]


@pytest.fixture(scope="module")
def folder(recurlm: Command, small_options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The items, and a run that learned from their sentences, as the page calls them."""
    made = tmp_path_factory.mktemp("page")
    shutil.copy(ITEMS, made)
    with ITEMS.open(newline="") as file:
        sentences = [row["sentence"] for row in csv.DictReader(file)]
    (made / "text.txt").write_text("".join(f"{sentence}\n" for sentence in sentences * 4))
    done = recurlm("train", "text.txt", "--out", "runs/ptb", *small_options, "--epochs", "1", cwd=made)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def outputs(recurlm: Command, folder: Path) -> dict[str, list[list[str]]]:
    """Rows and cells of the tables that the commands write."""
    commands = [line for block in blocks(PAGES[0], "sh") for line in block.splitlines()]
    assert commands[0].startswith("recurlm train ptb ")
    found = {}
    for command in commands[1:]:
        words, _, name = command.partition(" > ")
        done = recurlm(*shlex.split(words)[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / name).write_text(done.stdout)
        found[name] = [line.split("\t") for line in done.stdout.splitlines()]
    assert tuple(found) == TABLES
    return found


def test_both_pages_show_the_same_blocks():
    for language in ("text", "sh", "python", "r"):
        assert blocks(PAGES[0], language) == blocks(PAGES[1], language)


def test_the_page_shows_the_first_rows_of_the_items():
    shown = blocks(PAGES[0], "text")[0]
    assert ITEMS.read_text().startswith(shown)


def test_the_tables_have_the_rows_that_the_page_shows(outputs: dict[str, list[list[str]]]):
    """All cells but those that a model computes."""
    computed = {"surprisal", "entropy", "rank", "mean", "eos"}
    shown = [block for block in blocks(PAGES[0], "text") if block.startswith("row\t")]
    for block, name in zip(shown, TABLES, strict=True):
        expected = [line.split("\t") for line in block.splitlines()]
        kept = [place for place, column in enumerate(expected[0]) if column not in computed]
        found = outputs[name][: len(expected)]
        assert found[0] == expected[0]
        assert [[row[place] for place in kept] for row in found] == [[row[place] for place in kept] for row in expected]


def test_the_programs_plot_and_fit(outputs: dict[str, list[list[str]]], folder: Path):
    plot, fit = blocks(PAGES[0], "python")
    for program, expected in ((plot, "verb"), (fit, "are:plural")):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            cwd=folder,
            env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout
    assert (folder / "regions.png").read_bytes().startswith(b"\x89PNG")
