"""Scores for requests: float32, one request after another in the scoring thread of a model."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from recurlm.scoring.scorer import ScoringOptions
from recurlm.serving.engine import BusyError, ClosedError
from recurlm.serving.models import ServedModel
from recurlm.serving.prompts import Prompt

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


class GivenUpError(Exception):
    """Nobody waits for these scores any longer."""


class Patience:
    """Whether somebody still waits for some scores."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    def end(self) -> None:
        """Nobody waits any longer."""
        self._ended.set()

    def check(self, _: int = 0) -> None:
        """Raises GivenUpError where nobody waits."""
        if self._ended.is_set():
            raise GivenUpError

    def watch(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The same items, while somebody waits. Raises GivenUpError when nobody does."""
        for item in items:
            self.check()
            yield item


async def in_scoring_thread(served: ServedModel, queue: int, work: Callable[[Patience], _Result]) -> _Result:
    """The result of some work in the scoring thread. Raises BusyError where too many requests wait for it."""
    if not served.is_open:
        raise ClosedError("the server is stopping; try again elsewhere")
    if served.waiting_scores >= queue:
        raise BusyError(f"{served.waiting_scores} requests wait for scores already; try again later")
    patience = Patience()
    served.waiting_scores += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(served.scoring, work, patience)
    finally:
        served.waiting_scores -= 1
        patience.end()


class ScoredToken(NamedTuple):
    """A token of a prompt: its natural log-probability, None where nothing precedes it, and the likeliest tokens'."""

    id: int
    logprob: float | None
    likeliest: tuple[tuple[int, float], ...]


def scored_prompt(served: ServedModel, prompt: Prompt, alternatives: int) -> list[ScoredToken]:
    """Scores a prompt as `recurlm score` does, with so many likeliest tokens beside each.

    Where the token itself is among the likeliest, both log-probabilities are the very same number.
    """
    options = ScoringOptions(predictions=alternatives > 0, alternatives=alternatives)
    logprobs, predictions = served.model.scorer(options=options).sequence(prompt.ids)
    told = [
        tuple((index, logprob + more) for index, more in prediction.likeliest)
        for logprob, prediction in zip(logprobs, predictions, strict=bool(predictions))
    ]
    tokens = list(map(ScoredToken, prompt.ids, logprobs, told or itertools.repeat(())))
    return [ScoredToken(prompt.whole[0], None, ()), *tokens] if prompt.begins_with_eos else tokens
