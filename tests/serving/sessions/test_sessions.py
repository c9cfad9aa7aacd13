"""Sessions without HTTP: every state is that of the whole text read anew, whatever was done to get there."""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from recurlm.errors import InputError, UsageError
from recurlm.models.memory import State
from recurlm.serving.delivery import Delivery
from recurlm.serving.models import ServedModel
from recurlm.serving.sessions.continuing import read
from recurlm.serving.sessions.errors import (
    DamagedSessionError,
    SessionConflictError,
    SessionMissingError,
    SessionsFullError,
)
from recurlm.serving.sessions.store import Limits
from serving.sessions.conftest import Bench, Clock

IDS = (5, 3, 7, 2, 9, 4, 8, 6, 3, 5, 2, 7, 9, 8, 4, 6, 5, 5, 3, 2)


def test_the_state_of_a_session_is_that_of_its_text(bench: Bench) -> None:
    session = bench.create(IDS[:3])
    assert session.tokens == 3
    assert bench.state(session.id) == bench.state_after(IDS[:3])

    read_on = bench.read(session.id, IDS[3:])
    assert read_on.tokens == len(IDS)
    assert read_on.state != session.state
    assert bench.state(session.id) == bench.state_after(IDS)


def test_a_session_goes_back_to_every_token(bench: Bench) -> None:
    for tokens in range(len(IDS) + 1):
        session = bench.create(IDS[:6])
        bench.read(session.id, IDS[6:])
        back = bench.rollback(session.id, tokens)
        assert back.tokens == tokens
        assert bench.state(session.id) == bench.state_after(IDS[:tokens])
        bench.read(session.id, (9, 9))
        assert bench.state(session.id) == bench.state_after((*IDS[:tokens], 9, 9))


def test_the_last_states_and_those_at_the_intervals_are_kept_and_no_others(bench: Bench) -> None:
    session = bench.create()
    for index in IDS[:19]:
        bench.read(session.id, (index,))
    kept = []
    for tokens in range(20):
        fork = bench.fork(session.id)
        if bench.store.rollback(fork.id, tokens) is not None:
            kept.append(tokens)
        bench.run(lambda _, fork=fork: bench.sessions.delete(fork.id))
    assert kept == [0, 4, 8, 12, 15, 16, 17, 18, 19]
    assert bench.rows("states") == 8  # the start is not stored


@pytest.mark.parametrize("first", [0, 2, 4, 19])
def test_a_text_read_in_large_pieces_keeps_the_same_states(bench: Bench, first: int) -> None:
    session = bench.create(IDS[:first])
    bench.read(session.id, IDS[first:19])
    kept = [tokens for tokens in range(20) if bench.store.rollback(bench.fork(session.id).id, tokens) is not None]
    assert kept == [0, 4, 8, 12, 15, 16, 17, 18, 19]


def test_forks_share_what_was_read_and_go_on_apart(bench: Bench) -> None:
    session = bench.create(IDS[:10])
    states = bench.rows("states")
    forks = [bench.fork(session.id) for _ in range(3)]
    assert bench.rows("states") == states
    for number, fork in enumerate(forks):
        bench.read(fork.id, (number + 2,))
    for number, fork in enumerate(forks):
        assert bench.state(fork.id) == bench.state_after((*IDS[:10], number + 2))
    assert bench.state(session.id) == bench.state_after(IDS[:10])


def test_deleting_all_sessions_leaves_no_row(bench: Bench) -> None:
    session = bench.create(IDS)
    fork = bench.fork(session.id)
    bench.read(fork.id, IDS)
    bench.rollback(session.id, 2)
    bench.read(session.id, IDS)
    for each in (session, fork):
        bench.run(lambda _, each=each: bench.sessions.delete(each.id))
        with pytest.raises(SessionMissingError, match="no session"):
            bench.state(each.id)
    assert [bench.rows(table) for table in ("sessions", "segments", "states")] == [0, 0, 0]
    assert bench.store.count == 0


