from pathlib import Path

import pytest

from recurlm.files.suggestions import did_you_mean


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("notes.txt", "lines.txt", "Texts/train.txt", "runs/mine/config.json", ".nodes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("note.txt", "notes.txt"),
        ("NOTES.TXT", "notes.txt"),
        ("texts/train.txt", "Texts/train.txt"),
        ("text/train.txt", "Texts/train.txt"),
        ("rums/mine", "runs/mine"),
        ("runs/mnie", "runs/mine"),
    ],
)
def test_a_name_that_is_nearly_right_is_suggested(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str, meant: str
) -> None:
    monkeypatch.chdir(folder)
    assert did_you_mean(asked) == f"; did you mean {meant}?"
    assert did_you_mean(folder / asked) == f"; did you mean {folder / meant}?"


@pytest.mark.parametrize("asked", ["missing.txt", "text/valid.txt", "notes.txt/x", "", "a\0b", "x" * 5000, "notes.txt"])
def test_nothing_is_suggested_for_other_names(folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.chdir(folder)
    assert did_you_mean(asked) == ""


def test_a_suggestion_must_fit(folder: Path) -> None:
    assert did_you_mean(folder / "runs" / "mnie", Path.is_file) == ""
