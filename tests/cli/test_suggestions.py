"""Every command that opens a text, a run or a list suggests the name that is nearly right."""

import re
import shutil
from pathlib import Path

import pytest

from cli.conftest import Command

OLD = Path(__file__).parents[1] / "fixtures" / "0.1.0" / "run"


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("train note.txt", "notes.txt"),
        ("train --recipe mall.toml", "small.toml"),
        ("train notes.txt --from runs/word-demo", "runs/words-demo"),
        ("train --recipe demo notes.txt --from run/words-demo", "runs/words-demo"),
        ("eval runs/words-demo note.txt", "notes.txt"),
        ("eval runs/word-demo", "runs/words-demo"),
        ("score runs/words-demo note.txt", "notes.txt"),
        ("generate runs/word-demo", "runs/words-demo"),
        ("generate runs/words-demo --state-in not.state", "note.state"),
        ("rescore runs/words-demo nbets.txt", "nbest.txt"),
        ("compare runs/word-demo runs/words-demo notes.txt", "runs/words-demo"),
        ("adapt runs/word-demo --method cache", "runs/words-demo"),
        ("vocabulary runs/words-demo --extend note.txt --out new", "notes.txt"),
        ("ngram note.txt --out x.arpa", "notes.txt"),
        ("plot runs/word-demo --out x.svg", "runs/words-demo"),
        ("show runs/word-demo", "runs/words-demo"),
        ("verify runs/word-demo", "runs/words-demo"),
        ("runs rusn", "runs"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(recurlm: Command, tmp_path: Path, command: str, meant: str) -> None:
    shutil.copytree(OLD, tmp_path / "runs" / "words-demo")
    for name in ("notes.txt", "small.toml", "nbest.txt", "note.state"):
        (tmp_path / name).write_text("x\n")
    done = recurlm(*command.split(), cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert re.search(
        rf"; did you mean (/\S+/)?{re.escape(meant)}\?|^recurlm: .*did you mean {re.escape(meant)}\?", done.stderr
    )