def test_a_session_from_a_state_goes_on_from_it_and_back_to_it(bench: Bench) -> None:
    start = bench.state_after((5, 3, 7))
    session = bench.create(IDS[:9], start)
    assert bench.state(session.id) == bench.state_after((5, 3, 7, *IDS[:9]))
    for tokens in (4, 0):
        bench.rollback(session.id, tokens)
        assert bench.state(session.id) == bench.state_after((5, 3, 7, *IDS[:tokens]))


def test_a_state_replaces_that_of_a_session(bench: Bench) -> None:
    session = bench.create(IDS)
    start = bench.state_after((5, 3))
    replaced = bench.run(lambda _: bench.sessions.replace(session.id, start))
    assert (replaced.tokens, bench.state(session.id)) == (0, start)
    bench.read(session.id, (7,))
    assert bench.state(session.id) == bench.state_after((5, 3, 7))
    assert bench.rows("segments") == 2


def test_a_state_of_another_model_is_refused(bench: Bench) -> None:
    session = bench.create(IDS)
    foreign = State(bench.state(session.id).layers, 0, "0f" * 32)
    with pytest.raises(InputError, match="the state belongs to the model sha256:0f0f0f0f, not to this one"):
        bench.run(lambda _: bench.sessions.replace(session.id, foreign))
    assert bench.state(session.id) == bench.state_after(IDS)


def test_a_session_of_a_model_that_is_not_served_is_refused(bench: Bench) -> None:
    other = bench.store.create("0f" * 32, ())
    with pytest.raises(InputError, match="sha256:0f0f0f0f, which this server does not serve"):
        bench.state(other.id)


def test_a_change_from_a_former_state_is_refused(bench: Bench) -> None:
    session = bench.create((5,))
    now = bench.read(session.id, (6,), at=session.state)
    for change in (
        lambda: bench.read(session.id, (7,), at=session.state),
        lambda: bench.rollback(session.id, 0, at=session.state),
        lambda: bench.fork(session.id, at=session.state),
    ):
        with pytest.raises(SessionConflictError, match=f"is in the state {now.state}, not in {session.state}"):
            change()
    assert bench.state(session.id) == bench.state_after((5, 6))


def test_of_two_changes_at_once_one_is_refused(bench: Bench) -> None:
    session = bench.create((5,))

    async def both(delivery: Delivery) -> list[Any]:
        async def change(index: int) -> Any:
            found, start = await bench.sessions.start(session.id)
            return await bench.sessions.append(found, await read(start, (index,), delivery, bench.store.limits))

        return await asyncio.gather(change(6), change(7), return_exceptions=True)

    first, second = bench.run(both)
    refused = [number for number, result in enumerate((first, second)) if isinstance(result, SessionConflictError)]
    assert len(refused) == 1
    assert bench.state(session.id) == bench.state_after((5, (6, 7)[1 - refused[0]]))


@pytest.mark.parametrize("tokens", [-1, 4])
def test_a_token_that_the_session_does_not_have_is_refused(bench: Bench, tokens: int) -> None:
    session = bench.create((5, 6, 7))
    with pytest.raises(InputError, match="the session has 3 tokens"):
        bench.rollback(session.id, tokens)


def test_an_idle_session_expires(bench: Bench, clock: Clock) -> None:
    used, idle = bench.create((5,)), bench.create((6,))
    clock.now += 900
    bench.state(used.id)  # a use
    clock.now += 900
    assert bench.store.count == 2
    with pytest.raises(SessionMissingError, match=f"no session '{idle.id}'; it expired"):
        bench.state(idle.id)
    assert bench.store.expire() == 1
    assert bench.store.count == 1
    assert bench.state(used.id) == bench.state_after((5,))


def test_no_more_sessions_than_the_limit_and_expired_ones_make_room(served: ServedModel, clock: Clock) -> None:
    bench = Bench(served, None, clock, Limits(sessions=2, idle_seconds=10.0))
    first = bench.create((5,))
    bench.fork(first.id)
    for full in (lambda: bench.fork(first.id), lambda: bench.create((5,))):
        with pytest.raises(SessionsFullError, match="there are 2 sessions, the limit; delete one"):
            full()
    clock.now += 11
    bench.create((5,))
    assert bench.store.count == 1
    bench.close()


