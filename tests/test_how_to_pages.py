"""Run the commands of every page in docs/how-to, each page in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "how-to"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_runs(page: Path, folder: Path):
    blocks = COMMANDS.findall(page.read_text("utf-8"))
    assert blocks
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECURLM_")}
    changed = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "RECURLM_CACHE_DIR": str(folder / "cache")}
    environment = kept | changed | {"RECURLM_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for block in blocks:
        done = subprocess.run(
            ["sh", "-e", "-c", block], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_every_page_is_in_the_list():
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text("utf-8")))
    assert listed == {page.name for page in PAGES}
