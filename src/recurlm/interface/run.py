"""A run folder from Python: its model, its figures and its curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurlm.interface.model import Model, load
from recurlm.markup import table
from recurlm.progress import hours_minutes_seconds
from recurlm.runs.folder import METRICS_FILE, RunFolder
from recurlm.terminal import escaped
from recurlm.wording import counted

if TYPE_CHECKING:
    from recurlm.config import Recipe

FIGURES = {"valid_perplexity": "valid", "test_perplexity": "test"}
"""The perplexities of an entry of metrics.jsonl, each with the split that it was measured on."""


class Run:
    """A run: the folder that training wrote, with the model, the figures and the curves in it."""

    def __init__(self, path: str | Path, *, device: str = "cpu") -> None:
        """`device` is where `model` will compute. Raises InputError where the folder holds no run."""
        self.path, self.device = Path(path), device
        self.folder = RunFolder(self.path)
        self.folder.config()

    @property
    def config(self) -> dict[str, Any]:
        """The values of config.json: the recipe, the texts with their digests, versions, seed and device."""
        return self.folder.config()

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was trained by."""
        return self.folder.recipe()

    @cached_property
    def model(self) -> Model:
        """The best model of the run, loaded when it is first asked for and held to the manifest."""
        return load(self.path, device=self.device)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The entries of metrics.jsonl in order, one dictionary for each logged step, epoch and end of training.

        An imported run has none. `pandas.DataFrame(run.metrics)` makes a table of them. docs/run-folder.md describes
        the keys.
        """
        from recurlm.runs.metrics import read_metrics

        return read_metrics(self.path) if (self.path / METRICS_FILE).exists() else []

    @property
    def final(self) -> dict[str, Any]:
        """The entry about the whole run, or that of the last validated epoch; empty before the first."""
        ends = [entry for entry in self.metrics if entry.get("event") in ("epoch", "final")]
        return ends[-1] if ends else {}

    @property
    def finished(self) -> bool:
        """Whether training came to its end; false for a run that was stopped or still trains."""
        return self.final.get("event") == "final"

    @property
    def perplexities(self) -> dict[str, float]:
        """The perplexities by split, `valid` and `test`, of the finished run, or of its last validated epoch."""
        return _perplexities(self.final)

    @property
    def signature(self) -> str:
        """What was counted for the perplexity of the test text, or of the validation text without one."""
        return str(self.final.get("signature", ""))

    def plot(self, *others: Run, out: str | Path | None = None) -> Picture:
        """The training curves of this run, or of this run beside others; a notebook shows them.

        `out` is a .svg or .png file to write. Raises InputError where a run has logged nothing yet.
        """
        from recurlm.plots.figure import format_of, save
        from recurlm.plots.training import training_picture

        runs = [self.path, *(other.path for other in others)]
        if out is not None:
            save(Path(out), training_picture(runs, format_of(Path(out))))
        return Picture(training_picture(runs, "svg").decode())

    def __repr__(self) -> str:
        figures = "".join(f", {split} {value:.2f}" for split, value in self.perplexities.items())
        return escaped(f"Run({str(self.path)!r}: {self._description}{figures})")

    def __str__(self) -> str:
        return "\n".join(escaped(f"{name:<6} {fact}") for name, fact in self._facts())

    def _repr_html_(self) -> str:
        return table(self._facts())

    @property
    def _description(self) -> str:
        """Corpus, recipe and network in one line."""
        config = self.config
        corpus = config.get("corpus", {}).get("name")
        parts = [corpus, config.get("recipe_name"), self.recipe.model.layers_in_words]
        return ", ".join(str(part) for part in parts if part)

    def _facts(self) -> Iterator[tuple[str, str]]:
        """The names and facts that `print` and a notebook show."""
        final, config = self.final, self.config
        yield "run", str(self.path)
        size = f", {counted(config['parameters'], 'parameter')}" if "parameters" in config else ""
        yield "model", f"{self._description}{size}"
        yield "state", _state(final)
        for split, value in _perplexities(final).items():
            yield split, f"perplexity {value:.2f}  [{_signature(final, split)}]"


def _perplexities(final: dict[str, Any]) -> dict[str, float]:
    return {split: final[key] for key, split in FIGURES.items() if _is_number(final.get(key))}


def _state(final: dict[str, Any]) -> str:
    """How far the run came, such as finished: 12 epochs, 720 steps in 0:05."""
    if not final:
        return "no epoch logged"
    state = "finished" if final.get("event") == "final" else "not finished"
    counts = [(final.get("epochs", final.get("epoch")), "epoch"), (final.get("step"), "step")]
    length = ", ".join(counted(number, unit) for number, unit in counts if isinstance(number, int))
    seconds = final.get("seconds")
    return f"{state}: {length} in {hours_minutes_seconds(seconds if _is_number(seconds) else None)}"


def _signature(final: dict[str, Any], split: str) -> str:
    """The signature of one perplexity; the entry of an epoch has one alone."""
    signature = final.get("signature", "")
    return str(final.get("valid_signature", signature) if split == "valid" else signature)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Picture:
    """A picture as SVG; a notebook shows it."""

    svg: str

    def __repr__(self) -> str:
        return f"Picture({len(self.svg):,} characters of SVG)"

    def _repr_svg_(self) -> str:
        return self.svg


def open_run(path: str | Path, *, device: str = "cpu") -> Run:
    """The run in a folder that `train` wrote, here or on the command line. Raises InputError where there is none."""
    return Run(path, device=device)
