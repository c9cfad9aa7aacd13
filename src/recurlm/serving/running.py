"""A job in a slot: what it reads next, and what it has drawn."""

from collections import deque

import torch
from torch import Tensor

from recurlm.generation.endings import GrowingSample
from recurlm.generation.sampling import draw as draw_by_options
from recurlm.models.memory import State
from recurlm.serving.jobs import Draw, Job, Listener, Outcome
from recurlm.text.codec import Codec

SHARES_AT_ONCE = 64


class RunningJob:
    """A job from its admission to its end."""

    def __init__(self, job: Job, listener: Listener, codec: Codec, vocabulary_size: int) -> None:
        self.job, self.listener = job, listener
        self.cancelled = False
        self.draws_plainly = job.options.is_plain  # temperature and banned tokens alone change the probabilities
        self.pending = deque([job.start.last, *job.ids])
        self.sample = GrowingSample(codec, job.ending)
        self.drawn = 0
        longest_stop = max(map(len, job.ending.stops), default=0)  # so many tokens, at most, it may remove again
        self.states: deque[State] = deque(maxlen=(job.kept or 0) + 1 + longest_stop)
        self.generator = torch.Generator().manual_seed(job.seed)
        self._shares: list[float] = []
        self._seen = self._seen_at_first(vocabulary_size)

    @property
    def only_reads(self) -> bool:
        """Whether more ids follow the next one, so its prediction is not wanted."""
        return len(self.pending) > 1

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: all ids but the last are read, and all tokens are drawn."""
        return not self.only_reads and (self.sample.has_ended or len(self.sample.ids) >= self.job.tokens)

    @property
    def keeps_states(self) -> bool:
        """Whether the outcome holds states, so no token may be read beyond the end."""
        return self.job.kept is not None

    @property
    def is_plain(self) -> bool:
        """Whether the engine may draw several tokens at once: nothing is wanted between them."""
        return self.draws_plainly and not self.keeps_states and self.job.alternatives is None and not self.only_reads

    @property
    def left(self) -> int:
        """Number of tokens that may still be drawn."""
        return self.job.tokens - len(self.sample.ids)

    def shares(self, count: int) -> list[float]:
        """The next random numbers in [0, 1); the sequence does not depend on how many are taken at once."""
        while len(self._shares) < count:
            more = torch.rand(SHARES_AT_ONCE, dtype=torch.float64, generator=self.generator)
            self._shares += more.tolist()
        found, self._shares = self._shares[:count], self._shares[count:]
        return found

    def draw(self, logits: Tensor) -> int:
        """Draws from logits (1, V) by options that the plain draw does not know."""
        index = int(draw_by_options(logits, self.job.options, self.generator, self._seen))
        if self._seen is not None:
            self._seen[0, index] = True
        return index

    def take(self, draws: list[Draw]) -> None:
        """Takes drawn tokens, up to the one that ends the text, and tells the listener."""
        wanted = draws[: self.left]
        taken = wanted[: self.sample.extend([draw.id for draw in wanted])]
        self.drawn += len(taken)
        self.pending = deque([draws[len(taken) - 1].id])
        self.listener.drew(taken)

    def outcome(self) -> Outcome:
        """How the job ended."""
        removed = self.drawn - len(self.sample.ids)
        states = tuple(self.states)[: len(self.states) - removed]
        return Outcome(self.sample.end, tuple(self.sample.ids), states[-1 - (self.job.kept or 0) :])

    def _seen_at_first(self, vocabulary_size: int) -> Tensor | None:
        if self.job.options.repetition_penalty == 1:
            return None
        seen = torch.zeros(1, vocabulary_size, dtype=torch.bool)
        seen[0, list(self.job.ids)] = True
        return seen
