"""Run the commands of every page in docs/how-to, each page in a folder of its own.

A line that is `recurlm`, words and perhaps `> FILE` runs in this process; the shell runs all others.
"""

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.in_process import run_command

FOLDER = Path(__file__).parent.parent / "docs" / "how-to"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md" and not page.name.endswith(".zh.md"))
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLAIN = re.compile(r"recurlm (?P<words>[^|&;<>$`*?#\\]+?)( > (?P<file>[\w.-]+))?\n")
SUBJECTS, PLACES = ("the cat", "a dog", "the old man", "my friend"), ("the house", "a garden", "the river", "this town")
VERBS = ("sees", "likes", "leaves", "remembers")


def text() -> str:
    """Sentences of one grammar, each in every order of its parts; a few hundred lines."""
    lines = [
        f"{who} {does} {what} near {where}" for who in SUBJECTS for does in VERBS for what in PLACES for where in PLACES
    ]
    return "".join(f"{line}\n" for line in lines[::3] + lines[1::3] + lines[2::3])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the pages take for granted, and `recurlm` as a command."""
    (tmp_path / "text.txt").write_text(text(), "utf-8")
    (tmp_path / "sentences.txt").write_text("the cat sees a garden\na dog likes the river\n", "utf-8")
    command = tmp_path / "bin" / "recurlm"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m recurlm.cli.main "$@"\n', "utf-8")
    command.chmod(0o755)
    return tmp_path


def parts(block: str) -> Iterator[str]:
    """The lines that run in this process one by one, and the lines between them together."""
    for plain, lines in itertools.groupby(block.splitlines(keepends=True), lambda line: bool(PLAIN.fullmatch(line))):
        together = "".join(lines)
        yield from together.splitlines(keepends=True) if plain else [together]


def run_part(part: str, folder: Path) -> tuple[int, str]:
    """The exit code and standard error of a part."""
    variables = {"RECURLM_CACHE_DIR": str(folder / "cache"), "RECURLM_OFFLINE": "1"}
    if plain := PLAIN.fullmatch(part):
        outcome = run_command(shlex.split(plain["words"]), folder=folder, variables=variables)
        if plain["file"]:
            (folder / plain["file"]).write_bytes(outcome.stdout)
        return outcome.code, outcome.stderr.decode()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECURLM_")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", part],
        cwd=folder,
        env=kept | variables | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(page: Path, folder: Path):
    blocks = COMMANDS.findall(page.read_text("utf-8"))
    assert blocks
    for part in itertools.chain.from_iterable(map(parts, blocks)):
        code, said = run_part(part, folder)
        assert code == 0, f"{part}{said}"
        assert "Traceback" not in said


@pytest.mark.parametrize("suffix", [".md", ".zh.md"])
def test_every_page_is_in_the_list(suffix: str):
    links = re.findall(r"\]\(([\w.-]+)\) \|$", (FOLDER / f"README{suffix}").read_text("utf-8"), re.MULTILINE)
    assert set(links) == {f"{page.stem}{suffix}" for page in PAGES}
