"""Training that starts from another run's model and vocabulary."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recurlm.errors import InputError, StoppedError
from recurlm.interface.model import load
from recurlm.progress import Silent
from recurlm.runs.folder import RunFolder
from recurlm.runs.growth import extend_vocabulary
from recurlm.text.corpora import open_text
from recurlm.text.places import DataPlaces
from recurlm.training.loop import Trainer
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

OpenTrainer = Callable[..., Trainer]


class StopAtOnce(StopRequest):
    def __init__(self) -> None:
        self.requested = True


@pytest.fixture
def first(open_trainer: OpenTrainer, tmp_path: Path) -> Path:
    open_trainer("first").fit(StopRequest())
    return tmp_path / "first"


@pytest.fixture
def other_text(tmp_path: Path) -> Path:
    """Sentences of the same language in another order, with a word that the first run never met."""
    path = tmp_path / "other.txt"
    path.write_text("the yellow fruit is a lemon\nthe violet fruit is a plum\nthe green fruit is a lime\n" * 20)
    return path


def start(run: Path, text: Path | None, out: Path, **options: object) -> Trainer:
    return prepare_training(
        TrainingRequest(
            text=None if text is None else str(text),
            start=run,
            out=out,
            device="cpu",
            places=DataPlaces(cache_directory=run.parent / "cache"),
            **options,  # type: ignore[arg-type]
        ),
        Silent(),
    )


def test_the_weights_the_vocabulary_and_the_recipe_are_those_of_the_other_run(
    first: Path, other_text: Path, tmp_path: Path
) -> None:
    trainer = start(first, other_text, tmp_path / "second", changes=("optimizer.learning_rate=0.001",))
    model = load(first)
    torch.testing.assert_close(trainer.run.model.weights(), model.network.weights(), rtol=0, atol=0)
    assert trainer.run.corpus.codec.vocabulary == model.codec.vocabulary
    assert trainer.run.corpus["train"].oov == 18
    assert trainer.run.recipe.model == model.recipe.model
    assert trainer.run.recipe.optimizer.learning_rate == 0.001
    start_of_second = RunFolder(tmp_path / "second").config()["start"]
    assert start_of_second["run"] == str(first)


def test_without_a_text_the_corpus_is_that_of_the_other_run(first: Path, corpus_folder: Path, tmp_path: Path) -> None:
    start(first, None, tmp_path / "second")
    assert RunFolder(tmp_path / "second").config()["corpus"]["source"] == str(corpus_folder)


def test_it_goes_on_with_its_own_files_when_the_other_run_is_gone(
    first: Path, other_text: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        start(first, other_text, tmp_path / "second").fit(StopAtOnce())
    whole = start(first, other_text, tmp_path / "whole").fit(StopRequest())
    first.rename(tmp_path / "moved")
    request = TrainingRequest(
        text=str(other_text),
        out=tmp_path / "second",
        resume=True,
        places=DataPlaces(cache_directory=tmp_path / "cache"),
    )
    resumed = prepare_training(request, Silent()).fit(StopRequest())
    assert resumed.steps == whole.steps
    assert (tmp_path / "second/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_another_recipe_gives_all_but_text_and_model(first: Path, other_text: Path, tmp_path: Path) -> None:
    trainer = start(first, other_text, tmp_path / "second", recipe="zaremba-small")
    assert trainer.run.recipe.model.hidden_sizes == (16,)
    assert trainer.run.recipe.optimizer.kind == "sgd"


def test_other_sizes_are_refused_before_anything_is_written(first: Path, other_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other sizes"):
        start(first, other_text, tmp_path / "second", changes=("model.hidden_sizes=[17]",))
    assert not (tmp_path / "second").exists()


def test_a_run_that_was_begun_otherwise_does_not_go_on_from_another(first: Path, open_trainer: OpenTrainer) -> None:
    open_trainer("third")
    with pytest.raises(InputError, match="was not begun with --from"):
        start(first, None, first.parent / "third", resume=True)


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("sentence", "is_said"), [("a plum is the violet thing", True), ("the red fruit is a cherry", False)]
)
def test_a_text_of_words_that_the_first_run_lacks_is_said_with_the_command_that_adds_them(
    first: Path, tmp_path: Path, sentence: str, is_said: bool
) -> None:
    text = tmp_path / "words.txt"
    text.write_text(f"{sentence}\n" * 60)
    heard = Heard()
    prepare_training(
        TrainingRequest(
            text=str(text),
            start=first,
            out=tmp_path / "new",
            device="cpu",
            places=DataPlaces(cache_directory=tmp_path / "c"),
        ),
        heard,
    )
    warnings = [line for line in heard.lines if line.startswith("warning")]
    assert len(warnings) == is_said
    if is_said:
        assert f"recurlm vocabulary {first} --extend FILE --out NEW" in warnings[0]
        assert any("(28.6%) read as <unk>" in line for line in heard.lines)


def rate_of(trainer: Trainer) -> tuple[float, str]:
    return pytest.approx(trainer.run.recipe.optimizer.learning_rate), trainer.run.recipe.schedule.kind


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.001, "constant")),
        ({"changes": ("training.epochs=3",)}, (0.001, "constant")),
        ({"changes": ("optimizer.beta1=0.8",)}, (0.001, "constant")),
        ({"changes": ("optimizer.learning_rate=0.5",)}, (0.5, "constant")),
        ({"changes": ("optimizer.kind=sgd",)}, (1.0, "constant")),
        ({"changes": ("schedule.kind=cosine",)}, (0.001, "cosine")),
        ({"changes": ("schedule.warmup=0.5",)}, (0.001, "one-cycle")),
        ({"recipe": "zaremba-small"}, (1.0, "step")),
    ],
)
def test_fine_tuning_takes_a_tenth_of_the_rate_and_no_schedule_unless_told_otherwise(
    open_trainer: OpenTrainer, other_text: Path, tmp_path: Path, options: dict, expected: tuple[float, str]
) -> None:
    open_trainer("first", schedule={"kind": "one-cycle"}, training={"epochs": 1}).fit(StopRequest())
    assert rate_of(start(tmp_path / "first", other_text, tmp_path / "second", **options)) == expected


def test_a_run_that_was_fine_tuned_keeps_its_rate(first: Path, other_text: Path, tmp_path: Path) -> None:
    start(first, other_text, tmp_path / "second", changes=("training.epochs=1",)).fit(StopRequest())
    third = start(tmp_path / "second", other_text, tmp_path / "third")
    assert rate_of(third) == (0.001, "constant")


def grown(run: Path, word: str, out: Path) -> Path:
    words = out.with_suffix(".txt")
    words.write_text(f"{word}\n")
    extend_vocabulary(RunFolder(run), open_text(str(words), DataPlaces(cache_directory=out)), out)
    return out


def test_added_words_change_nothing_about_the_rate(first: Path, other_text: Path, tmp_path: Path) -> None:
    """A tenth of the rate of a run that was trained from nothing, and the rate of a run that was fine-tuned."""
    with_words = grown(first, "quince", tmp_path / "grown")
    assert rate_of(start(with_words, other_text, tmp_path / "from-grown")) == (0.001, "constant")

    start(first, other_text, tmp_path / "second", changes=("training.epochs=1",)).fit(StopRequest())
    once = grown(tmp_path / "second", "quince", tmp_path / "grown-once")
    twice = grown(once, "medlar", tmp_path / "grown-twice")
    for run in (once, twice):
        assert rate_of(start(run, other_text, tmp_path / f"from-{run.name}")) == (0.001, "constant")


def test_fine_tuning_says_its_rate(first: Path, other_text: Path, tmp_path: Path) -> None:
    heard = Heard()
    request = TrainingRequest(
        text=str(other_text),
        start=first,
        out=tmp_path / "new",
        device="cpu",
        places=DataPlaces(cache_directory=tmp_path / "c"),
    )
    prepare_training(request, heard)
    assert f"       starts from {first}: learning rate 0.001, schedule constant" in heard.lines
