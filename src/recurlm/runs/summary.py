"""What one run is, how it did, and how to go on with it, as `recurlm show` prints it."""

import os
import shlex
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurlm.config import Recipe
from recurlm.config.defaults import ChangedKey, changed_keys
from recurlm.models.memory_estimate import state_bytes
from recurlm.runs.folder import MODEL_FILE, RunFolder
from recurlm.runs.metrics import Entry, LastEntries, State, state_of
from recurlm.runs.prolongation import obstacle

HIDDEN = ("changed", "results", "sizes", "longer_epochs")
"""Fields that `to_json` gives another form."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a run in bytes.

    files: of each file at the top of the folder · checkpoints: of all checkpoints · state: of the tensors that the
    model carries from token to token.
    """

    files: Mapping[str, int]
    checkpoints: int
    state: int

    @classmethod
    def of(cls, folder: RunFolder, state: int) -> "Sizes":
        """The sizes of the files of a run; links count nothing."""
        files = {path.name: size for path in sorted(folder.path.iterdir()) if (size := _file_size(path)) is not None}
        return cls(files, sum(filter(None, map(_file_size, folder.checkpoints.path.rglob("*")))), state)

    @property
    def total(self) -> int:
        """Bytes of all files and checkpoints."""
        return sum(self.files.values()) + self.checkpoints


@dataclass(frozen=True)
class RunSummary:
    """One run.

    source: the text, as `train` took it · files: number of files that were read together, 0 for a single text · texts:
    what config.json records of each split · start: the run that it began with, if any · changed: the keys of the recipe
    that differ from the defaults · results: perplexity and signature of each held-out text · last: the last logged step
    or validation · conditions: seed, device and the like · longer_epochs: twice the epochs of a finished run that can
    go on beyond them, else None.
    """

    run: str
    state: State
    source: str
    files: int
    texts: Mapping[str, Mapping[str, Any]]
    vocabulary: int
    start: str | None
    model: str
    parameters: int | None
    recipe: str
    changed: tuple[ChangedKey, ...]
    conditions: Mapping[str, Any]
    epochs: int
    steps: int
    results: Mapping[str, tuple[float | None, str]]
    last: Entry
    sizes: Sizes
    has_model: bool
    longer_epochs: int | None

    @property
    def next_commands(self) -> tuple[str, ...]:
        """The commands that go on with the run."""
        run = shlex.quote(self.run)
        resume = f"recurlm train --out {run} --resume"
        use = (f"recurlm generate {run}", f"recurlm eval {run}") if self.has_model else ()
        if self.state == "stopped":
            return (resume, *use)
        if self.state == "running" or not self.has_model:
            return use
        longer = () if self.longer_epochs is None else (f"{resume} --epochs {self.longer_epochs}",)
        return (*use, *longer, f"recurlm train TEXT --from {run} --out NEW")

    def to_json(self) -> dict[str, Any]:
        """The object that `show --json` prints."""
        values = {key: value for key, value in vars(self).items() if key not in HIDDEN}
        return values | {
            "changed": list(map(asdict, self.changed)),
            "results": {
                split: {"perplexity": value, "signature": signature}
                for split, (value, signature) in self.results.items()
            },
            "sizes": asdict(self.sizes) | {"total": self.sizes.total},
            "next": list(self.next_commands),
        }


def summarize(folder: RunFolder) -> RunSummary:
    """The summary of a run. Raises InputError if the folder holds no run, CorruptFileError for a damaged one."""
    config, recipe, corpus = folder.config("corpus", "recipe"), folder.recipe(), folder.corpus()
    last, start, vocabulary = LastEntries.of(folder), config.get("start"), len(folder.codec().vocabulary)
    return RunSummary(
        run=str(folder.path),
        state=state_of(folder, config, last),
        source=corpus.source,
        files=len(corpus.files),
        texts={name: dict(record) for name, record in corpus.splits.items()},
        vocabulary=vocabulary,
        start=None if start is None else start["run"],
        model=recipe.model.layers_in_words,
        parameters=config.get("parameters"),
        recipe=config.get("recipe_name", ""),
        changed=changed_keys(recipe),
        conditions={key: config[key] for key in CONDITIONS if key in config},
        epochs=last.epochs,
        steps=last.steps,
        results=last.results,
        last=max(last.step, last.epoch, key=lambda entry: _step(entry)),
        sizes=Sizes.of(folder, state_bytes(recipe.model, vocabulary)),
        has_model=MODEL_FILE in folder.manifest(),
        longer_epochs=_longer_epochs(folder, recipe, config, last),
    )


def _longer_epochs(folder: RunFolder, recipe: Recipe, config: Mapping[str, Any], last: LastEntries) -> int | None:
    whole = bool(folder.checkpoints.folders) and last.epochs >= recipe.training.epochs
    return 2 * recipe.training.epochs if whole and obstacle(recipe, config.get("time_limit")) is None else None


CONDITIONS = ("created", "recurlm", "seed", "device", "precision", "threads", "time_limit", "repeatable")
"""Keys of config.json that decide a run besides its recipe, with its time and version."""


def _step(entry: Entry) -> int:
    step = entry.get("step")
    return step if isinstance(step, int) else 0


def _file_size(path: Path) -> int | None:
    """The size of a regular file; None for anything else."""
    status = os.lstat(path)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
