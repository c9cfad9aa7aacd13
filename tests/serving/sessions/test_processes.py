"""Several processes on one database, and processes that are killed while they write."""

import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.store import SessionStore
from serving.sessions import writer

SECONDS = 120


def start(path: Path, mode: str, number: int) -> subprocess.Popen[str]:
    """A writer that has opened the database."""
    command = [sys.executable, str(Path(writer.__file__)), str(path), mode, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def confirmed_until_killed(processes: Sequence[subprocess.Popen[str]], lines: int) -> dict[str, tuple[int, ...]]:
    """Kills writers after so many lines of the first one; returns what they confirmed last of each session."""
    said = [processes[0].stdout.readline() for _ in range(lines)]
    for process in processes:
        process.kill()
    for process in processes:
        said += process.stdout.readlines()
        process.communicate(timeout=SECONDS)
    texts = {}
    for line in said:
        if line.endswith("\n"):
            session, *ids = line.split()
            texts[session] = tuple(map(int, ids))
    return texts


def test_no_confirmed_session_is_lost_when_writers_are_killed(tmp_path: Path, thorough: bool) -> None:
    draw, path = random.Random(1), tmp_path / "sessions.db"
    for kill in range(50 if thorough else 2):
        confirmed = confirmed_until_killed(
            [start(path, "endless", 2 * kill), start(path, "endless", 2 * kill + 1)], draw.randint(1, 300)
        )
        assert confirmed
        database = Database(path)
        store = SessionStore(database, writer.LIMITS)
        for session, ids in confirmed.items():
            found, place = store.place(session, writer.LIKE)
            assert found.tokens >= len(ids)  # a change may be kept that the killed process could not confirm
            assert place.state is not None
            assert float(place.state.layers[0][1][0, 0]) == found.tokens
            _, before = store.place(session, writer.LIKE, len(ids))
            assert before.ids == ids[before.tokens :]
            assert before.tokens == 0 or before.state == writer.state(ids[: before.tokens])
        with database.reading():
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (rows,) = database.execute("SELECT count(*) FROM sessions").fetchone()
        assert store.count == rows
        database.close()


def test_two_processes_change_one_session_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    database = Database(path)
    store = SessionStore(database, writer.LIMITS)
    session = store.create(writer.MODEL, [])
    processes = [start(path, "shared", 40) for _ in range(2)]
    for process in processes:
        process.stdin.write(f"{session.id}\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
    assert store.get(session.id).tokens == 80
    _, place = store.place(session.id, writer.LIKE)
    assert place.state == writer.state((3,) * 80)
    database.close()


def test_two_processes_that_open_a_new_database_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    command = [sys.executable, str(Path(writer.__file__)), str(path), "shared", "0"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.communicate("\n", timeout=SECONDS)[0] == "open\n"
        assert process.returncode == 0
