"""Where a run stands, and what it reports at its end."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from recurlm.documents import parse_record
from recurlm.errors import CorruptFileError
from recurlm.evaluation.perplexity import Perplexity
from recurlm.progress import clock
from recurlm.wording import counted


@dataclass
class Counters:
    """Where a run stands: all of it goes into a checkpoint.

    epoch: whole epochs done · index: batches done in this one · seconds: of training, over all restarts ·
    epoch_nats, epoch_tokens: counted since the epoch began · window_*: since the last log line ·
    validations: nats of each validation · longest_validation: seconds of the one that took longest ·
    validation_seconds: of all of them · validated_at: `seconds` after the last one · start_up: seconds before
    training, of all processes of the run · part: tokens that a validation reads, None for all · exact: whether the
    end of the run measures exactly.
    """

    epoch: int = 0
    index: int = 0
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    epoch_nats: float = 0.0
    epoch_tokens: int = 0
    window_nats: float = 0.0
    window_tokens: int = 0
    window_sentences: int = 0
    window_seconds: float = 0.0
    best_nats: float | None = None
    validations_without_gain: int = 0
    reductions: int = 0
    waited: int = 0
    validations: list[float] = field(default_factory=list)
    longest_validation: float = 0.0
    finished: bool = False
    validation_seconds: float = 0.0
    validated_at: float = 0.0
    start_up: float = 0.0
    part: int | None = None
    exact: bool = True

    @classmethod
    def from_json(cls, content: bytes) -> "Counters":
        """Read back a checkpoint's counters; one that an older version did not keep has its default.

        Raises CorruptFileError.
        """
        try:
            counters = parse_record(cls, content, "checkpoint: counters.json")
        except CorruptFileError as error:
            raise CorruptFileError(f"{error}; go on with the version that wrote it") from error
        if min(counters.epoch, counters.index, counters.step, counters.tokens, counters.seconds) < 0:
            raise CorruptFileError("checkpoint: counters.json: a count is below zero")
        return counters

    def to_json(self) -> bytes:
        """The counters as a checkpoint keeps them."""
        return json.dumps(asdict(self), indent=2).encode()


@dataclass
class Result:
    """What `train` reports at its end."""

    run: str
    epochs: int
    steps: int
    seconds: float
    valid: Perplexity
    test: Perplexity | None
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """The last line of `train --json`."""
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
        """What a person wants to know at the end, and what to type next."""
        epochs, steps = counted(self.epochs, "epoch"), counted(self.steps, "step")
        lines = [f"done   {epochs}, {steps} in {clock(self.seconds)}"]
        lines.append(f"valid  perplexity {self.valid.value:.2f}  [{self.valid.signature}]")
        if self.test is not None:
            lines.append(f"test   perplexity {self.test.value:.2f}  [{self.test.signature}]")
        if self.advice:
            lines.append(f"note   {self.advice}")
        lines.append(f"next   recurlm generate {self.run}     recurlm eval {self.run}     recurlm plot {self.run}")
        return "\n".join(lines)
