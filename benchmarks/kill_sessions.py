"""Kills processes while they write sessions to one database, and looks for every session that was confirmed."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import _session_writer as writer
from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Check, Options, Result, Row, run
from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.errors import SessionMissingError
from recurlm.serving.sessions.store import SessionStore

SECONDS = 120
MOST_LINES = 300
Texts = Mapping[str, tuple[int, ...]]


class Survived(NamedTuple):
    """After one kill: sessions confirmed, those of them that are lost or changed, and whether the file is whole."""

    confirmed: int
    lost: int
    is_whole: bool


def measure(options: Options) -> Result:
    """Two writers at a time on one file; each kill is a SIGKILL of both at a random moment."""
    kills = options.pick(50, 5, 1)
    with tempfile.TemporaryDirectory() as folder:
        found = survivors(Path(folder) / "sessions.db", kills)
    job = f"{kills} kills"
    rows = [
        Row(job, "sessions confirmed before each", Spread.of([each.confirmed for each in found]), "sessions"),
        Row(job, "lost or changed", Spread.of([sum(each.lost for each in found)]), "sessions", at_most=0),
    ]
    checks = (Check("the database is whole after every kill", all(each.is_whole for each in found), {}),)
    return Result("kill -9 while sessions are written", "two writers on one file", rows, checks)


def survivors(path: Path, kills: int) -> list[Survived]:
    """Kills two writers at a random moment, `kills` times, and reads back each time what they had confirmed."""
    draw = random.Random(1)
    return [_after(path, [start(path, "endless", 2 * kill + each) for each in (0, 1)], draw) for kill in range(kills)]


def start(path: Path, mode: str, number: int) -> "subprocess.Popen[str]":
    """A writer that has opened the database. Raises RuntimeError where it does not."""
    command = [sys.executable, "-m", writer.__name__, str(path), mode, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    if process.stdout.readline() != "open\n":
        raise RuntimeError("a writer did not open the database")
    return process


def _after(path: Path, processes: "Sequence[subprocess.Popen[str]]", draw: random.Random) -> Survived:
    confirmed = _confirmed_until_killed(processes, draw.randint(1, MOST_LINES))
    database = Database(path)
    store = SessionStore(database, writer.LIMITS)
    lost = sum(not _is_there(store, session, ids) for session, ids in confirmed.items())
    with database.reading():
        is_whole = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (rows,) = database.execute("SELECT count(*) FROM sessions").fetchone()
    is_counted = store.count == rows
    database.close()
    return Survived(len(confirmed), lost, is_whole and is_counted)


def _confirmed_until_killed(processes: "Sequence[subprocess.Popen[str]]", lines: int) -> Texts:
    """Kills the writers after `lines` lines of the first one; returns each session's last confirmed text."""
    assert processes[0].stdout is not None
    said = [processes[0].stdout.readline() for _ in range(lines)]
    for process in processes:
        process.kill()
    for process in processes:
        said += process.stdout or ()
        process.communicate(timeout=SECONDS)
    told = [line.split() for line in said if line.endswith("\n")]
    return {session: tuple(map(int, ids)) for session, *ids in told}


def _is_there(store: SessionStore, session: str, ids: tuple[int, ...]) -> bool:
    """Whether a session has all that was confirmed; a change may be kept that the killed process could not confirm."""
    try:
        found, place = store.place(session, writer.LIKE)
        _, before = store.place(session, writer.LIKE, len(ids))
    except SessionMissingError:
        return False
    return (
        found.tokens >= len(ids)
        and place.state is not None
        and float(place.state.layers[0][1][0, 0]) == found.tokens
        and before.ids == ids[before.tokens :]
        and (before.tokens == 0 or before.state == writer.state(ids[: before.tokens]))
    )


def main() -> None:
    """Print and record it."""
    run("kill-sessions", __doc__, measure)


if __name__ == "__main__":
    main()
