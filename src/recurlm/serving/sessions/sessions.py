"""The sessions of a server: the database, the models, and the thread in which the database is used.

A change is computed first and committed then, if the session is still in the state from which it started. Of two
changes at once the one that is done first counts, and the other one is refused.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from recurlm.errors import InputError
from recurlm.models.memory import State, check_state
from recurlm.models.state import LayerStates
from recurlm.serving.delivery import Delivery
from recurlm.serving.models import ServedModel
from recurlm.serving.sessions.continuing import Start, nothing_read, read
from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.signed import StateTokens
from recurlm.serving.sessions.store import Limits, Piece, Place, Session, SessionStore

SECONDS_BETWEEN_EXPIRIES = 60.0
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class Sessions:
    """Sessions of served models, and the tokens of states that clients hold."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        path: Path | None = None,
        limits: Limits | None = None,
        secret: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`path` of None keeps sessions in memory. Without a `secret`, tokens are signed with that of the database."""
        self._database = Database(path)
        self.store = SessionStore(self._database, limits, clock)
        self.tokens = StateTokens(self.store.secret if secret is None else secret.encode())
        self._models = {served.model.digest: served for served in models.values()}
        self._thread = ThreadPoolExecutor(1, "recurlm-sessions")
        self._last_expiry = -SECONDS_BETWEEN_EXPIRIES

    def close(self) -> None:
        """Finishes what is being committed and closes the database."""
        self._thread.shutdown()
        self._database.close()

    async def get(self, session: str, at: str | None = None) -> Session:
        """A session. Raises SessionMissingError, and SessionConflictError where it is not in the state `at`."""
        found = await self._call(self.store.get, session, at)
        self.model(found.model)
        return found

    async def start(self, session: str, at: str | None = None) -> tuple[Session, Start]:
        """A session and where it goes on. Raises as `get` does."""
        found = await self.get(session, at)
        served = self.model(found.model)
        await self._call(self.store.touch, found)
        found, place = await self._call(self.store.place, session, _shapes(served), None, at)
        return found, _start(served, place)

    async def create(self, start: Start, ids: Sequence[int], delivery: Delivery) -> Session:
        """A session that has read ids after a start; a start other than that of every text is kept with it."""
        await self._make_room()
        root = None if start.state == nothing_read(start.served).state else start.state
        pieces = await read(start, ids, delivery, self.store.limits)
        return await self._call(self.store.create, start.served.model.digest, pieces, root)

    async def fork(self, session: str, at: str | None = None) -> Session:
        """A new session in the state of another one. Raises as `get` does."""
        await self.get(session, at)
        await self._make_room()
        return await self._call(self.store.fork, session, at)

    async def append(self, session: Session, pieces: Sequence[Piece]) -> Session:
        """Commits a change that started from this state of a session. Raises SessionConflictError."""
        return await self._call(self.store.change, session.id, session.state, session.tokens, pieces)

    async def replace(self, session: str, state: State, at: str | None = None) -> Session:
        """Puts a session into a state; what it read before is gone. Raises as `get` does, and InputError."""
        found = await self.get(session, at)
        self.checked(self.model(found.model), state)
        return await self._call(self.store.change, found.id, found.state, 0, (), state)

    async def rollback(self, session: str, tokens: int, delivery: Delivery, at: str | None = None) -> Session:
        """Goes back to the state after the first tokens, which is read again from the nearest one kept if need be.

        Raises InputError for a number that the session does not have, and as `get` does.
        """
        found = await self.get(session, at)
        if not 0 <= tokens <= found.tokens:
            raise InputError(
                f"tokens: {tokens}: the session has {found.tokens:,} tokens; go back to one of them or to 0"
            )
        at = found.state
        done = await self._call(self.store.rollback, session, tokens, at)
        if done is not None:
            return done
        served = self.model(found.model)
        _, place = await self._call(self.store.place, session, _shapes(served), tokens, at)
        pieces = await read(_start(served, place), place.ids, delivery, self.store.limits)
        return await self._call(self.store.change, session, at, place.tokens, pieces)

    async def delete(self, session: str) -> None:
        """Removes a session. Raises SessionMissingError."""
        await self._call(self.store.delete, session)

    def model(self, digest: str) -> ServedModel:
        """The served model of this digest. Raises InputError where none is served."""
        if digest not in self._models:
            raise InputError(f"the state belongs to the model sha256:{digest[:8]}, which this server does not serve")
        return self._models[digest]

    def checked(self, served: ServedModel, state: State) -> Start:
        """A state that a client gave. Raises InputError for one of another model."""
        check_state(state, served.model.network, served.model.digest)
        return Start(served, state)

    def held(self, token: str) -> Start:
        """The start that a client holds as a token. Raises InputError for a token that was not given here."""
        served = self.model(self.tokens.model(token))
        return self.checked(served, self.tokens.state(token, _shapes(served)))

    async def _make_room(self) -> None:
        now = time.monotonic()
        if now - self._last_expiry > SECONDS_BETWEEN_EXPIRIES:
            self._last_expiry = now
            await self._call(self.store.expire)

    async def _call(self, function: Callable[_Given, _Result], *args: _Given.args, **named: _Given.kwargs) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*args, **named))


def _shapes(served: ServedModel) -> LayerStates:
    return served.model.network.initial_state(1)


def _start(served: ServedModel, place: Place) -> Start:
    first = nothing_read(served).state
    return Start(served, first if place.state is None else place.state, place.tokens)
