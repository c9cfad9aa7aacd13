"""Sessions in a database: created, changed, forked, rolled back, expired; every change whole or not at all."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from recurlm.models.memory import State
from recurlm.models.state import LayerStates
from recurlm.serving.sessions.database import STATES, Database
from recurlm.serving.sessions.errors import (
    DamagedSessionError,
    SessionConflictError,
    SessionMissingError,
    SessionsFullError,
)
from recurlm.serving.sessions.packing import pack_ids, pack_state, sealed, unpack_ids, unpack_state, unsealed

ID_BYTES, STATE_ID_BYTES = 16, 9
KEPT = 256
"""Number of states that a session keeps, the current one included."""
INTERVAL = 256
"""Beyond those, the state after each multiple of so many tokens is kept."""
LOOKS = 64
"""A use is noted when this part of the time to expiry has passed since the last one that was noted."""


@dataclass(frozen=True)
class Limits:
    """How many sessions there may be, after how many idle seconds one expires, and which states each keeps."""

    sessions: int = 100_000
    idle_seconds: float = 7 * 24 * 3600.0
    kept: int = KEPT
    interval: int = INTERVAL


@dataclass(frozen=True)
class Session:
    """What the database says of a session.

    model: digest of its model · state: id of its state, a new one after every change · tokens: its length · created,
    used: seconds since 1970.
    """

    id: str
    model: str
    state: str
    tokens: int
    created: float
    used: float


@dataclass(frozen=True)
class Piece:
    """Ids to append, and the states after the last ones of them, at least one."""

    ids: tuple[int, ...]
    states: tuple[State, ...]


class Place(NamedTuple):
    """The last kept state at or before a place of a session, None for the start, and the ids from there on."""

    tokens: int
    state: State | None
    ids: tuple[int, ...]


class _Segment(NamedTuple):
    id: int
    parent: int | None
    start: int
    size: int
    uses: int


_SEGMENT = "SELECT id, parent, start, size, uses FROM segments WHERE id = ?"
_EXCLUSIVE = """
WITH RECURSIVE chain(id, parent, start, size, uses, thinned) AS (
    SELECT id, parent, start, size, uses, thinned FROM segments WHERE id = ?
    UNION ALL
    SELECT s.id, s.parent, s.start, s.size, s.uses, s.thinned FROM segments s JOIN chain ON s.id = chain.parent
    WHERE chain.uses = 1 AND NOT chain.thinned
)
SELECT id, start, size FROM chain WHERE uses = 1 AND NOT thinned AND start < ?
"""
"""The segments of a session that no other one shares, that may hold states before a place."""


class SessionStore:
    """Sessions of any models; threads and processes may share the database.

    clock: tells seconds since 1970.
    """

    def __init__(
        self, database: Database, limits: Limits | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._db, self._limits, self._clock = database, limits or Limits(), clock

    @property
    def limits(self) -> Limits:
        """The limits that hold here."""
        return self._limits

    @property
    def secret(self) -> bytes:
        """Random bytes that all processes with this database share."""
        with self._db.reading():
            secret = self._db.fact("secret")
        assert isinstance(secret, bytes)
        return secret

    @property
    def count(self) -> int:
        """Number of sessions."""
        with self._db.reading():
            return int(self._db.fact("sessions"))

    def create(self, model: str, pieces: Sequence[Piece], root: State | None = None) -> Session:
        """A new session that has read these pieces, from the start or from a state.

        Raises SessionsFullError where there are as many sessions as there may be.
        """
        with self._db.writing():
            head, tokens = self._appended(None if root is None else self._root(root), 0, pieces)
            return self._insert(model, head, tokens)

    def fork(self, session: str, at: str | None = None) -> Session:
        """A new session in the state of another one. Raises as `get`, `change` and `create` do."""
        with self._db.writing():
            parent, head = self._live(session, at)
            self._use(head, +1)
            return self._insert(parent.model, head, parent.tokens)

    def get(self, session: str, at: str | None = None) -> Session:
        """A session. Raises SessionMissingError where there is none, or none any longer; `at` as in `change`."""
        with self._db.reading():
            return self._live(session, at)[0]

    def place(
        self, session: str, like: LayerStates, tokens: int | None = None, at: str | None = None
    ) -> tuple[Session, Place]:
        """How to get to the state after the first tokens of a session; after all of them unless a number is given.

        `like` has the shapes of the state. Raises as `get` does, and DamagedSessionError.
        """
        with self._db.reading():
            found, head = self._live(session, at)
            return found, self._place(found, head, like, found.tokens if tokens is None else tokens)

    def change(self, session: str, at: str, tokens: int, pieces: Sequence[Piece], root: State | None = None) -> Session:
        """Replaces what follows the first tokens of a session, or with `root` all of it, by these pieces.

        Raises SessionConflictError where its state is no longer `at`, SessionMissingError as `get` does.
        """
        with self._db.writing():
            found, old = self._live(session, at)
            base = self._segment_at(old, tokens) if root is None else self._root(root)
            if root is None:
                self._use(base, +1)
            head, length = self._appended(base, 0 if root is not None else tokens, pieces)
            return self._moved(found, old, head, length)

    def rollback(self, session: str, tokens: int, at: str | None = None) -> Session | None:
        """Goes back to the state after the first tokens; None where that state is not kept, so nothing changed."""
        with self._db.writing():
            found, old = self._live(session, at)
            head = self._segment_at(old, tokens)
            if head is not None and not self._has_state(head, tokens):
                return None
            self._use(head, +1)
            return self._moved(found, old, head, tokens)

    def delete(self, session: str) -> None:
        """Removes a session and what no other one shares with it. Raises SessionMissingError."""
        with self._db.writing():
            self._remove(self._live(session)[0].id)

    def touch(self, session: Session) -> None:
        """Notes that a session was used, unless that was noted not long ago."""
        now = self._clock()
        if now - session.used > self._limits.idle_seconds / LOOKS:
            with self._db.writing():
                self._db.execute("UPDATE sessions SET used = ? WHERE id = ?", now, session.id)

    def expire(self) -> int:
        """Removes the sessions that were idle for too long; returns their number."""
        with self._db.writing():
            return self._expire()

    def _live(self, session: str, at: str | None = None) -> tuple[Session, int | None]:
        """A session that has not expired, and its segment."""
        row = self._db.execute(
            "SELECT id, hex(model), state, tokens, created, used, segment FROM sessions WHERE id = ?", session
        ).fetchone()
        if row is None or row[5] < self._clock() - self._limits.idle_seconds:
            raise SessionMissingError(f"no session {session!r}; it expired or was deleted, or there was none")
        found = Session(row[0], row[1].lower(), *row[2:6])
        if at is not None and at != found.state:
            raise SessionConflictError(
                f"the session is in the state {found.state}, not in {at}; another request changed it, "
                "so nothing was done"
            )
        return found, row[6]

    def _insert(self, model: str, head: int | None, tokens: int) -> Session:
        if self._is_full():
            self._expire()
        if self._is_full():
            raise SessionsFullError(
                f"there are {self._limits.sessions:,} sessions, the limit; delete one, or wait until one expires"
            )
        now = self._clock()
        session = Session(secrets.token_urlsafe(ID_BYTES), model, _new_state_id(), tokens, now, now)
        self._db.execute(
            "INSERT INTO sessions (id, model, state, segment, tokens, created, used) VALUES (?, ?, ?, ?, ?, ?, ?)",
            session.id,
            bytes.fromhex(model),
            session.state,
            head,
            tokens,
            now,
            now,
        )
        return session

    def _is_full(self) -> bool:
        return int(self._db.fact("sessions")) >= self._limits.sessions

    def _expire(self) -> int:
        oldest = self._clock() - self._limits.idle_seconds
        expired = self._db.execute("SELECT id FROM sessions WHERE used < ?", oldest).fetchall()
        for (session,) in expired:
            self._remove(session)
        return len(expired)

    def _moved(self, session: Session, old: int | None, head: int | None, tokens: int) -> Session:
        """A session after a change that leads to another segment, whose use was counted already."""
        state, now = _new_state_id(), self._clock()
        self._db.execute(
            "UPDATE sessions SET state = ?, segment = ?, tokens = ?, used = ? WHERE id = ?",
            state,
            head,
            tokens,
            now,
            session.id,
        )
        self._use(old, -1)
        if head is not None:
            self._thin(head, tokens)
        return Session(session.id, session.model, state, tokens, session.created, now)

    def _appended(self, head: int | None, tokens: int, pieces: Sequence[Piece]) -> tuple[int | None, int]:
        """The segment and the length after further pieces. The use of `head` becomes that of its new child."""
        for piece in pieces:
            head = self._add(head, tokens, piece)
            tokens += len(piece.ids)
        return head, tokens

    def _root(self, state: State) -> int:
        """A segment without ids that holds a state to start from."""
        return self._add(None, 0, Piece((), (state,)))

    def _add(self, parent: int | None, start: int, piece: Piece) -> int:
        size = len(piece.ids)
        added = self._db.execute(
            "INSERT INTO segments (parent, start, size, uses, ids) VALUES (?, ?, ?, 1, ?)",
            parent,
            start,
            size,
            sealed(pack_ids(piece.ids)),
        )
        segment = int(added.lastrowid or 0)
        for offset, state in enumerate(piece.states, size + 1 - len(piece.states)):
            self._db.execute(
                "INSERT INTO states (id, state) VALUES (?, ?)", segment * STATES + offset, sealed(pack_state(state))
            )
        return segment

    def _segment(self, segment: int) -> _Segment:
        row = self._db.execute(_SEGMENT, segment).fetchone()
        if row is None:
            raise DamagedSessionError("a part of the session is missing; delete the session and read the text again")
        return _Segment(*row)

    def _segment_at(self, head: int | None, tokens: int) -> int | None:
        """The segment, from `head` on back, whose ids end a text of so many tokens; None before all of them."""
        while head is not None:
            segment = self._segment(head)
            if segment.start < tokens or not segment.size:
                return head
            head = segment.parent
        return None

    def _has_state(self, segment: int, tokens: int) -> bool:
        key = segment * STATES + tokens - self._segment(segment).start
        return self._db.execute("SELECT 1 FROM states WHERE id = ?", key).fetchone() is not None

    def _place(self, session: Session, head: int | None, like: LayerStates, tokens: int) -> Place:
        ids: tuple[int, ...] = ()
        stop = tokens
        while head is not None:
            segment = self._segment(head)
            if segment.start < stop or not segment.size:
                offset = stop - segment.start
                kept, state = self._last_state(segment, offset, like, session.model)
                ids = self._ids(segment)[kept:offset] + ids
                if state is not None:
                    return Place(tokens - len(ids), state, ids)
                stop = segment.start
            head = segment.parent
        return Place(0, None, ids)

    def _last_state(self, segment: _Segment, offset: int, like: LayerStates, model: str) -> tuple[int, State | None]:
        """The last state of a segment after at most so many of its ids, and how many those are."""
        first = segment.id * STATES
        row = self._db.execute(
            "SELECT id, state FROM states WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1", first, first + offset
        ).fetchone()
        if row is None:
            return 0, None
        return row[0] - first, unpack_state(unsealed(row[1], "a state of the session"), like, model)

    def _ids(self, segment: _Segment) -> tuple[int, ...]:
        (stored,) = self._db.execute("SELECT ids FROM segments WHERE id = ?", segment.id).fetchone()
        return unpack_ids(unsealed(stored, "the text of the session"))

    def _use(self, segment: int | None, change: int) -> None:
        """Counts a use of a segment more or less; removes it, and those before it, where nothing uses it then."""
        while segment is not None:
            self._db.execute("UPDATE segments SET uses = uses + ? WHERE id = ?", change, segment)
            found = self._segment(segment)
            if found.uses:
                return
            first = segment * STATES
            self._db.execute("DELETE FROM states WHERE id BETWEEN ? AND ?", first, first + found.size)
            self._db.execute("DELETE FROM segments WHERE id = ?", segment)
            segment = found.parent

    def _thin(self, head: int, tokens: int) -> None:
        """Removes states that nothing keeps: no other session shares them, and this one has gone far beyond."""
        oldest = tokens - self._limits.kept
        for segment, start, size in self._db.execute(_EXCLUSIVE, head, oldest).fetchall():
            first = segment * STATES
            self._db.execute(
                "DELETE FROM states WHERE id > ? AND id <= ? AND (id - ? + ?) % ?",
                first,
                first + min(size, oldest - start),
                first,
                start,
                self._limits.interval,
            )
            if start + size <= oldest:
                self._db.execute("UPDATE segments SET thinned = 1 WHERE id = ?", segment)

    def _remove(self, session: str) -> None:
        (head,) = self._db.execute("SELECT segment FROM sessions WHERE id = ?", session).fetchone()
        self._db.execute("DELETE FROM sessions WHERE id = ?", session)
        self._use(head, -1)


def _new_state_id() -> str:
    return secrets.token_urlsafe(STATE_ID_BYTES)
