"""What a model does after a state: reads, draws, scores and rescores. States come from the engine, scores in float32.

A state does not depend, to the bit, on how the text before it was cut into requests.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recurlm.models.memory import State, initial_state
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import NBestList
from recurlm.rescoring.rescorer import RescoredList, hypothesis_ids, rescore_after
from recurlm.serving.delivery import Delivery, Jobs
from recurlm.serving.jobs import Job, Outcome
from recurlm.serving.models import ServedModel
from recurlm.serving.sessions.store import Limits, Piece
from recurlm.text.unknown import UnknownRule


@dataclass(frozen=True)
class Start:
    """A model and the state to go on from, after so many tokens of a session."""

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
        kept = max(min(stop - first, stop - (end - limits.kept)), 1)
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
    """The pieces that a session of so many tokens appends after a job that kept the states of all its draws."""
    count = len(outcome.ids)
    states = outcome.states[len(outcome.states) - count :]
    return [
        Piece(outcome.ids[first - tokens : stop - tokens], states[first - tokens : stop - tokens])
        for first, stop in cuts(tokens, count, limits.interval)
    ]


def cuts(tokens: int, count: int, interval: int) -> Iterator[tuple[int, int]]:
    """Splits the places of `count` further tokens after multiples of `interval`."""
    first, end = tokens, tokens + count
    while first < end:
        stop = min(end, (first // interval + 1) * interval)
        yield first, stop
        first = stop


def rescored(start: Start, nbest: NBestList, combination: Combination, oov: str) -> RescoredList:
    """An n-best list after a state, as `recurlm rescore --carry` scores it; to be called in the scoring thread."""
    model = start.served.model
    return rescore_after(model.network, model.codec, nbest, combination, start.state, rule=UnknownRule.parse(oov))


def sentence_ids(served: ServedModel, text: str, oov: str) -> list[int]:
    """What a model reads of the hypothesis that won: its ids and `<eos>`. Raises InputError and UsageError."""
    return hypothesis_ids(served.model.codec, text, UnknownRule.parse(oov))
