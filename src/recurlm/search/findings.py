"""The findings of a search: the best trial, and a table of all."""

import json
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurlm.progress import hours_minutes_seconds
from recurlm.search.study import Trial
from recurlm.wording import shown_name


@dataclass(frozen=True)
class Findings:
    """The trials of a search; the file `recipe` holds the recipe of the best one.

    texts: what a command gives beside the recipe, because a recipe names one text and no field.
    """

    recipe: Path
    best: Trial
    trials: tuple[Trial, ...]
    seed: int
    texts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object that `search --json` prints."""
        return {
            "recipe": str(self.recipe),
            "best": self.best.number,
            "valid_perplexity": self.best.perplexity,
            "signature": self.best.signature,
            "trials": [asdict(trial) for trial in self.trials],
        }

    def table(self) -> str:
        """A row for each trial: complete trials first, by perplexity, then the others in their order."""
        ordered = sorted(self.trials, key=lambda trial: math.inf if trial.perplexity is None else trial.perplexity)
        keys = list(self.best.values)
        rows = [["trial", "state", "valid", "epochs", "time", *(key.split(".", 1)[1] for key in keys)]]
        for trial in ordered:
            valid = "" if trial.perplexity is None else f"{trial.perplexity:.6g}"
            values = [shown_value(trial.values[key]) for key in keys]
            rows.append(
                [trial.name, trial.state, valid, str(len(trial.curve)), hours_minutes_seconds(trial.seconds), *values]
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(lines)

    def summary(self) -> str:
        """The best trial, and the command that comes next."""
        seed = "" if self.seed == 1 else f" --seed {self.seed}"
        texts = "".join(f" {shlex.quote(shown_name(text))}" for text in self.texts)
        return (
            f"best   trial {self.best.name}: valid perplexity {self.best.perplexity:.2f}  [{self.best.signature}]\n"
            f"next   recurlm train{texts} --recipe {self.recipe}{seed}"
        )


def shown_value(value: Any) -> str:
    """A value of a recipe as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)
