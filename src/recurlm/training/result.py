"""The result of a run."""

import shlex
from dataclasses import dataclass
from typing import Any

from recurlm.evaluation.perplexity import Perplexity
from recurlm.progress import hours_minutes_seconds
from recurlm.wording import counted


@dataclass(frozen=True)
class Result:
    """The result of a run: its length, and the perplexities of the model that it kept.

    seconds: of training and validation · advice: empty if the model has learned.
    """

    run: str
    epochs: int
    steps: int
    seconds: float
    valid: Perplexity
    test: Perplexity | None
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """The object that `train --json` prints last."""
        return {
            "run": self.run,
            "epochs": self.epochs,
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "valid_perplexity": self.valid.value,
            "test_perplexity": None if self.test is None else self.test.value,
            "signature": (self.test or self.valid).signature,
            "valid_signature": self.valid.signature,
        }

    def summary(self) -> str:
        """The result in lines, and the commands that come next."""
        epochs, steps = counted(self.epochs, "epoch"), counted(self.steps, "step")
        lines = [f"done   {epochs}, {steps} in {hours_minutes_seconds(self.seconds)}"]
        lines.append(f"valid  perplexity {self.valid.value:.2f}  [{self.valid.signature}]")
        if self.test is not None:
            lines.append(f"test   perplexity {self.test.value:.2f}  [{self.test.signature}]")
        if self.advice:
            lines.append(f"note   {self.advice}")
        run = shlex.quote(self.run)
        lines.append(f"next   recurlm generate {run}     recurlm eval {run}     recurlm plot {run}")
        return "\n".join(lines)
