"""Who holds the state of a text: a session of the server, or the client."""

from collections.abc import Sequence
from typing import Any, Protocol

from recurlm.models.memory import State
from recurlm.serving.sessions.continuing import Start
from recurlm.serving.sessions.sessions import Sessions
from recurlm.serving.sessions.store import Piece, Session


class Holder(Protocol):
    """Where a request starts, and where its change goes."""

    @property
    def start(self) -> Start:
        """Where the request starts."""

    async def append(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """Commits a change; returns where the text stands then. Raises SessionConflictError."""

    def unchanged(self) -> dict[str, Any]:
        """Where the text stands without a change."""


class SessionHolder:
    """A session of the server."""

    def __init__(self, sessions: Sessions, session: Session, start: Start) -> None:
        self.start, self._sessions, self._session = start, sessions, session

    async def append(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return self._told(await self._sessions.append(self._session, pieces))

    def unchanged(self) -> dict[str, Any]:
        return self._told(self._session)

    def _told(self, session: Session) -> dict[str, Any]:
        name = self.start.served.name
        return {"session": session.id, "model": name, "state": session.state, "tokens": session.tokens}


class ClientHolder:
    """The client, to whom a new state is handed."""

    def __init__(self, sessions: Sessions, start: Start) -> None:
        self.start, self._tokens = start, sessions.tokens

    async def append(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return self._told(pieces[-1].states[-1] if pieces else self.start.state)

    def unchanged(self) -> dict[str, Any]:
        return self._told(self.start.state)

    def _told(self, state: State) -> dict[str, Any]:
        name = self.start.served.name
        return {"session": None, "model": name, "state": self._tokens.token(state), "tokens": None}
