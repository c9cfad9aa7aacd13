"""A job in a slot: what it reads next, and what it has drawn."""

import itertools
from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from recurlm.errors import InputError
from recurlm.generation.endings import GrowingSample
from recurlm.generation.sampling import draw as draw_by_options
from recurlm.models.memory import State
from recurlm.models.slots import OUT_OF_RANGE
from recurlm.serving.jobs import Draw, Job, Listener, Outcome
from recurlm.text.codec import Codec

SHARES_AT_ONCE = 64
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class RunningJob:
    """A job from its admission to its end. `error` is why it fails."""

    def __init__(self, job: Job, listener: Listener, codec: Codec, vocabulary_size: int) -> None:
        """Raises InputError for ids that the model lacks, with which a step of all jobs would fail."""
        _check_ids(job, vocabulary_size)
        self.job, self.listener = job, listener
        self.cancelled = False
        self.error: Exception | None = None
        self.draws_plainly = job.options.is_plain  # temperature and banned tokens alone change the probabilities
        self.pending = deque([job.start.last, *job.ids])
        self.sample = GrowingSample(codec, job.ending)
        self.drawn = 0
        longest_stop = max(map(len, job.ending.stops), default=0)  # so many tokens, at most, it may remove again
        self.states: deque[State] = deque(maxlen=(job.kept or 0) + 1 + longest_stop)
        self.generator = torch.Generator().manual_seed(job.seed)
        self._shares: list[float] = []
        self._words = vocabulary_size
        self._seen = self._seen_at_first()

    @property
    def only_reads(self) -> bool:
        """Whether more ids follow the next one, so its prediction is not wanted."""
        return len(self.pending) > 1

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: the job failed, or has read all ids but the last and drawn all tokens."""
        if self.error is not None:
            return True
        return not self.only_reads and (self.sample.has_ended or len(self.sample.ids) >= self.job.tokens)

    @property
    def keeps_states(self) -> bool:
        """Whether the outcome holds states, so no token may be read beyond the end."""
        return self.job.kept is not None

    @property
    def is_plain(self) -> bool:
        """Whether the engine may draw several tokens at once: nothing is wanted between them."""
        return self.draws_plainly and not self.keeps_states and self.job.alternatives is None

    @property
    def opens_alone(self) -> bool:
        """Whether a reader waits for the first token, so it is drawn alone."""
        return self.drawn == 0 and self.listener.at_once == 1

    @property
    def left(self) -> int:
        """Number of tokens that may still be drawn."""
        return self.job.tokens - len(self.sample.ids)

    def attempt(self, work: Callable[_Given, _Result], *given: _Given.args, **named: _Given.kwargs) -> _Result | None:
        """The result of some work that concerns this job alone; an error becomes that of the job, which then ends."""
        if self.error is None:
            try:
                return work(*given, **named)
            except Exception as error:
                self.error = error
        return None

    def shares(self, count: int) -> list[float]:
        """The next random numbers in [0, 1); the sequence does not depend on how many are taken at once."""
        while len(self._shares) < count:
            more = torch.rand(SHARES_AT_ONCE, dtype=torch.float64, generator=self.generator)
            self._shares += more.tolist()
        found, self._shares = self._shares[:count], self._shares[count:]
        return found

    def draw(self, logits: Tensor) -> int:
        """Draws from logits (1, V) by options that the plain draw does not know. Raises as `outcome` does."""
        _check_finite(logits)
        index = int(draw_by_options(logits, self.job.options, self.generator, self._seen))
        if self._seen is not None:
            self._seen[0, index] = True
        return index

    def take(self, draws: list[Draw]) -> None:
        """Takes drawn tokens, up to the one that ends the text, and tells the listener. Raises as `outcome` does."""
        ids = [draw.id for draw in draws[: self.left]]
        if min(ids) < 0 or max(ids) >= self._words:
            raise InputError(OUT_OF_RANGE)  # what a draw from numbers that are not finite may give
        taken = draws[: self.sample.extend(ids)]
        self.drawn += len(taken)
        self.pending = deque([draws[len(taken) - 1].id])
        self.listener.drew(taken)

    def outcome(self) -> Outcome:
        """How the job ended. Raises InputError where the given state led beyond the range of numbers."""
        removed = self.drawn - len(self.sample.ids)
        for tensor in itertools.chain(*(self.states[-1].layers if self.states else ())):
            _check_finite(tensor)
        states = tuple(self.states)[: len(self.states) - removed]
        return Outcome(self.sample.end, tuple(self.sample.ids), states[-1 - (self.job.kept or 0) :])

    def _seen_at_first(self) -> Tensor | None:
        if self.job.options.repetition_penalty == 1:
            return None
        seen = torch.zeros(1, self._words, dtype=torch.bool)
        seen[0, list(self.job.ids)] = True
        return seen


def _check_ids(job: Job, vocabulary_size: int) -> None:
    for index in (job.start.last, *job.ids, *job.options.banned):
        if not 0 <= index < vocabulary_size:
            raise InputError(f"id {index} is not in the vocabulary; ids go from 0 to {vocabulary_size - 1}")


def _check_finite(numbers: Tensor) -> None:
    if not numbers.isfinite().all():
        raise InputError(OUT_OF_RANGE)
