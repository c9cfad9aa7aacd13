"""Processes that number the shards of a text side by side; each request to one of them describes a shard."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from recurlm.errors import RecurlmError
from recurlm.text.shards import SHARD_BYTES, Report, Shard, described, tokenization_of
from recurlm.text.sources import Text
from recurlm.text.tokenization import Tokenization
from recurlm.workers import Tell, Told, Values, Workers, raised, serve

WORKER = "recurlm.text.preparing"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Environment of the processes: more threads of one would take the cores of the others."""


class LostWorkerError(RecurlmError):
    """A process that numbered a shard ended before it was done."""


def number(
    shards: Sequence[Shard],
    tokenization: Tokenization,
    processes: int,
    report: Report,
    done: Callable[[Shard], None],
) -> None:
    """Makes the folders of all shards, except those that an earlier call has made; `done` receives each, in order.

    At most `processes` processes share the work, fewer where it is little. Raises InputError, as `Text` does, for the
    first range that is no text; LostWorkerError if one of several processes is killed.
    """
    kept = [shard.is_kept(tokenization) for shard in shards]
    missing = [shard for shard, is_kept in zip(shards, kept, strict=True) if not is_kept]
    useful = min(processes, sum(shard.text.size for shard in missing) // SHARD_BYTES + 1) if sys.executable else 1
    several = _made_by_workers(missing, tokenization, useful) if useful > 1 else None
    with several or nullcontext(_made_here(missing, tokenization, report)) as made:
        for shard, is_kept in zip(shards, kept, strict=True):
            if not is_kept:
                next(made)
            if is_kept or several:
                report(shard.characters)
            done(shard)


def _made_here(shards: Sequence[Shard], tokenization: Tokenization, report: Report) -> Iterator[None]:
    """Makes each shard when it is asked for, in this process, and reports every block."""
    for shard in shards:
        shard.write(tokenization, report)
        yield


@contextmanager
def _made_by_workers(shards: Sequence[Shard], tokenization: Tokenization, count: int) -> Iterator[Iterator[None]]:
    """Makes shards in so many processes; yields once for each, in order, when it is made."""
    cut = described(tokenization)
    with Workers(WORKER, count, ONE_THREAD) as workers:
        yield _in_order(shards, workers.answers([_request(shard, cut) for shard in shards]))


def _in_order(shards: Sequence[Shard], told: Iterator[Told]) -> Iterator[None]:
    """Raises what `Shard.write` raised in a process, or LostWorkerError, when it is that shard's turn."""
    answers: dict[int, Told] = {}
    for index, shard in enumerate(shards):
        while index not in answers:
            each = next(told)
            if each.is_last:
                answers[each.request] = each
        answer = answers.pop(index)
        if answer.is_lost:
            raise LostWorkerError(
                f"{shard.text.name}: {answer.error}\ngive the same command again: it keeps the parts that are done"
            )
        if answer.error:
            raise raised(answer)
        yield


def _request(shard: Shard, cut: Mapping[str, Any]) -> Values:
    text = shard.text
    place = {"path": str(text.path), "start": text.start, "stop": text.stop, "folder": str(shard.folder)}
    return {"name": text.name, "split": shard.split, **place, "tokenization": cut}


def make(request: Mapping[str, Any], tell: Tell) -> Values:
    """Makes the folder of the shard that a request describes."""
    text = Text(request["name"], Path(request["path"]), request["start"], request["stop"])
    Shard(text, request["split"], Path(request["folder"])).write(tokenization_of(request["tokenization"]))
    return {}


if __name__ == "__main__":
    serve(make)
