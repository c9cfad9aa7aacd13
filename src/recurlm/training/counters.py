"""The counters of a run: where it stands."""

import json
import math
from dataclasses import asdict, dataclass, field

from recurlm.documents import parse_record
from recurlm.errors import CorruptFileError

LARGEST_NATS = 700.0
"""Nats a token whose exponential still is a float."""


@dataclass
class Counters:
    """Where a run stands. A checkpoint keeps all of it.

    epoch: whole epochs done · index: batches done in the current epoch · step: steps done · tokens: read by them ·
    seconds: of training and validation, over all restarts · epoch_nats, epoch_tokens: since the epoch began ·
    window_*: since the last log line · best_nats: loss of the best validation ·
    validations_without_gain: validations since the best one, for `training.patience` ·
    waited: the same, but counted from 0 after each reduction of the learning rate, for `schedule.patience` ·
    reductions: of the learning rate, by a plateau · validations: nats of each validation ·
    longest_validation: seconds of the slowest validation · validation_seconds: of all validations ·
    validated_at: `seconds` after the last validation · start_up: seconds before training, of all processes of the run ·
    part: tokens that a validation reads, None for all · exact: whether the final evaluation is exact.
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
        """The counters of a checkpoint; a counter that an older version did not keep has its default.

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

    def replace(self, other: "Counters") -> None:
        """Takes over all values of other counters."""
        vars(self).update(vars(other))

    def count(self, nats: float, tokens: int) -> None:
        """Counts the tokens of a step, and their nats."""
        self.tokens += tokens
        self.epoch_nats += nats
        self.epoch_tokens += tokens
        self.window_nats += nats
        self.window_tokens += tokens

    def count_validation(self, nats: float) -> bool:
        """Counts a validation; returns whether it is the best so far."""
        better = self.best_nats is None or nats < self.best_nats
        if better:
            self.best_nats = nats
        self.waited = 0 if better else self.waited + 1
        self.validations_without_gain = 0 if better else self.validations_without_gain + 1
        self.validations.append(nats)
        return better

    def close_epoch(self) -> None:
        """Counts an epoch, and begins the next one."""
        self.epoch += 1
        self.index, self.epoch_nats, self.epoch_tokens = 0, 0.0, 0
        self.open_window()

    def open_window(self) -> None:
        """Begins a new window: the figures of the next log line count from here."""
        self.window_nats, self.window_seconds = 0.0, 0.0
        self.window_tokens, self.window_sentences = 0, 0

    @property
    def epoch_loss(self) -> float:
        """Nats a token since the epoch began."""
        return self.epoch_nats / max(self.epoch_tokens, 1)

    @property
    def epoch_perplexity(self) -> float:
        """Perplexity of the training text since the epoch began."""
        return math.exp(min(self.epoch_loss, LARGEST_NATS))

    @property
    def window_loss(self) -> float:
        """Nats a token since the last log line."""
        return self.window_nats / max(self.window_tokens, 1)

    @property
    def tokens_per_second(self) -> float | None:
        """Speed since the last log line; None if nothing was counted since then."""
        return _per_second(self.window_tokens, self.window_seconds)

    @property
    def sentences_per_second(self) -> float | None:
        """Speed since the last log line; None if no sentence ended since then."""
        return _per_second(self.window_sentences, self.window_seconds)


def _per_second(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds > 0 else None
