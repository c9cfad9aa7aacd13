"""What is measured on the held-out texts while a model trains and at the end, within the time that there is."""

import statistics
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from recurlm.config import Recipe
from recurlm.errors import InputError
from recurlm.evaluation.perplexity import Perplexity, Tick
from recurlm.evaluation.protocols import ProtocolOptions, given_buckets, perplexity
from recurlm.models.language_model import LanguageModel
from recurlm.progress import duration
from recurlm.text.codec import EncodedText
from recurlm.text.store import PreparedCorpus
from recurlm.training.clock import Clock, now
from recurlm.training.counters import Counters

LARGEST_VALIDATION = 1 / 40
"""Share of a time limit that one validation may take; a longer text is read in part."""
LARGEST_EVALUATION = 1 / 4
"""Share of a time limit that the exact evaluation at the end may take."""
SMALLEST_PART = 1000
"""Tokens of a text that are measured at least."""
TIMED_SECONDS = 0.1
"""Shortest measurement from which the time of a longer one is estimated."""
TIMED_TOKENS = 256
SAVES, SAVED_BYTES_A_SECOND = 8, 2e8
"""Weights are written about so many times at a validation, in two checkpoints and as the model, at this speed."""
MARGIN = 1.2
"""What an estimate is multiplied by."""

Done = Callable[[float], None]
"""Called with the fraction of a text that has been measured; may raise to stop."""


