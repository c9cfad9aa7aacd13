"""Small runs: fixtures of a corpus, a recipe and a trainer; a watcher that remembers, and a request to stop."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.progress import Silent
from recurlm.recipe_files import parse_recipe, recipe_toml
from recurlm.text.places import DataPlaces
from recurlm.training.loop import Trainer
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest


class Listener(Silent):
    """A watcher that remembers what was said, and what the live line showed."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[tuple[float | None, str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def tick(self, done: float | None, text: str) -> None:
        self.shown.append((done, text))


class StopAfter(StopRequest):
    """Asks to stop at the look after `looks` looks; training looks after each step and each piece of a validation."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """A folder with train, valid and test texts of an easy language: colours name their fruit."""
    return write_corpus_folder(tmp_path)


def write_corpus_folder(place: Path, train: int = 240) -> Path:
    """Writes such a folder, with `train` sentences to train on."""
    fruits = {"red": "cherry", "yellow": "lemon", "green": "lime", "blue": "plum"}
    chosen = random.Random(5)

    def sentence() -> str:
        colour = chosen.choice(sorted(fruits))
        return f"the {colour} fruit is a {fruits[colour]}" + " indeed" * chosen.randrange(3)

    folder = place / "fruit"
    folder.mkdir()
    for name, count in (("train", train), ("valid", 20), ("test", 20)):
        (folder / f"{name}.txt").write_text("".join(sentence() + "\n" for _ in range(count)))
    return folder


SMALL = {
    "batches": {"kind": "stream", "batch_size": 4, "bptt": 10},
    "model": {"embedding_size": 16, "hidden_sizes": [16]},
    "optimizer": {"kind": "adamw", "learning_rate": 0.01},
    "training": {"epochs": 2, "log_every": 5},
}


@pytest.fixture
def small_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small recipe, with sections laid over it, as a file and returns its path."""

    def write(**sections: dict[str, object]) -> Path:
        return write_small_recipe(tmp_path, **sections)

    return write


def write_small_recipe(folder: Path, **sections: dict[str, object]) -> Path:
    """Writes such a recipe into a folder."""
    values = SMALL | sections
    path = folder / f"recipe-{abs(hash(str(values)))}.toml"
    path.write_text(recipe_toml(parse_recipe(values, "test")))
    return path


@pytest.fixture
def open_trainer(corpus_folder: Path, small_recipe: Callable[..., Path], tmp_path: Path) -> Callable[..., Trainer]:
    """Prepares a run of the small recipe in a folder of this name."""

    def open_(
        out: str,
        *,
        resume: bool = False,
        time_limit: str | None = None,
        tensorboard: bool = False,
        device: str = "cpu",
        **sections: dict[str, object],
    ) -> Trainer:
        request = TrainingRequest(
            text=str(corpus_folder),
            recipe=str(small_recipe(**sections)),
            out=tmp_path / out,
            device=device,
            precision="fp32",
            resume=resume,
            time_limit=time_limit,
            tensorboard=tensorboard,
            places=DataPlaces(cache_directory=tmp_path / "cache"),
        )
        return prepare_training(request, Silent())

    return open_
