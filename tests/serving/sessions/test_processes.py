"""Several processes on one database, and processes that are killed while they write."""

import subprocess
import sys
from pathlib import Path

from benchmarks._record import ROOT
from benchmarks.kill_sessions import start, survivors

from benchmarks import _session_writer as writer
from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.store import SessionStore

SECONDS = 120


def test_no_confirmed_session_is_lost_when_writers_are_killed(tmp_path: Path, thorough: bool) -> None:
    for found in survivors(tmp_path / "sessions.db", 8 if thorough else 2):
        assert found.confirmed > 0
        assert found.lost == 0
        assert found.is_whole


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
    command = [sys.executable, "-m", writer.__name__, str(path), "shared", "0"]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)
    ]
    for process in processes:
        assert process.communicate("\n", timeout=SECONDS)[0] == "open\n"
        assert process.returncode == 0