@dataclass
class Pace:
    """Seconds that a token takes, from the last measurements."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    def add(self, seconds: float, tokens: int) -> None:
        """One measurement."""
        self.recent.append(seconds / max(tokens, 1))

    def estimate(self, tokens: int) -> float:
        """Seconds for so many tokens, with a margin; 0 before the first measurement."""
        return MARGIN * statistics.median(self.recent) * tokens if self.recent else 0.0


class Validator:
    """Measures the held-out texts by the recipe's protocol: exactly, or in the quicker way of a validation.

    A validation reads `part` tokens of each text (all where it is None), a stream in several columns.
    """

    def __init__(self, model: LanguageModel, corpus: PreparedCorpus, recipe: Recipe) -> None:
        self.model, self.corpus, self.recipe = model, corpus, recipe
        self.options = recipe.validation
        self.part: int | None = None
        self.paces = {True: Pace(), False: Pace()}

    @property
    def held_out(self) -> list[str]:
        """The splits that are measured at the end."""
        return [split for split in ("valid", "test") if split in self.corpus.splits]

    def text(self, split: str, *, exact: bool = False) -> EncodedText:
        """What is read of a split."""
        text = self.corpus[split]
        if exact or self.part is None or self.part >= len(text.ids):
            return text
        return text.first(
            self.part, self.corpus.codec.vocabulary.unknown_id, whole_sentences=self.options.protocol != "stream"
        )

    def measure(self, split: str, *, exact: bool = False, done: Done | None = None) -> Perplexity:
        """The perplexity of a split."""
        text = self.text(split, exact=exact)
        read = 0

        def tick(tokens: int) -> None:
            nonlocal read
            read += tokens
            if done is not None:
                done(min(read / len(text.ids), 1.0))

        began = now()
        measured = self._perplexity(text, exact, tick)
        self.paces[exact].add(now() - began, len(text.ids))
        return measured

    def estimate(self, *, exact: bool) -> float:
        """Seconds that the measuring at the end takes, exactly or as a validation does."""
        return self.paces[exact].estimate(sum(len(self.text(split, exact=exact).ids) for split in self.held_out))

    def estimate_validation(self) -> float:
        """Seconds that a validation takes."""
        return self.paces[False].estimate(len(self.text(self.options.split).ids))

    def choose_part(self, limit: float) -> int | None:
        """Read only so much of each text as `limit` seconds leave for a validation; returns `part`."""
        whole = len(self.corpus[self.options.split].ids)
        share = limit * LARGEST_VALIDATION / max(self.estimate_validation(), 1e-9)
        part = max(_rounded(int(whole * min(share, 1.0))), SMALLEST_PART)
        # mxnet may leave out every sentence of a part
        self.part = part if share < 1 and part < whole and self.options.protocol != "mxnet" else None
        return self.part

    def time(self, *, exact: bool, repeats: int = 1) -> None:
        """Measure how long a token takes, on the beginning of a text."""
        text = self.corpus[self.options.split if not exact else self.held_out[0]]
        tokens = TIMED_TOKENS * (1 if exact else self.options.columns)
        self._seconds(text, tokens, exact)
        while (seconds := self._seconds(text, tokens, exact)) < TIMED_SECONDS and tokens < len(text.ids):
            tokens *= 2
        for _ in range(repeats):
            self.paces[exact].add(seconds, min(tokens, len(text.ids)))
            seconds = self._seconds(text, tokens, exact)

    def _seconds(self, text: EncodedText, tokens: int, exact: bool) -> float:
        piece = text.first(min(tokens, len(text.ids)), None, whole_sentences=self.options.protocol != "stream")
        began = now()
        with suppress(InputError):  # mxnet may leave out every sentence of a short piece
            self._perplexity(piece, exact, None)
        return now() - began

    def _perplexity(self, text: EncodedText, exact: bool, tick: Tick | None) -> Perplexity:
        options = self.options
        protocol_options = ProtocolOptions(
            columns=1 if exact else options.columns,
            warm_up=0 if exact else options.warm_up,
            buckets=given_buckets(self.recipe.batches),
            full_batches=options.full_batches,
        )
        return perplexity(self.model, text, options.protocol, protocol_options, tick=tick)


def plan_measuring(clock: Clock, validator: Validator, counters: Counters, *, begins: bool, saved: int) -> list[str]:
    """Estimate the time of what is measured under a time limit, and return what the user must know about it.

    For a run that begins it also decides what is measured. `saved` is the bytes of the weights.
    """
    limit = clock.limit or 0.0
    for exact in (False, True):
        validator.time(exact=exact, repeats=3)
    if begins:
        counters.part = validator.choose_part(limit)
        counters.exact = validator.estimate(exact=True) <= limit * LARGEST_EVALUATION
    validator.part = counters.part
    clock.validation = validator.estimate_validation() + SAVES * saved / SAVED_BYTES_A_SECOND
    clock.evaluation = validator.estimate(exact=counters.exact)
    return [*_time_lines(clock), *_measuring_lines(validator, counters)]


def _time_lines(clock: Clock) -> list[str]:
    limit, loading = clock.limit or 0.0, now() - clock.began
    others = loading + clock.validation + clock.evaluation + clock.closing
    training = limit - clock.counters.seconds - clock.counters.start_up - others
    if training > 0:
        return [
            f"time   {duration(limit)} in all: {duration(loading)} until here, about {duration(training)} for training "
            f"and validation, {duration(limit - loading - training)} for the end"
        ]
    return [
        f"time   the limit of {duration(limit)} cannot be kept: starting, measuring and closing take about "
        f"{duration(others)}; one step is trained\n"
        f"       give --time-limit {duration(5 * others)} or more"
    ]


def _measuring_lines(validator: Validator, counters: Counters) -> list[str]:
    lines, split = [], validator.options.split
    if counters.part is not None:
        whole = len(validator.corpus[split].ids)
        lines.append(
            f"       validation reads the first {counters.part:,} of {whole:,} {split} tokens: all of them would take "
            "too much of the time"
        )
    if not counters.exact:
        seconds = duration(validator.estimate(exact=True))
        lines.append(
            f"       the exact evaluation would take about {seconds}: the end measures as validation does; the exact "
            "figures later: recurlm eval RUN"
        )
    return lines


def _rounded(tokens: int) -> int:
    """Down to two digits, as it stands in signatures."""
    step: int = 10 ** max(len(str(tokens)) - 2, 0)
    return tokens // step * step
