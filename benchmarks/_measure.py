"""Contestants side by side: each in a process of its own, taking turns, so that the machine's moods hit all alike.

A process reads one JSON request a line from standard input and answers with one JSON object a line: `_worker.py`
is such a program, `_mxnet_program.py` another. Nothing runs while a contestant has its turn.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks._record import ROOT

Answer = dict[str, Any]


class ContestantError(RuntimeError):
    """A contestant's process ended before it answered."""


@dataclass(frozen=True)
class Contestant:
    """A name for the table, the command of its process, and what is set in its environment.

    `unable` is the reason why it cannot run on this machine, empty where it can.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    unable: str = ""


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    @classmethod
    def of_ratios(cls, above: Sequence[float], below: Sequence[float]) -> "Spread":
        """Each round's ratio first, then the median: what slowed a whole round cancels."""
        return cls.of([a / b for a, b in zip(above, below, strict=True)])


def late(values: Sequence[float]) -> float:
    """The 99th percentile; of fewer than a hundred values nearly their largest."""
    return statistics.quantiles(values, n=100, method="inclusive")[-1] if len(values) > 1 else max(values, default=0.0)


class Running:
    """A contestant's process."""

    def __init__(self, contestant: Contestant) -> None:
        self.name = contestant.name
        environment = (
            os.environ
            | dict(contestant.environment)
            | {
                "OMP_NUM_THREADS": str(torch.get_num_threads()),
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
            }
        )
        self.process = subprocess.Popen(
            contestant.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
        )

    def ask(self, **request: Any) -> Answer:
        """Send a request and wait for its answer. Raises ContestantError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise ContestantError(f"{self.name}: its process has ended; see its message above") from error
        return self.answer()

    def answer(self) -> Answer:
        """The next answer. Raises ContestantError."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise ContestantError(f"{self.name}: its process has ended; see its message above")
        answer: Answer = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process; closing its input is enough unless it hangs."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@contextmanager
def running(contestants: Sequence[Contestant]) -> Iterator[dict[str, Running]]:
    """Start all, wait until all are ready, end all."""
    processes: dict[str, Running] = {}
    try:
        for contestant in contestants:
            processes[contestant.name] = Running(contestant)
        for process in processes.values():
            process.answer()
        yield processes
    finally:
        for process in processes.values():
            process.close()


def take_turns(processes: Mapping[str, Running], requests: Sequence[Mapping[str, Any]]) -> dict[str, list[Answer]]:
    """Each request is a round: every contestant answers it alone; every other round goes in reverse order."""
    answers: dict[str, list[Answer]] = {name: [] for name in processes}
    for number, request in enumerate(requests):
        for name in sorted(processes, key=list(processes).index, reverse=number % 2 == 1):
            answers[name].append(processes[name].ask(**request))
    return answers


def serve(handlers: Mapping[str, Any]) -> None:
    """The other side: say that all is ready, then answer `{"do": NAME, ...}` with what that handler returns."""
    # whatever a library prints must not come between the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(handlers[request.pop("do")](**request)), file=answers, flush=True)


def peak_megabytes() -> float:
    """The largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # ru_maxrss would also count what the parent held when it started this process
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
