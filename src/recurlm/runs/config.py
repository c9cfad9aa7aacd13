"""What a run is: what decides it besides its text, as config.json keeps it."""

import datetime
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recurlm.config import Recipe
from recurlm.runs.computation import kernels
from recurlm.runs.folder import RunFolder
from recurlm.text.recorded import describe
from recurlm.text.sources import Corpus
from recurlm.text.store import PreparedCorpus
from recurlm.version import CODE_VERSION

RUN_FORMAT = "recurlm run 1"


@dataclass(frozen=True)
class Start:
    """The run whose model and vocabulary another one begins with: its folder and its model's SHA-256."""

    run: str
    model: str


CONFIG_KEYS = ("recipe_name", "seed", "device", "precision", "threads", "time_limit", "start")
"""Of config.json, besides its recipe and corpus, that a run goes on with."""


@dataclass(frozen=True)
class RunConfig:
    """What decides a run besides its recipe, as config.json keeps it."""

    recipe: Recipe
    recipe_name: str
    source: str
    seed: int
    device: str
    precision: str
    threads: int
    time_limit: float | None
    start: Start | None = None

    @property
    def repeatable(self) -> bool:
        """Whether the same command gives the same bits: not where the clock ends the run and moves its schedule."""
        return self.time_limit is None

    def to_json(self, corpus: PreparedCorpus, parameters: int, texts: Corpus | None = None) -> dict[str, Any]:
        """The whole of config.json; `texts` are those that the run learns from."""
        return {
            "format": RUN_FORMAT,
            "recurlm": CODE_VERSION,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
            "corpus": {"source": self.source, "name": corpus.name} | self._describe_texts(corpus, texts),
            "vocabulary": {"size": len(corpus.codec.vocabulary), "digest": corpus.codec.vocabulary.digest},
            "parameters": parameters,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            "threads": self.threads,
            "kernels": kernels(self.device),
            "time_limit": self.time_limit,
            "repeatable": self.repeatable,
            "start": None if self.start is None else asdict(self.start),
            "recipe_name": self.recipe_name,
            "recipe": self.recipe.model_dump(mode="json"),
        }

    def _describe_texts(self, corpus: PreparedCorpus, texts: Corpus | None) -> dict[str, Any]:
        """What is known of each split, and of all texts that the model learned from, before this run too."""
        counted = {
            name: {"digest": text.digest, "tokens": len(text.ids), "sentences": len(text.ends), "oov": text.oov}
            for name, text in corpus.splits.items()
        }
        if texts is None:
            return {"splits": counted}
        described = describe(texts)
        earlier = () if self.start is None else RunFolder(Path(self.start.run)).corpus().learned
        return described | {
            "splits": {name: described["splits"][name] | counted[name] for name in counted},
            "learned": [*described["learned"], *(each.to_json() for each in earlier)],
        }
