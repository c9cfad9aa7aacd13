"""From the engine's thread to an event loop: many draws, few wake-ups."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from recurlm.serving.engine import Engine
from recurlm.serving.jobs import Draw, Job, Outcome
from recurlm.serving.running import RunningJob


class Delivery:
    """Wakes readers in an event loop, all those of a round of the engine at once.

    A call into the loop lets the loop's thread go on, and the engine's thread stands until that one rests. So there is
    one call a round, not one a reader.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._news: set[asyncio.Event] = set()
        self._is_called = False

    def mark(self, reader: asyncio.Event) -> None:
        """Has an event set by the next `flush`; may be called from any thread."""
        with self._lock:
            self._news.add(reader)

    def flush(self) -> None:
        """Sets the marked events, soon, in the loop's thread; may be called from any thread."""
        with self._lock:
            if not self._news or self._is_called or self._loop.is_closed():
                return
            self._is_called = True
        self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            news, self._news, self._is_called = self._news, set(), False
        for reader in news:
            reader.set()


class News(NamedTuple):
    """What happened to a job since its reader last looked: tokens drawn, and the outcome if it ended."""

    draws: list[Draw]
    outcome: Outcome | None


STREAMED_AT_ONCE, WHOLE_AT_ONCE = 8, 16
"""Tokens that the reader of a stream, and that of a whole answer, hear of together. During 16 steps nobody joins."""


class Inbox:
    """The listener of one job, which collects until its reader looks."""

    def __init__(self, delivery: Delivery, reader: asyncio.Event, *, streams: bool) -> None:
        """`streams`: whether the reader is woken by every draw, the first one as soon as it is there, or by the end."""
        self._delivery, self._reader, self._streams = delivery, reader, streams
        self.at_once = 1 if streams else WHOLE_AT_ONCE
        self._lock = threading.Lock()
        self._draws: list[Draw] = []
        self._outcome: Outcome | None = None
        self._error: Exception | None = None

    def drew(self, draws: Sequence[Draw]) -> None:
        """Hears of further tokens, in the engine's thread."""
        with self._lock:
            self._draws += draws
        if self._streams:
            self.at_once = STREAMED_AT_ONCE
            self._delivery.mark(self._reader)

    def ended(self, outcome: Outcome) -> None:
        """Hears of the end, in the engine's thread."""
        self._outcome = outcome
        self._delivery.mark(self._reader)

    def failed(self, error: Exception) -> None:
        """Hears of a failure, in the engine's thread."""
        self._error = error
        self._delivery.mark(self._reader)

    def take(self) -> News:
        """The news, which are then no longer here. Raises the error of a job that failed."""
        outcome = self._outcome  # read before the draws, since nothing is drawn after the end
        if self._error is not None:
            raise self._error
        with self._lock:
            draws, self._draws = self._draws, []
        return News(draws, outcome)


class Jobs:
    """The jobs of one request, as a context: those that have not ended when it closes are cancelled."""

    def __init__(self, engine: Engine, delivery: Delivery, *, streams: bool) -> None:
        self._engine, self._delivery, self._streams = engine, delivery, streams
        engine.round_ends.add(delivery.flush)
        self._reader = asyncio.Event()
        self._open: dict[int, tuple[RunningJob, Inbox]] = {}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queues all jobs or none. Raises BusyError or ClosedError as `Engine.submit` does."""
        try:
            for number, job in enumerate(jobs):
                inbox = Inbox(self._delivery, self._reader, streams=self._streams)
                self._open[number] = self._engine.submit(job, inbox), inbox
        except Exception:
            self.close()
            raise

    async def news(self) -> AsyncIterator[tuple[int, News]]:
        """The number of a job and its news, until all jobs have ended."""
        while self._open:
            await self._reader.wait()
            self._reader.clear()
            for number, (_, inbox) in list(self._open.items()):
                news = inbox.take()
                if news.outcome is not None:
                    del self._open[number]
                if news.draws or news.outcome is not None:
                    yield number, news

    def close(self) -> None:
        """Cancels what has not ended."""
        for running, _ in self._open.values():
            self._engine.cancel(running)
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