def test_sessions_outlive_their_server(served: ServedModel, tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "sessions.db"
    before = Bench(served, path, clock)
    session = before.create(IDS)
    token = before.sessions.tokens.token(before.state(session.id))
    before.close()

    after = Bench(served, path, clock)
    assert after.run(lambda _: after.sessions.get(session.id)) == session
    assert after.state(session.id) == after.state_after(IDS)
    assert after.sessions.held(token).state == after.state_after(IDS)
    after.close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_servers_share_a_database(served: ServedModel, tmp_path: Path, clock: Clock) -> None:
    one, other = (Bench(served, tmp_path / "sessions.db", clock) for _ in range(2))
    session = one.create((5,))
    other.read(session.id, (6,))
    one.read(session.id, (7,))
    assert other.state(session.id) == one.state_after((5, 6, 7))
    one.close()
    other.close()


@pytest.mark.parametrize("table", ["states", "segments"])
def test_a_flipped_bit_is_noticed(bench: Bench, tmp_path: Path, table: str) -> None:
    session = bench.create(IDS[:3])
    column = {"states": "state", "segments": "ids"}[table]
    with sqlite3.connect(tmp_path / "sessions.db") as other:
        for key, content in other.execute(f"SELECT id, {column} FROM {table}").fetchall():
            flipped = content[:-1] + bytes([content[-1] ^ 1])
            other.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (flipped, key))
    other.close()
    with pytest.raises(DamagedSessionError, match="altered since it was written; delete the session"):
        bench.state(session.id)


@pytest.mark.parametrize("content", [b"no database at all, and long enough to be a page" * 100, b"short"])
def test_another_file_is_refused(served: ServedModel, tmp_path: Path, clock: Clock, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(Exception, match=r"letter\.txt: .*name another file"):
        Bench(served, path, clock)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(served: ServedModel, tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE birds (name TEXT)")
    other.close()
    with pytest.raises(UsageError, match=r"other.db: a database of another program; name another file"):
        Bench(served, path, clock)


@pytest.mark.parametrize("seed", range(6))
def test_any_schedule_gives_the_states_of_the_whole_texts(bench: Bench, seed: int, thorough: bool) -> None:
    """Random reads, forks, rollbacks and deletions, against the list of ids that each session should have."""
    draw = random.Random(seed)
    texts: dict[str, tuple[int, ...]] = {bench.create().id: ()}
    for _ in range(400 if thorough else 60):
        session = draw.choice(list(texts))
        kind = draw.choice(["read", "read", "read", "fork", "rollback", "rollback", "create", "delete"])
        ids = tuple(draw.randrange(10) for _ in range(draw.choice([0, 1, 1, 2, 5, 11])))
        if kind == "read":
            bench.read(session, ids)
            texts[session] += ids
        elif kind == "fork":
            texts[bench.fork(session).id] = texts[session]
        elif kind == "rollback":
            tokens = draw.randint(0, len(texts[session]))
            bench.rollback(session, tokens)
            texts[session] = texts[session][:tokens]
        elif kind == "create":
            texts[bench.create(ids).id] = ids
        elif len(texts) > 3:
            bench.run(lambda _, session=session: bench.sessions.delete(session))
            del texts[session]
    for session, ids in texts.items():
        found = bench.run(lambda _, session=session: bench.sessions.get(session))
        assert found.tokens == len(ids)
        assert bench.state(session) == bench.state_after(ids)
        assert bench.store.place(session, bench.state(session).layers, len(ids))[1].tokens == len(ids)
    assert bench.store.count == len(texts)
    for session in texts:
        bench.run(lambda _, session=session: bench.sessions.delete(session))
    assert [bench.rows(table) for table in ("segments", "states")] == [0, 0]
