"""What a request asks of the engine, and what it hears back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from recurlm.generation.endings import Ending
from recurlm.generation.sampling import SamplingOptions
from recurlm.models.memory import State


@dataclass(frozen=True)
class Job:
    """One text: ids to read after a state, then tokens to draw.

    start: the state before the ids · ids: what is read · tokens: number of tokens to draw at most; 0 only reads ·
    options: how tokens are drawn · ending: what ends the text earlier · seed: of this text's own random numbers ·
    alternatives: how many of the likeliest tokens are told with each drawn token; None tells no log-probability ·
    kept: how many states before the last one the outcome holds, one after each token.
    """

    start: State
    ids: tuple[int, ...] = ()
    tokens: int = 0
    options: SamplingOptions = field(default_factory=SamplingOptions)
    ending: Ending = field(default_factory=Ending)
    seed: int = 0
    alternatives: int | None = None
    kept: int | None = None


class Draw(NamedTuple):
    """A drawn token: its id, its natural log-probability at temperature 1, and the likeliest ids with theirs."""

    id: int
    logprob: float | None = None
    alternatives: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    end: ``tokens``, ``eos`` or ``stop`` · ids: what was drawn, without what a stop text removed · states: the states
    after the last tokens, the oldest first, the final one last; empty unless the job asked for them.
    """

    end: str
    ids: tuple[int, ...]
    states: tuple[State, ...] = ()


class Listener(Protocol):
    """Hears from the engine, in the engine's thread; must return at once.

    at_once: how many tokens it may hear of together, at most; more make the engine faster, fewer make it prompt.
    """

    at_once: int

    def drew(self, draws: Sequence[Draw]) -> None:
        """Further tokens were drawn. A stop text may yet remove the last ones."""

    def ended(self, outcome: Outcome) -> None:
        """The job is done; nothing follows."""

    def failed(self, error: Exception) -> None:
        """The job cannot be completed; nothing follows."""
