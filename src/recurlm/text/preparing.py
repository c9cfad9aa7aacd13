"""Processes that number the shards of a text side by side.

Each reads one JSON object a line from standard input: first the tokenization, then one shard after another; it answers
each shard with a line. Nothing is pickled, and the program that prepares a text is not imported again.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from recurlm import errors
from recurlm.errors import RecurlmError
from recurlm.text.shards import SHARD_BYTES, Report, Shard, described, tokenization_of
from recurlm.text.sources import Text
from recurlm.text.tokenization import Tokenization

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
    several = _workers(missing, tokenization, useful) if useful > 1 else None
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
def _workers(shards: Sequence[Shard], tokenization: Tokenization, processes: int) -> Iterator[Iterator[None]]:
    """Makes shards in so many processes; yields once for each, in order, when it is made."""
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def make(shard: Shard) -> None:
        worker = idle.get()
        try:
            worker.make(shard)
        finally:
            idle.put(worker)

    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(processes))
        for _ in range(processes):
            idle.put(stack.enter_context(_Worker(tokenization)))
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        yield threads.map(make, shards)


class _Worker:
    """A process that numbers shards, one at a time; it ends with this one."""

    def __init__(self, tokenization: Tokenization) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "recurlm.text.preparing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        self._send(described(tokenization))

    def make(self, shard: Shard) -> None:
        """Makes a shard's folder. Raises what `Shard.write` raised in the process, or LostWorkerError."""
        text = shard.text
        place = {"path": str(text.path), "start": text.start, "stop": text.stop, "folder": str(shard.folder)}
        self._send({"name": text.name, "split": shard.split, **place})
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            _raise_error(json.loads(line))
            return
        raise LostWorkerError(
            f"a process that prepared {text.name} ended with exit code {self._process.wait()}\n"
            "give the same command again: it keeps the parts that are done"
        )

    def _send(self, values: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # that no answer comes says it all
            print(json.dumps(values), file=self._process.stdin, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process; a shard that it has not finished is no shard."""
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()


def _raise_error(answer: Mapping[str, Any]) -> None:
    match answer:
        case {"error": str(name), "message": str(message)}:
            raise getattr(errors, name)(message)
        case {"errno": int(number), "message": str(message)}:
            raise OSError(number, message, answer.get("file"))


def _answer(tokenization: Tokenization, asked: Mapping[str, Any]) -> dict[str, Any]:
    text = Text(asked["name"], Path(asked["path"]), asked["start"], asked["stop"])
    try:
        Shard(text, asked["split"], Path(asked["folder"])).write(tokenization)
    except RecurlmError as error:
        known = next(each for each in type(error).__mro__ if each.__module__ == errors.__name__)
        return {"error": known.__name__, "message": str(error)}
    except OSError as error:
        return {"errno": error.errno or 0, "message": error.strerror or str(error), "file": error.filename}
    return {}


def main() -> None:
    """Numbers the shards that standard input names until it ends."""
    tokenization = tokenization_of(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        print(json.dumps(_answer(tokenization, json.loads(line))), flush=True)


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # the process that asked is gone
        main()
