"""The SQLite file of sessions: its tables, and transactions that several processes share.

A text is a chain of segments: each holds the ids that one change appended, and names the segment before it. A session
is a place in such a chain, so a fork is one row, and forks share segments and states. `uses` counts the segments and
sessions that continue from a segment; a segment that nothing uses is removed.
"""

import contextlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from recurlm.errors import CorruptFileError, RecurlmError, UsageError
from recurlm.serving.engine import BusyError
from recurlm.serving.sessions.errors import DamagedSessionError

APPLICATION = 0x7265636C
VERSION = 1
BUSY_SECONDS = 10.0
SECRET_BYTES = 32
MEMORY = ":memory:"
PAGE_BYTES = 1 << 14
"""Room for several states of a usual model, so that little of a page stays empty."""
CACHE_KILOBYTES = 32 << 10

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO facts VALUES ('sessions', 0);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY, model BLOB NOT NULL, state TEXT NOT NULL, segment INTEGER, tokens INTEGER NOT NULL,
    created REAL NOT NULL, used REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, parent INTEGER, start INTEGER NOT NULL, size INTEGER NOT NULL, uses INTEGER NOT NULL,
    thinned INTEGER NOT NULL DEFAULT 0, ids BLOB NOT NULL
);
CREATE TABLE states (id INTEGER PRIMARY KEY, state BLOB NOT NULL);
CREATE TRIGGER counts_up AFTER INSERT ON sessions
    BEGIN UPDATE facts SET value = value + 1 WHERE name = 'sessions'; END;
CREATE TRIGGER counts_down AFTER DELETE ON sessions
    BEGIN UPDATE facts SET value = value - 1 WHERE name = 'sessions'; END;
"""
"""
sessions: model is the digest of its model, state the id of its state, tokens its length, segment None before any.
segments: start is the number of tokens before it, size that of its own ids; a thinned one has lost the states that no
session keeps. states: the id is that of the segment times `STATES`, plus the number of its ids that the state follows.
"""
STATES = 1 << 16


class Database:
    """A connection that threads share; each transaction has it for itself."""

    def __init__(self, path: Path | None) -> None:
        """`path` of None keeps everything in memory. Raises UsageError and CorruptFileError for an unfit file."""
        self._name = MEMORY if path is None else str(path)
        self._lock = threading.RLock()
        if path is not None:
            _create_private(path)
        self._connection = sqlite3.connect(
            self._name, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._connection.close()

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Executes a statement inside a transaction."""
        return self._connection.execute(statement, values)

    def fact(self, name: str) -> int | bytes:
        """A value of the table of facts."""
        (value,) = self.execute("SELECT value FROM facts WHERE name = ?", name).fetchone()
        found: int | bytes = value
        return found

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction that sees one moment of the database."""
        with self._transaction("BEGIN"):
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that is the only one to write; all of it is kept, or after an error nothing.

        Raises BusyError where other processes write for too long.
        """
        with self._transaction("BEGIN IMMEDIATE"):
            yield

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        with self._lock, self._plain_errors():
            self.execute(begin)
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise BusyError("other processes write to the sessions; try again later") from error
            raise RecurlmError(f"{self._name}: cannot be read or written: {error}") from error
        except sqlite3.DatabaseError as error:
            raise DamagedSessionError(f"{self._name}: damaged: {error}") from error

    def _prepare(self) -> None:
        try:
            self._set_up()
        except sqlite3.DatabaseError as error:
            raise CorruptFileError(f"{self._name}: not a database of sessions: {error}; name another file") from error

    def _set_up(self) -> None:
        self.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self.execute(f"PRAGMA cache_size = -{CACHE_KILOBYTES}")
        self._use_write_ahead_log()
        # what was committed outlives a killed process; a power cut may undo the last changes, but never half of one
        self.execute("PRAGMA synchronous = NORMAL")
        with self.writing():
            (application,) = self.execute("PRAGMA application_id").fetchone()
            (version,) = self.execute("PRAGMA user_version").fetchone()
            (tables,) = self.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not application and not tables:
                self._create()
            elif application != APPLICATION:
                raise UsageError(f"{self._name}: a database of another program; name another file")
            elif version != VERSION:
                raise UsageError(f"{self._name}: written by another version of recurlm; name another file")

    def _create(self) -> None:
        statement = ""
        for line in SCHEMA.splitlines():
            statement += line + "\n"
            if sqlite3.complete_statement(statement):
                self.execute(statement)
                statement = ""
        self.execute("INSERT INTO facts VALUES ('secret', ?)", secrets.token_bytes(SECRET_BYTES))
        self.execute(f"PRAGMA application_id = {APPLICATION}")
        self.execute(f"PRAGMA user_version = {VERSION}")

    def _use_write_ahead_log(self) -> None:
        """SQLite does not wait for other processes here, so this does."""
        for remaining in range(int(BUSY_SECONDS * 20), -1, -1):
            try:
                self.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or not remaining:
                    raise
                time.sleep(0.05)
            else:
                return


def _create_private(path: Path) -> None:
    """Creates a missing file that its owner alone may read, since it holds what users wrote."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise UsageError(f"{path}: cannot hold sessions: {error.strerror}; name another file") from error
