"""Each shipped recipe learns: a small model of it, on a small text."""

import json
import math
import random
from pathlib import Path

import pytest

from recurlm.models.language_model import LanguageModel
from recurlm.progress import Silent
from recurlm.recipe_files import load_recipe, recipe_names
from recurlm.text.places import DataPlaces
from recurlm.text.sources import Corpus, whole_text
from recurlm.text.store import prepare
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

STEPS = 200
WIDTH = 24
COLUMNS = 8
WORDS = 300


@pytest.fixture
def zipf_folder(tmp_path: Path) -> Path:
    """Sentences of one form, with nouns by Zipf's law: the frequencies of the words alone are worth two nats."""
    chosen = random.Random(5)
    nouns = [f"noun{rank}" for rank in range(WORDS)]

    def noun() -> str:
        return chosen.choices(nouns, [1 / (rank + 1) for rank in range(WORDS)])[0]

    folder = tmp_path / "zipf"
    folder.mkdir()
    for name, count in (("train", 300), ("valid", 20), ("test", 20)):
        lines = [f"the {noun()} sees the {noun()} and the {noun()}\n" for _ in range(count)]
        (folder / f"{name}.txt").write_text("".join(lines), "utf-8")
    return folder


def smaller(name: str) -> list[str]:
    """Changes that keep a recipe's kinds, rates, dropout and schedule, and shrink widths, columns and time steps."""
    recipe = load_recipe(name)
    layers = len(recipe.model.hidden_sizes)
    changes = [f"model.embedding_size={WIDTH}", f"model.hidden_sizes={[WIDTH] * layers}"]
    changes += [f"batches.batch_size={COLUMNS}", "training.log_every=20", "training.until=epochs"]
    if recipe.model.mogrifier.rank is not None:
        changes += [f"model.mogrifier.rank={WIDTH // 3}"]
    if recipe.optimizer.learning_rate > 10:
        # a clipped step has the length 0.25 times the rate in every model: too far for one a thousand times smaller
        changes += ["optimizer.learning_rate=1.0"]
    return [*changes, "batches.bptt=8" if recipe.batches.kind == "stream" else "validation.full_batches=1"]


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("zaremba-small", 5),
        ("zaremba-medium", 20),
        ("zaremba-large", 66),
        ("awd-lstm", 24),
        ("melis", 24),
        ("mogrifier", 24),
        ("mos", 22),
        ("best", 24),
    ],
)
def test_a_published_model_has_its_published_size(name: str, millions: int) -> None:
    model = LanguageModel(load_recipe(name).model, 10_000)
    assert round(model.parameter_count() / 1e6) == millions


def test_enwik8_is_read_byte_by_byte(tmp_path: Path) -> None:
    """Its published bits are bits a byte: no merge may shorten the text."""
    file = tmp_path / "text.txt"
    file.write_text("é the the the\n" * 50, "utf-8")
    recipe = load_recipe("enwik8")
    corpus = prepare(Corpus("text", whole_text(file), None, None), recipe.text, tmp_path / "cache")
    assert len(corpus["train"].ids) == file.stat().st_size
    assert round(LanguageModel(recipe.model, len(corpus.codec.vocabulary)).parameter_count() / 1e6) == 47


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_learns(name: str, zipf_folder: Path, tmp_path: Path) -> None:
    """Two hundred steps of the recipe, its schedule drawn together to them, and the loss falls."""

    def request(out: str, *changes: str) -> TrainingRequest:
        return TrainingRequest(
            text=str(zipf_folder),
            recipe=name,
            changes=(*smaller(name), *changes),
            out=tmp_path / out,
            device="cpu",
            precision="fp32",
            places=DataPlaces(cache_directory=tmp_path / "cache"),
        )

    steps_an_epoch = prepare_training(request("measured"), Silent()).run.batches.length(0)
    trainer = prepare_training(request("run", f"training.epochs={math.ceil(STEPS / steps_an_epoch)}"), Silent())
    result = trainer.fit(StopRequest())
    assert result.steps >= STEPS * 0.95  # random lengths make some epochs shorter
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    losses = [entry["loss"] for entry in map(json.loads, lines) if entry["event"] == "step"]
    knowing_nothing = math.log(trainer.run.model.vocabulary_size)
    assert losses[-1] < losses[0]
    assert losses[-1] < 0.85 * knowing_nothing
