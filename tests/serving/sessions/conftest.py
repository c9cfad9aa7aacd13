"""A served model, and sessions that keep few states, so that short texts reach every case."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

import recurlm
from recurlm.models.memory import State
from recurlm.serving.delivery import Delivery
from recurlm.serving.models import ServedModel, serve_model
from recurlm.serving.sessions.continuing import Start, nothing_read, read
from recurlm.serving.sessions.sessions import Sessions
from recurlm.serving.sessions.store import Limits, Session
from serving.http_server import RUN, SECONDS

FEW = Limits(sessions=1000, idle_seconds=1000.0, kept=5, interval=4)
_Result = TypeVar("_Result")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Sessions, and what a test does with them, one call after another in one event loop."""

    def __init__(self, served: ServedModel, path: Path | None, clock: Clock, limits: Limits = FEW) -> None:
        self.served, self.clock = served, clock
        self.sessions = Sessions({"fruit": served}, path, limits, clock=clock)
        self._runner = asyncio.Runner()
        self._delivery: Delivery | None = None

    @property
    def store(self):
        return self.sessions.store

    def run(self, work: Callable[[Delivery], Awaitable[_Result]]) -> _Result:
        async def in_loop() -> _Result:
            self._delivery = self._delivery or Delivery(asyncio.get_running_loop())
            return await work(self._delivery)

        return self._runner.run(in_loop())

    def create(self, ids: tuple[int, ...] = (), start: State | None = None) -> Session:
        begin = nothing_read(self.served) if start is None else Start(self.served, start)
        return self.run(lambda delivery: self.sessions.create(begin, ids, delivery))

    def read(self, session: str, ids: tuple[int, ...], at: str | None = None) -> Session:
        async def work(delivery: Delivery) -> Session:
            found, start = await self.sessions.start(session, at)
            return await self.sessions.append(found, await read(start, ids, delivery, self.store.limits))

        return self.run(work)

    def rollback(self, session: str, tokens: int, at: str | None = None) -> Session:
        return self.run(lambda delivery: self.sessions.rollback(session, tokens, delivery, at))

    def fork(self, session: str, at: str | None = None) -> Session:
        return self.run(lambda _: self.sessions.fork(session, at))

    def state(self, session: str) -> State:
        return self.run(lambda _: self.sessions.start(session))[1].state

    def state_after(self, ids: tuple[int, ...], start: State | None = None) -> State:
        """The state after ids, read in one piece by the engine."""
        begin = nothing_read(self.served) if start is None else Start(self.served, start)
        endless = Limits(kept=1, interval=1 << 15)
        pieces = self.run(lambda delivery: read(begin, ids, delivery, endless))
        return pieces[-1].states[-1] if pieces else begin.state

    def rows(self, table: str) -> int:
        with self.sessions._database.reading():
            return self.sessions._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def close(self) -> None:
        self._runner.close()
        self.sessions.close()


@pytest.fixture(scope="session")
def served() -> Iterator[ServedModel]:
    served = serve_model("fruit", recurlm.load(RUN), slots=4, queue=64)
    yield served
    assert served.close(SECONDS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench(served: ServedModel, tmp_path: Path, clock: Clock) -> Iterator[Bench]:
    bench = Bench(served, tmp_path / "sessions.db", clock)
    yield bench
    bench.close()
