"""Sessions: bytes of each in the database, and the time of a fork and of a rollback among a hundred thousand."""

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks._measure import Spread, late
from benchmarks._report import Check, Options, Result, Row, run
from recurlm.config import ModelOptions
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State, initial_state
from recurlm.recipe_files import load_recipe
from recurlm.serving.delivery import Delivery, Jobs
from recurlm.serving.engine import Engine
from recurlm.serving.jobs import Job
from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.packing import DIGEST_BYTES, pack_state
from recurlm.serving.sessions.store import KEPT, Limits, Piece, SessionStore
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

JOB = "sessions"
MODEL = "ab" * 32
MOST_BYTES, MOST_MILLISECONDS = 1000, 1.0
MOST_TIMED = 2000


def measure(options: Options) -> Result:
    """A parent that keeps its last states, its forks, and one token more in each fork."""
    count = options.pick(100_000, 5_000, 50)
    size, words = options.pick(256, 256, 16), options.pick(10_000, 10_000, 100)
    states = asyncio.run(_states(size, words))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sessions.db"
        store = SessionStore(database := Database(path), Limits(sessions=2 * count))
        parent = store.create(MODEL, [Piece((1,) * KEPT, tuple(states))])
        sizes = [_size(database, path)]
        forks, fork_times = [], []
        for _ in range(count):
            begin = time.perf_counter()
            forks.append(store.fork(parent.id))
            fork_times.append(time.perf_counter() - begin)
        sizes.append(_size(database, path))
        read_times = _timed(forks, lambda fork: store.change(fork.id, fork.state, KEPT, [Piece((1,), (states[-1],))]))
        sizes.append(_size(database, path))
        draw = random.Random(1)
        chosen = draw.sample(forks, min(MOST_TIMED, count))
        back_times = _timed(chosen, lambda fork: store.rollback(fork.id, draw.randint(1, KEPT)))
        is_counted = store.count == count + 1
        database.close()
    state_bytes = len(pack_state(states[-1])) + DIGEST_BYTES
    each = [(after - before) / count for before, after in itertools.pairwise(sizes)]
    rows = [
        Row(JOB, "fork, bytes", Spread.of([each[0]]), "bytes", at_most=MOST_BYTES),
        Row(
            JOB,
            "and one token read, bytes beyond its state",
            Spread.of([sum(each) - state_bytes]),
            "bytes",
            at_most=MOST_BYTES,
        ),
        Row(JOB, "its state, bytes", Spread.of([state_bytes]), "bytes"),
        *_times("fork", fork_times[-MOST_TIMED:]),
        *_times("rollback among the states kept", back_times),
        *_times("commit of one token", read_times[-MOST_TIMED:], at_most=None),
    ]
    checks = (Check("all sessions are there", is_counted, {}),)
    return Result(JOB, f"2 × {size} model, {count:,} forks of a session of {KEPT} tokens", rows, checks)


async def _states(size: int, words: int) -> Sequence[State]:
    """The states after each of some tokens that a model read."""
    vocabulary = Vocabulary(["<eos>", "<unk>", *(f"w{number}" for number in range(words - 2))])
    torch.manual_seed(1)
    model = LanguageModel(ModelOptions(embedding_size=size, hidden_sizes=(size, size)), words).eval()
    initialise(model, load_recipe("zaremba-small").initialisation)
    engine = Engine(model, Codec(Words(), vocabulary), MODEL, slots=1)
    found: Sequence[State] = ()
    with Jobs(engine, Delivery(asyncio.get_running_loop()), streams=False) as jobs:
        jobs.submit([Job(initial_state(model, MODEL), (1,) * KEPT, kept=KEPT - 1)])
        async for _, news in jobs.news():
            found = news.outcome.states if news.outcome is not None else ()
    engine.close()
    return found


def _timed(sessions: Sequence, work: Callable) -> list[float]:
    seconds = []
    for session in sessions:
        begin = time.perf_counter()
        work(session)
        seconds.append(time.perf_counter() - begin)
    return seconds


def _times(name: str, seconds: Sequence[float], at_most: float | None = MOST_MILLISECONDS) -> list[Row]:
    milliseconds = [each * 1e3 for each in seconds]
    latest = late(milliseconds)
    return [
        Row(JOB, name, Spread.of(milliseconds), "ms", at_most=at_most),
        Row(JOB, f"{name}, 99th percentile", Spread.of([latest]), "ms", at_most=at_most),
    ]


def _size(database: Database, path: Path) -> int:
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return path.stat().st_size


def main() -> None:
    """Print and record it."""
    run(JOB, __doc__, measure)


if __name__ == "__main__":
    main()
