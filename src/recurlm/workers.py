"""Worker processes: each answers one request at a time, in lines of JSON, and ends with the process that asks.

Nothing is pickled. A worker is a module that calls `serve`; `Workers` starts several of them and asks.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self

from recurlm.capacity import processors
from recurlm.errors import KINDS, RecurlmError, RecurlmWarning
from recurlm.files.errors import explained

Values = Mapping[str, Any]
Tell = Callable[[Values], None]
"""Sends values to the process that asked, before the answer."""
_Waiting = queue.SimpleQueue[tuple[int, Values]]
LOOK_SECONDS = 0.2
"""How often the process that asks looks for something else than answers."""
NUMBER = "RECURLM_WORKER"
"""The variable that holds the number of a worker, from 0."""
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
GENTLE_SECONDS = 5.0
"""How long a worker without a request has to end by itself."""


@dataclass(frozen=True)
class Told:
    """What a worker tells about a request.

    request: its number, from 0 · values: of the answer, or of an event before it · error: why there is no answer ·
    code: exit code of that error · is_last: whether the request is over · is_lost: whether its process ended instead of
    an answer.
    """

    request: int
    values: Values
    error: str = ""
    code: int = 0
    is_last: bool = True
    is_lost: bool = False


class Workers:
    """Several processes that run one module; a context that kills those that are left at its end."""

    def __init__(self, module: str, count: int, variables: Mapping[str, str] = NO_VARIABLES) -> None:
        """`module` calls `serve`; `variables` are added to its environment.

        The workers share the threads of this process.
        """
        usual = {"OMP_NUM_THREADS": str(max(1, processors() // count))}
        environment = {**usual, **os.environ, **variables}
        self._workers = [_Worker(module, number, environment) for number in range(count)]
        self._told: queue.SimpleQueue[Told | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.end(gently=error is None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.release()

    def all(self, request: Values) -> Values:
        """Asks all workers the same; returns the answer of one of them. Raises RecurlmError where one has an error."""
        answer: Values = {}
        for told in self._told_by([_waiting([request]) for _ in self._workers], lambda: None):
            if told.error:
                raise raised(told)
            answer = told.values if told.is_last else answer
        return answer

    def answers(self, requests: Sequence[Values], look: Callable[[], None] = lambda: None) -> Iterator[Told]:
        """What the workers tell about requests, which they take in their order, each as soon as it is idle.

        `look` is called from time to time. A worker that is killed tells an error about its request, and the others go
        on; where none is left, the requests that none has begun have no answer.
        """
        waiting = _waiting(requests)
        yield from self._told_by([waiting for _ in self._workers], look)

    def stop(self) -> None:
        """Asks all workers to end what they do, each as its module says, and begins no further request."""
        self._stopped = True
        for worker in self._workers:
            worker.close()

    def _told_by(self, waiting: Sequence[_Waiting], look: Callable[[], None]) -> Iterator[Told]:
        """What the workers tell, each about the requests of its own queue."""
        threads = [
            threading.Thread(target=self._ask, args=each, daemon=True)
            for each in zip(self._workers, waiting, strict=True)
        ]
        self._threads += threads
        for thread in threads:
            thread.start()
        busy = len(threads)
        while busy:
            look()
            with contextlib.suppress(queue.Empty):
                told = self._told.get(timeout=LOOK_SECONDS)
                if told is None:
                    busy -= 1
                else:
                    yield told

    def _ask(self, worker: "_Worker", waiting: _Waiting) -> None:
        try:
            while worker.lives and not self._stopped:
                for told in worker.ask(*waiting.get_nowait()):
                    self._told.put(told)
        except queue.Empty:
            pass
        finally:
            self._told.put(None)


def _waiting(requests: Sequence[Values]) -> _Waiting:
    waiting: _Waiting = queue.SimpleQueue()
    for request in enumerate(requests):
        waiting.put(request)
    return waiting


def raised(told: Told) -> RecurlmError:
    """The error that a worker told, for the process that asked to raise."""
    error = KINDS.get(told.code, RecurlmError)(told.error)
    error.exit_code = told.code
    return error


class _Worker:
    """One process, seen from the process that asks."""

    def __init__(self, module: str, number: int, environment: Mapping[str, str]) -> None:
        paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        self.lives = True
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "PYTHONPATH": paths, NUMBER: str(number)},
            **_own_group(),
        )

    def ask(self, number: int, request: Values) -> Iterator[Told]:
        """What the process tells about a request; an error where it ends before the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(_line(request))
            self._process.stdin.flush()
            for line in self._process.stdout:
                told = Told(number, **json.loads(line))
                yield told
                if told.is_last:
                    return
        except (OSError, ValueError):  # a pipe to a process that has ended, or a line that it could not end
            pass
        self.lives = False
        yield Told(number, {}, f"its process {_ending(self._process.wait())}", RecurlmError.exit_code, is_lost=True)

    def close(self) -> None:
        """Ends the process's standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the process has ended
            self._process.stdin.close()

    def end(self, *, gently: bool) -> None:
        """Ends the process; `gently` lets an idle one end by itself."""
        if not gently:
            self._process.kill()  # before `close`, which waits for a request that the process does not read
        self.close()
        try:
            self._process.wait(GENTLE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def release(self) -> None:
        """Closes the pipe from a process that has ended."""
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(answer: Callable[[Any, Tell], Values], stop: Callable[[], None] = lambda: os._exit(0)) -> None:
    """Runs a worker: answers the requests on standard input; `stop` is called in a thread when that ends.

    What libraries print goes to standard error. An error is told with its exit code, and the worker goes on.
    """
    told = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    tell = _teller(told.write)
    _tell_warnings(tell)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, stop), daemon=True).start()
    while request := requests.get():
        try:
            last: Values = {"values": answer(json.loads(request), tell)}
        except (RecurlmError, OSError, MemoryError, RuntimeError) as error:
            last = _told_error(error)
        with contextlib.suppress(BrokenPipeError):
            told.write(_line(last))


def _read(requests: "queue.SimpleQueue[bytes]", stop: Callable[[], None]) -> None:
    for line in sys.stdin.buffer:
        requests.put(line)
    stop()
    requests.put(b"")


def _teller(write: Callable[[bytes], object]) -> Tell:
    def tell(values: Values) -> None:
        with contextlib.suppress(BrokenPipeError):  # who asked has ended, and `stop` says what that means
            write(_line({"values": values, "is_last": False}))

    return tell


def _tell_warnings(tell: Tell) -> None:
    """Sends this program's own warnings to the process that asked."""
    show_any = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if issubclass(category, RecurlmWarning):
            tell({"warning": str(message)})
        else:
            show_any(message, category, *place, **more)

    warnings.showwarning = show
    warnings.simplefilter("always", RecurlmWarning)


def _told_error(error: Exception) -> Values:
    if isinstance(error, RecurlmError):
        return {"values": {}, "error": str(error), "code": error.exit_code}
    reason = explained(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return {"values": {}, "error": reason, "code": RecurlmError.exit_code}


def _line(values: Values) -> bytes:
    """Values as a line of JSON; ASCII, which holds names of files that are not UTF-8 too."""
    return json.dumps(values, allow_nan=False).encode("ascii") + b"\n"


def _own_group() -> dict[str, Any]:
    """Keeps Ctrl-C from the workers: the process that asks decides how they end."""
    if os.name == "posix":
        return {"process_group": 0}
    return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}


def _ending(code: int) -> str:
    return f"was killed ({signal_name(code)})" if code < 0 else f"ended with exit code {code}"


def signal_name(code: int) -> str:
    """The name of the signal that gave a process its negative exit code."""
    return signal.Signals(-code).name
