"""Opens the model of a run folder, every file held to its manifest."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from recurlm.config import Recipe
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import model_digest
from recurlm.runs.folder import RunFolder
from recurlm.text.codec import Codec
from recurlm.text.recorded import RecordedCorpus


@dataclass(frozen=True)
class OpenedModel:
    """A run's network and vocabulary, the recipe that trained them and the texts that they learned from."""

    network: LanguageModel
    codec: Codec
    recipe: Recipe
    corpus: RecordedCorpus

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of weights and vocabulary."""
        return model_digest(self.network, self.codec.vocabulary)


def open_model(path: str | Path, device: str = "cpu") -> OpenedModel:
    """Opens a run's model on a device.

    Raises InputError if the folder holds no run or no model, CorruptFileError if a file was altered.
    """
    folder = RunFolder(Path(path))
    corpus, codec = folder.corpus(), folder.codec()
    network = folder.load_model(codec).to(torch.device(device))
    return OpenedModel(network, codec, folder.recipe(), corpus)
