"""Eight simulated ranks of a GPU-sized model: bytes that a rank sends in a step, and messages beside the backward pass.

The ranks are processes of one thread that train an LSTM of 24 million parameters over gloo on this machine, so the
bytes and the order of events are those of eight GPUs; the times are not.

Bytes are counted from the messages. A ring adds a message of M bytes over N ranks in two rounds of N - 1 pieces of
M / N bytes each, so a rank sends 2 (N - 1) / N times M. The loopback interface, whose counter includes the headers of
all packets, must agree.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks._measure import Spread
from benchmarks._record import ROOT
from benchmarks._report import Check, Options, Result, Row, parse_options, print_circumstances, record, show
from recurlm.config import ModelOptions, Training
from recurlm.distributed import Team, open_team
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import Batch
from recurlm.training.step import Learner, train_step

JOB = "8 ranks"
RANKS, WARM_UP_STEPS = 8, 1
MODEL = ModelOptions(embedding_size=400, hidden_sizes=(1150, 1150, 400), tied=True)
TINY = ModelOptions(embedding_size=200, hidden_sizes=(200, 200), tied=True)
VOCABULARY = 10_000
STEPS_IN_TIME, COLUMNS = 35, 16
LARGEST_SHARE = 2.0
TOLERANCE = 0.1
"""Headers and acknowledgments add this share to the payload of a loopback interface, at most."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Message:
    """A message of one rank: its bytes, and the seconds at which it left and was complete."""

    bytes: int
    left: float
    complete: float


@dataclass(frozen=True)
class Step:
    """A step of one rank: its messages, and the seconds of its backward pass."""

    messages: list[Message]
    backward: Interval

    @property
    def sent(self) -> float:
        """Bytes that this rank sends, by the rounds of a ring."""
        return sum(message.bytes for message in self.messages) * 2 * (RANKS - 1) / RANKS

    @property
    def early(self) -> float:
        """The share of the bytes in messages that leave during the backward pass."""
        begin, end = self.backward
        during = sum(message.bytes for message in self.messages if begin <= message.left < end)
        return during / sum(message.bytes for message in self.messages)

    @property
    def beside(self) -> float:
        """The share of the time of communication that lies within the backward pass."""
        times = united([(message.left, message.complete) for message in self.messages])
        begin, end = self.backward
        within = sum(max(0.0, min(last, end) - max(first, begin)) for first, last in times)
        return within / sum(last - first for first, last in times)


def united(intervals: list[Interval]) -> list[Interval]:
    """The same times as intervals that do not overlap."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


class Observer:
    """Notes every all-reduce and every backward pass of this process."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.backward: Interval = (0.0, 0.0)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, torch's functions are watched."""
        reduce, backward = dist.all_reduce, Tensor.backward

        def watched_reduce(tensor: Tensor, *arguments: Any, async_op: bool = False, **options: Any) -> Any:
            left, work = time.time(), reduce(tensor, *arguments, async_op=True, **options)
            size = tensor.nbytes
            work.get_future().add_done_callback(lambda _: self.messages.append(Message(size, left, time.time())))
            return work if async_op else work.wait()

        def watched_backward(tensor: Tensor, *arguments: Any, **options: Any) -> None:
            began = time.time()
            backward(tensor, *arguments, **options)
            self.backward = began, time.time()

        dist.all_reduce, Tensor.backward = watched_reduce, watched_backward  # type: ignore[assignment]
        try:
            yield
        finally:
            dist.all_reduce, Tensor.backward = reduce, backward  # type: ignore[assignment]


