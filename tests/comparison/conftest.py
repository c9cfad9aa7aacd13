import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recurlm.config import ModelOptions, Recipe, UniformInitialisation
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.runs.folder import RunFolder
from recurlm.tensor_files import tensor_bytes
from recurlm.text.codec import Codec
from recurlm.text.corpora import open_source
from recurlm.text.recorded import describe
from recurlm.text.tokenization import Characters, Words
from recurlm.text.vocabulary import Vocabulary

WORDS = ("<eos>", "<unk>", "the", "cat", "dog", "sat", "on", "mat", "a")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder with random weights: its words, or characters where told so."""

    def make(name: str, seed: int, tokens: tuple[str, ...] = WORDS, unit: str = "word") -> Path:
        recipe = Recipe(model=ModelOptions(embedding_size=6, hidden_sizes=(7,)))
        torch.manual_seed(seed)
        network = LanguageModel(recipe.model, len(tokens))
        initialise(network, UniformInitialisation(scale=1.0))
        codec = Codec(Words() if unit == "word" else Characters(), Vocabulary(tokens))
        folder = RunFolder(tmp_path / name)
        folder.save_model(tensor_bytes(network.weights()))
        source = {"source": str(tmp_path / "corpus")}
        if (tmp_path / "corpus").exists():
            source |= describe(open_source(str(tmp_path / "corpus")))
        folder.create({"recipe": recipe.model_dump(mode="json"), "corpus": source}, codec)
        return folder.path

    return make


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    """A unigram model over the words of the runs: 0.2 for the end of a sentence, 0.1 for each of the eight others."""
    lines = [f"{-1 if word != '<eos>' else math.log10(0.2)}\t{word.replace('<eos>', '</s>')}" for word in WORDS]
    path = tmp_path / "unigrams.arpa"
    path.write_text("\n".join(["\\data\\", "ngram 1=10", "\\1-grams:", "-99\t<s>", *lines, "\\end\\", ""]))
    return path
