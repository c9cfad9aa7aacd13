"""A process that writes sessions until it is killed, and says on stdout what was confirmed.

Called with the path of a database, a mode and a number: `endless` confirms a line for each change, `shared` appends so
many ids to the session that stands first on stdin, and tries again where another process was faster.
"""

import random
import sys
from pathlib import Path

import torch

from recurlm.models.memory import State
from recurlm.serving.sessions.database import Database
from recurlm.serving.sessions.errors import SessionConflictError
from recurlm.serving.sessions.store import Limits, Piece, SessionStore

MODEL = "ab" * 32
LIKE = ((torch.zeros(1, 4), torch.zeros(1, 4)),)
LIMITS = Limits(kept=5, interval=4)


def state(ids: tuple[int, ...]) -> State:
    """A state that says how many ids there were, and which was the last."""
    return State(((torch.full((1, 4), len(ids) / 7), torch.full((1, 4), float(len(ids)))),), ids[-1], MODEL)


def piece(before: tuple[int, ...], index: int) -> Piece:
    return Piece((index,), (state((*before, index)),))


def endless(store: SessionStore, seed: int) -> None:
    """After each change that the store confirmed, prints the session and all its ids."""
    draw = random.Random(seed)
    texts: dict[str, tuple[int, ...]] = {}
    while True:
        session = changed(store, draw, texts)
        print(session, *texts[session], flush=True)


def changed(store: SessionStore, draw: random.Random, texts: dict[str, tuple[int, ...]]) -> str:
    """Makes one change, in the store and then in `texts`; returns the session."""
    kind = draw.choice(["create", "read", "read", "read", "fork"])
    if kind == "create" or not texts:
        session = store.create(MODEL, [piece((), 1)]).id
        texts[session] = (1,)
        return session
    found = store.get(draw.choice(list(texts)))
    ids = texts[found.id]
    if kind == "fork":
        session = store.fork(found.id).id
        texts[session] = ids
        return session
    index = draw.randrange(2, 100)
    store.change(found.id, found.state, len(ids), [piece(ids, index)])
    texts[found.id] = (*ids, index)
    return found.id


def shared(store: SessionStore, count: int) -> None:
    session = sys.stdin.readline().strip()
    while count:
        found = store.get(session)
        try:
            store.change(session, found.state, found.tokens, [piece((0,) * found.tokens, 3)])
        except SessionConflictError:
            continue
        count -= 1


if __name__ == "__main__":
    opened = SessionStore(Database(Path(sys.argv[1])), LIMITS)
    print("open", flush=True)
    {"endless": endless, "shared": shared}[sys.argv[2]](opened, int(sys.argv[3]))
