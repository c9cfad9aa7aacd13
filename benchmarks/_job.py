"""What all contestants are given: recipe, vocabulary size, batches, and the seed of the first weights."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._report import Options
from recurlm.config import Recipe, StreamBatches
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.recipe_files import load_recipe
from recurlm.text.batching import IGNORED, Batch, open_batches
from recurlm.text.codec import Codec, EncodedText
from recurlm.text.corpora import open_source
from recurlm.text.places import DataPlaces
from recurlm.text.sources import Corpus
from recurlm.text.store import PreparedCorpus, prepare

SEED = 1
WORDS = 10_000
SENTENCES = 42_068
WARM_UP_STEPS = 2
MORE_WARM_UP_STEPS = {"cpu": 0, "cuda": 3}
"""On a GPU a shape of batch is captured, and then replayed, only when it has come some times."""
JOB_FILE = "job.json"
BATCHES_FILE = "batches.npz"
LINES_FILE = "lines.txt"

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """A job as its contestants read it from a folder.

    With `wide`, embedding and softmax weights are ten times as large: predictions then depend on what was read, as a
    trained model's do, so that a wrong score shows. First weights as they are hardly prefer a word.
    """

    folder: Path
    recipe: Recipe
    vocabulary_size: int
    wide: bool = False

    def save(self) -> None:
        """Write the recipe and the vocabulary's size."""
        values = {
            "recipe": self.recipe.model_dump(mode="json"),
            "vocabulary_size": self.vocabulary_size,
            "wide": self.wide,
        }
        (self.folder / JOB_FILE).write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> "Job":
        content = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        recipe = Recipe.model_validate_json(json.dumps(content["recipe"]))
        return cls(folder, recipe, content["vocabulary_size"], content["wide"])

    def new_model(self) -> LanguageModel:
        """The model with its first weights: the same in every process."""
        torch.manual_seed(SEED)
        model = LanguageModel(self.recipe.model, self.vocabulary_size)
        initialise(model, self.recipe.initialisation)
        if self.wide:
            with torch.no_grad():
                model.embedding.weight.mul_(10)
                model.decoder.weight.mul_(10)
        return model

    @cached_property
    def codec(self) -> Codec:
        """The vocabulary; jobs that only train have none."""
        return Codec.load(self.folder)

    def save_text(self, codec: Codec, lines: Sequence[str]) -> None:
        """Write the vocabulary and the lines to be scored."""
        for name, content in codec.files().items():
            (self.folder / name).write_text(content, encoding="utf-8")
        (self.folder / LINES_FILE).write_text("\n".join(lines), encoding="utf-8")

    def lines(self) -> list[str]:
        """The lines to be scored."""
        return (self.folder / LINES_FILE).read_text(encoding="utf-8").split("\n")

    def save_batches(self, text: EncodedText, count: int | None, device: str = "cpu") -> int:
        """Write batches of the recipe's first epoch (all with None): some to warm up, then `count` to be timed.

        Sentences warm up with one batch of every shape, on a GPU with several, so that no program prepares for a shape
        while it is timed. Returns how many are for warming up.
        """
        source = open_batches(text, self.recipe.batches, SEED).batches(0)
        if isinstance(self.recipe.batches, StreamBatches):
            warm_up = WARM_UP_STEPS + MORE_WARM_UP_STEPS[device]
            batches = list(islice(source, None if count is None else warm_up + count))
        else:
            batches = list(source)
            visits: Counter[tuple[int, ...]] = Counter()
            firsts, rest = [], []
            for batch in batches:
                visits[batch.input.shape] += 1
                first = visits[batch.input.shape] <= 1 + MORE_WARM_UP_STEPS[device]
                (firsts if first else rest).append(batch)
            batches = firsts + rest[:count]
            warm_up = len(firsts)
        arrays = {f"{number}.input": batch.input.numpy() for number, batch in enumerate(batches)}
        arrays |= {f"{number}.target": batch.target.numpy() for number, batch in enumerate(batches)}
        arrays["sentences"] = np.array([batch.sentences for batch in batches])
        arrays["carried"] = np.array([batch.carried for batch in batches])
        np.savez(self.folder / BATCHES_FILE, **arrays)
        return warm_up

    def batches(self) -> list[Batch]:
        """The batches that `save_batches` wrote."""
        with np.load(self.folder / BATCHES_FILE) as arrays:
            return [
                _batch(arrays[f"{number}.input"], arrays[f"{number}.target"], int(sentences), bool(carried))
                for number, (sentences, carried) in enumerate(zip(arrays["sentences"], arrays["carried"], strict=True))
            ]


def _batch(input_: Ids, target: Ids, sentences: int, carried: bool) -> Batch:
    targets = torch.from_numpy(target)
    return Batch(torch.from_numpy(input_), targets, targets != IGNORED, sentences, carried)


@contextmanager
def new_job(recipe: str, changes: Sequence[str], vocabulary_size: int, *, wide: bool = False) -> Iterator[Job]:
    """A job in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), load_recipe(recipe, tuple(changes)), vocabulary_size, wide)
        job.save()
        yield job


@dataclass(frozen=True)
class BenchmarkText:
    """The prepared corpus, its held-out lines, and how to call it."""

    name: str
    corpus: PreparedCorpus
    lines: list[str]


def open_text(options: Options) -> BenchmarkText:
    """Penn Treebank from RECURLM_DATA_DIR; a made text of the same shape where that is missing or for toy sizes."""
    data = os.environ.get("RECURLM_DATA_DIR")
    recipe = load_recipe("mxnet-bucketing")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data and (Path(data) / "ptb" / "ptb.train.txt").is_file() and options.size != "tiny":
            name, source = "Penn Treebank", open_source("ptb", DataPlaces(data_directory=Path(data), offline=True))
        else:
            name, source = "a made text (Zipf's word frequencies)", _made_corpus(folder, options)
        prepared = prepare(source, recipe.text, folder / "cache")
        # the folder goes away, so the ids come into memory
        splits = {
            split: EncodedText(np.array(text.ids), text.name, text.digest, text.characters, text.oov)
            for split, text in prepared.splits.items()
        }
        assert source.test is not None
        lines = [line.rstrip("\n") for line in source.test.lines()]
    return BenchmarkText(name, PreparedCorpus(prepared.name, prepared.codec, splits), lines)


def _made_corpus(folder: Path, options: Options) -> Corpus:
    words = options.pick(WORDS, WORDS, 200)
    sentences = options.pick(SENTENCES, 8_000, 1_000)
    generator = np.random.default_rng(SEED)
    lengths = np.clip(generator.lognormal(np.log(19), 0.55, sentences).round(), 1, 79).astype(np.int64)
    ids = generator.permutation(np.concatenate([np.arange(words), zipf_ids(words, int(lengths.sum()), generator)]))
    path = folder / "made.txt"
    pieces = np.split(ids[: lengths.sum()], np.cumsum(lengths)[:-1])
    path.write_text("".join(" ".join(f"w{index}" for index in piece) + "\n" for piece in pieces), encoding="utf-8")
    return open_source(str(path))


def zipf_ids(words: int, count: int, generator: np.random.Generator) -> Ids:
    """Ids drawn with probability proportional to 1 / (id + 1)."""
    shares = 1 / np.arange(1, words + 1)
    return generator.choice(words, count, p=shares / shares.sum())
