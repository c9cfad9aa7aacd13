"""Validation: measures the held-out texts while a model trains and at the end, and decides which model is kept."""

import itertools
import statistics
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from recurlm.config import Recipe
from recurlm.distributed import ALONE, Team
from recurlm.errors import InputError
from recurlm.evaluation.perplexity import Perplexity, Tick
from recurlm.evaluation.protocols import ProtocolOptions, given_buckets, perplexity
from recurlm.generation.sampling import SamplingOptions, sample
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import EncodedText
from recurlm.text.store import PreparedCorpus
from recurlm.training.clock import now
from recurlm.training.counters import Counters

LARGEST_VALIDATION = 1 / 40
"""Share of a time limit that one validation may take; of a longer text, a part is read."""
SMALLEST_PART = 1000
"""Smallest number of tokens of a part."""
TIMED_SECONDS = 0.1
"""Shortest measurement from which the time of a longer one is estimated."""
TIMED_TOKENS = 256
MARGIN = 1.2
"""Factor of every estimate."""
SPECIMEN_TEMPERATURE = 0.8
SPECIMEN_TOKENS = {"word": 20, "bpe": 30, "character": 100}

Done = Callable[[float], None]
"""Called with the fraction of a text that is measured; may raise to stop."""


@dataclass
class Pace:
    """Seconds a token, from the last measurements."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=5))

    def add(self, seconds: float, tokens: int) -> None:
        """Adds a measurement."""
        self.recent.append(seconds / max(tokens, 1))

    def estimate(self, tokens: int) -> float:
        """Estimated seconds for this number of tokens, with a margin; 0 before the first measurement."""
        return MARGIN * statistics.median(self.recent) * tokens if self.recent else 0.0


class Validator:
    """Measures the held-out texts by the protocol of the recipe: exactly, or in the quicker way of a validation.

    A validation reads `part` tokens of each text (None: all tokens), and a stream in several columns.
    """

    def __init__(
        self,
        model: LanguageModel,
        corpus: PreparedCorpus,
        recipe: Recipe,
        now: Callable[[], float] = now,
        *,
        team: Team = ALONE,
    ) -> None:
        self.model, self.corpus, self.recipe, self.now, self.team = model, corpus, recipe, now, team
        self.options = recipe.validation
        self.part: int | None = None
        self.paces = {True: Pace(), False: Pace()}

    @property
    def held_out(self) -> list[str]:
        """The splits that are measured at the end."""
        return [split for split in ("valid", "test") if split in self.corpus.splits]

    def text(self, split: str, *, exact: bool = False) -> EncodedText:
        """The part of a split that is read."""
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

        began = self.now()
        measured = self._perplexity(text, exact, tick)
        self.paces[exact].add(self.now() - began, len(text.ids))
        return measured

    def judge(self, measured: Perplexity, counters: Counters) -> bool:
        """Counts a validation; returns whether its model is kept: the best one, or every one if the recipe says so."""
        better = counters.count_validation(measured.nats)
        return better or self.options.keep == "last"

    def specimen(self) -> str:
        """The start of a sample, which shows what the model has learned."""
        codec = self.corpus.codec
        options = SamplingOptions(temperature=SPECIMEN_TEMPERATURE, banned=codec.vocabulary.placeholders)
        drawn = itertools.islice(sample(self.model, [], options), SPECIMEN_TOKENS[self.recipe.text.unit])
        text = codec.decode(int(ids[0]) for ids in drawn)
        return " / ".join(line for line in text.split("\n") if line)

    def estimate(self, *, exact: bool) -> float:
        """Estimated seconds of the final evaluation, exact or in the way of a validation."""
        return self.paces[exact].estimate(sum(len(self.text(split, exact=exact).ids) for split in self.held_out))

    def estimate_validation(self) -> float:
        """Estimated seconds of a validation."""
        return self.paces[False].estimate(len(self.text(self.options.split).ids))

    def choose_part(self, limit: float) -> int | None:
        """Sets `part` to what a time limit of `limit` seconds leaves for a validation; returns it."""
        whole = len(self.corpus[self.options.split].ids)
        share = limit * LARGEST_VALIDATION / max(self.estimate_validation(), 1e-9)
        part = max(_rounded(int(whole * min(share, 1.0))), SMALLEST_PART)
        # the protocol mxnet may drop every sentence of a part
        self.part = part if share < 1 and part < whole and self.options.protocol != "mxnet" else None
        return self.part

    def time(self, *, exact: bool, repeats: int = 1) -> None:
        """Measures the seconds a token, on the beginning of a text."""
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
        began = self.now()
        with suppress(InputError):  # the protocol mxnet may drop every sentence of a short piece
            self._perplexity(piece, exact, None)
        return self.now() - began

    def _perplexity(self, text: EncodedText, exact: bool, tick: Tick | None) -> Perplexity:
        options = self.options
        protocol_options = ProtocolOptions(
            columns=1 if exact else options.columns,
            warm_up=0 if exact else options.warm_up,
            buckets=given_buckets(self.recipe.batches),
            full_batches=options.full_batches,
            team=self.team,
        )
        return perplexity(self.model, text, options.protocol, protocol_options, tick=tick)


def _rounded(tokens: int) -> int:
    """Rounded down to two digits, for signatures."""
    step: int = 10 ** max(len(str(tokens)) - 2, 0)
    return tokens // step * step
