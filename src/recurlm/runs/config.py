"""What decides a run besides its text, as config.json records it."""

import datetime
import platform
from collections.abc import Mapping
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
    """The run whose model and vocabulary another run begins with.

    run: its folder · model: SHA-256 of its model file.
    """

    run: str
    model: str


CONFIG_KEYS = ("recipe_name", "seed", "device", "precision", "threads", "time_limit", "start")
"""Keys of config.json, besides `recipe` and `corpus`, that a resumed run needs."""


@dataclass(frozen=True)
class RunConfig:
    """What decides a run besides its text.

    recipe_name: name of the recipe, or of the run to start from · source: the text, as `recurlm train` takes it ·
    threads: of torch on the CPU, of all processes of a machine together · time_limit: seconds, None for no limit ·
    start: None for a new model.
    """

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
        """Whether the same command gives the same bits: not if wall-clock time ends the run."""
        return self.time_limit is None

    @classmethod
    def from_json(cls, values: Mapping[str, Any], recipe: Recipe) -> "RunConfig":
        """The configuration that the values of a config.json record; `recipe` is theirs, parsed."""
        start = values["start"]
        return cls(
            recipe,
            values["recipe_name"],
            values["corpus"]["source"],
            values["seed"],
            values["device"],
            values["precision"],
            values["threads"],
            values["time_limit"],
            None if start is None else Start(**start),
        )

    def to_json(self, corpus: PreparedCorpus, parameters: int, texts: Corpus | None = None) -> dict[str, Any]:
        """All of config.json; `texts` are the texts that the run learns from."""
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
        """Describes each split, and all texts that the model learned from, those of earlier runs included."""
        counted = {
            name: {"digest": text.digest, "tokens": len(text.ids), "sentences": text.sentences, "oov": text.oov}
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