def be_a_rank(folder: Path, steps: int, tiny: bool) -> None:
    """What each process does: it trains, and writes what it saw."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = LanguageModel(TINY if tiny else MODEL, VOCABULARY)
    observer, seen = Observer(), []
    with open_team("cpu", shares_memory=False) as team:
        learner = Learner(model, torch.optim.SGD(model.parameters(), 0.1), Training(), "fp32", team)
        loopback = 0
        for number in range(WARM_UP_STEPS + steps):
            if number == WARM_UP_STEPS:
                loopback = _loopback_bytes(team)
            batch, observer.messages = _batch(number, team), []
            with observer.watching():
                train_step(learner, batch, model.initial_state(batch.columns))
            seen.append({"messages": [vars(each) for each in observer.messages], "backward": observer.backward})
        loopback = _loopback_bytes(team) - loopback
    found = {"steps": seen[WARM_UP_STEPS:], "loopback": loopback, "parameters": model.parameter_count()}
    (folder / f"rank-{team.rank}.json").write_text(json.dumps(found))


def _batch(number: int, team: Team) -> Batch:
    drawn = torch.Generator().manual_seed(number)
    ids = torch.randint(VOCABULARY, (STEPS_IN_TIME + 1, COLUMNS), generator=drawn)
    whole = Batch(ids[:-1], ids[1:], torch.ones(STEPS_IN_TIME, COLUMNS, dtype=torch.bool), 0, False)
    return whole.cut(team.columns(COLUMNS))


def _loopback_bytes(team: Team) -> int:
    """Bytes that the loopback interface has sent, once all ranks are here."""
    team.sum([0.0])
    (line,) = [line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:")]
    return int(line.split()[9])


def measure(options: Options, trace: Path | None) -> Result:
    """Trains in all ranks, and puts what they saw together."""
    steps = options.pick(5, 2, 1)
    with tempfile.TemporaryDirectory() as name:
        found = _train(Path(name), steps, options.size == "tiny")
    ranks = [
        [Step([Message(**each) for each in step["messages"]], tuple(step["backward"])) for step in rank["steps"]]
        for rank in found
    ]
    if trace is not None:
        trace.write_text(json.dumps({"traceEvents": list(trace_events(ranks))}))
    gradient = 4 * found[0]["parameters"]
    every = [step for rank in ranks for step in rank]
    sent = [step.sent for step in every]
    on_wire = found[0]["loopback"] / RANKS / steps
    rows = [
        Row(JOB, "the gradient", Spread.of([gradient / 1e6]), "MB"),
        Row(JOB, "a rank sends in a step", Spread.of([each / gradient for each in sent]), "x", at_most=LARGEST_SHARE),
        Row(JOB, "bytes that leave during the backward pass", Spread.of([step.early for step in every]), "of all"),
        Row(JOB, "communication beside the backward pass", Spread.of([step.beside for step in every]), "of its time"),
    ]
    values = {"counted MB": sent[0] / 1e6, "loopback MB": on_wire / 1e6}
    agreed = sent[0] <= on_wire <= (1 + TOLERANCE) * sent[0]
    check = Check("the loopback interface sends what is counted", agreed, values)
    description = f"{RANKS} processes over gloo, {found[0]['parameters']:,} parameters, {steps} steps"
    return Result(JOB, description, rows, [check])


def _train(folder: Path, steps: int, tiny: bool) -> list[dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": JOB, "WORLD_SIZE": RANKS, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"OMP_NUM_THREADS": 1, "GLOO_SOCKET_IFNAME": "lo"}
    shared["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "benchmarks.train_ranks", "--rank", str(folder), str(steps), str(int(tiny))]
    ranks = [
        subprocess.Popen(
            command, env=os.environ | {key: str(value) for key, value in (shared | {"RANK": rank}).items()}
        )
        for rank in range(RANKS)
    ]
    if any([rank.wait() for rank in ranks]):  # noqa: C419 (all are waited for)
        raise RuntimeError("a rank failed")
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


def trace_events(ranks: list[list[Step]]) -> Iterator[dict[str, Any]]:
    """What Chrome's and Perfetto's viewers of traces show: a process for each rank, a line for each kind of event."""
    for number, steps in enumerate(ranks):
        for step in steps:
            shown = [("backward pass", *step.backward, 0)]
            shown += [
                (f"{each.bytes:,} bytes", each.left, each.complete, 1 + each_number)
                for each_number, each in enumerate(step.messages)
            ]
            for name, first, last, line in shown:
                times = {"ts": first * 1e6, "dur": (last - first) * 1e6}
                yield {"name": name, "ph": "X", "pid": number, "tid": line} | times


def main() -> None:
    """Print and record the measurement."""
    if sys.argv[1:2] == ["--rank"]:
        folder, steps, tiny = sys.argv[2:]
        be_a_rank(Path(folder), int(steps), bool(int(tiny)))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write a trace for chrome://tracing or Perfetto")
    options, out, arguments = parse_options(parser)
    print_circumstances(options)
    result = measure(options, arguments.trace)
    show(result)
    path = record("train-ranks", [result], options, out)
    if path is not None:
        print(path)
    sys.exit(0 if all(check.passed for check in result.checks) else 1)


if __name__ == "__main__":
    main()
