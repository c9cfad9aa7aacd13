from pathlib import Path
from types import SimpleNamespace

import pytest

from recurlm.config import Recipe
from recurlm.errors import InputError
from recurlm.progress import Silent
from recurlm.text.sources import Corpus, Text
from recurlm.training import texts as module
from recurlm.training.texts import prepare_texts


class Shown(Silent):
    def __init__(self) -> None:
        self.ticks: list[tuple[float | None, str]] = []

    def tick(self, done: float | None, text: str) -> None:
        self.ticks.append((done, text))


def prepared(
    monkeypatch: pytest.MonkeyPatch, path: Path, reports: list[int], splits: set[str]
) -> list[tuple[float | None, str]]:
    """What is shown where the preparation reports so many characters each time."""
    corpus, shown = Corpus("fruit", Text("train", path), None, None), Shown()

    def prepare(texts: object, options: object, cache: object, report: object, codec: object) -> SimpleNamespace:
        for characters in reports:
            report(characters)  # type: ignore[operator]
        return SimpleNamespace(name="fruit", splits=splits)

    monkeypatch.setattr(module, "prepare", prepare)
    prepare_texts(corpus, SimpleNamespace(recipe=Recipe()), None, path.parent, shown)  # type: ignore[arg-type]
    return shown.ticks


def test_preparing_tells_what_share_of_the_training_text_is_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"x" * 2_000_000)
    assert prepared(monkeypatch, path, [500_000, 500_000, 2_000_000], {"valid"}) == [
        (0.25, "preparing fruit  0.5 million characters"),
        (0.5, "preparing fruit  1.0 million characters"),
        (1.0, "preparing fruit  3.0 million characters"),
    ]
    path.write_bytes(b"")
    assert prepared(monkeypatch, path, [5], {"valid"})[0][0] == 1.0


def test_the_text_to_validate_on_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"x\n")
    with pytest.raises(InputError, match=r"fruit: has no valid text; put valid.txt beside the training text"):
        prepared(monkeypatch, path, [], {"train", "test"})
