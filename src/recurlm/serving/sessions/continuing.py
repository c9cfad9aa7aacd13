"""What a model reads and draws after a state, as pieces that a session appends. States come from the engine.

A state does not depend, to the bit, on how the text before it was cut into requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recurlm.models.memory import State, initial_state
from recurlm.rescoring.rescorer import hypothesis_ids
from recurlm.serving.delivery import Delivery, Jobs
from recurlm.serving.jobs import Job, Outcome
from recurlm.serving.models import ServedModel
from recurlm.serving.sessions.store import Limits, Piece
from recurlm.text.unknown import UnknownRule


@dataclass(frozen=True)
class Start:
    """A model, the state to go on from, and the number of a session's tokens that it has read."""

    served: ServedModel
    state: State
    tokens: int = 0


def nothing_read(served: ServedModel) -> Start:
    """The start of a text."""
    return Start(served, initial_state(served.model.network, served.model.digest))


async def read(start: Start, ids: Sequence[int], delivery: Delivery, limits: Limits) -> list[Piece]:
    """The pieces that a session appends when the model reads these ids."""
    pieces: list[Piece] = []
    state, end = start.state, start.tokens + len(ids)
    for first, stop in cuts(start.tokens, len(ids), limits.interval):
        part = tuple(ids[first - start.tokens : stop - start.tokens])
        kept = _kept(first, stop, end, limits)
        states = (await _outcome(start.served, Job(state, part, kept=kept - 1), delivery)).states
        pieces.append(Piece(part, states))
        state = states[-1]
    return pieces


async def _outcome(served: ServedModel, job: Job, delivery: Delivery) -> Outcome:
    with Jobs(served.engine, delivery, streams=False) as jobs:
        jobs.submit([job])
        async for _, news in jobs.news():
            if news.outcome is not None:
                return news.outcome
    raise AssertionError("a job ends with an outcome")


def drawn_pieces(outcome: Outcome, tokens: int, limits: Limits) -> list[Piece]:
    """The pieces that a session of `tokens` tokens appends after a job that kept the states of all its draws."""
    count = len(outcome.ids)
    states = outcome.states[len(outcome.states) - count :]
    pieces = []
    for first, stop in cuts(tokens, count, limits.interval):
        kept = _kept(first, stop, tokens + count, limits)
        pieces.append(Piece(outcome.ids[first - tokens : stop - tokens], states[stop - tokens - kept : stop - tokens]))
    return pieces


def _kept(first: int, stop: int, end: int, limits: Limits) -> int:
    """How many states of the places from `first` to `stop` a session of `end` tokens keeps, at least the last one."""
    return max(min(stop - first, stop - (end - limits.kept)), 1)


def cuts(tokens: int, count: int, interval: int) -> Iterator[tuple[int, int]]:
    """Splits the places of `count` further tokens after multiples of `interval`."""
    first, end = tokens, tokens + count
    while first < end:
        stop = min(end, (first // interval + 1) * interval)
        yield first, stop
        first = stop


def sentence_ids(served: ServedModel, text: str, oov: str) -> list[int]:
    """What a model reads of the hypothesis that won: its ids and `<eos>`. Raises InputError and UsageError."""
    return hypothesis_ids(served.model.codec, text, UnknownRule.parse(oov))
