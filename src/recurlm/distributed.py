"""Several processes that train one model: who they are, which columns each reads, and what they sum.

A process alone is a team of one, for which every sum is the value itself. Only tensors travel, nothing is pickled.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor

from recurlm.errors import RecurlmError, UsageError
from recurlm.launched import NOTES, STOPPED, is_abandoned, is_launched_here, remove_abandoned_notes

STALLED = timedelta(seconds=25)
"""How long a process waits for the others before it counts one of them as lost."""
PULSE = 1.0
"""Seconds after which a process that takes its own time shows the others that it lives."""
LOST = 76
"""Exit code, which only the launcher sees, of a process that lost another one."""
SECONDS_FOR_THE_CAUSE = 1.0


class LostProcessError(RecurlmError):
    """Another process of the team ended or no longer answers."""


class Team:
    """The processes that train one model, seen from one of them; this class is a process alone.

    rank: number of this process, from 0 · count: number of processes · here: those on this machine · abandoned:
    whether the launcher that started this process has ended.
    """

    rank, count, here = 0, 1, 1
    abandoned = False

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def columns(self, total: int) -> slice:
        """The columns that this process reads, of `total`: a range, as long as those of the others or one shorter."""
        return slice(total * self.rank // self.count, total * (self.rank + 1) // self.count)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums of values over all processes, in float64. No process goes on before all have come here."""
        return list(values)

    def first(self, value: float) -> float:
        """The value of the first process."""
        return self.sum([value if self.leads else 0.0])[0]

    def add(self, tensor: Tensor) -> None:
        """Replaces a tensor by its sum over all processes."""
        self.start_adding(tensor)()

    def start_adding(self, tensor: Tensor) -> Callable[[], None]:
        """Begins to replace a tensor by its sum over all processes; the function that it returns waits for the sum.

        All processes begin their sums in the same order.
        """
        return _nothing

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors by those of the first process."""

    @contextmanager
    def in_own_time(self) -> Iterator[None]:
        """Inside, each process takes the time that its work needs; all leave together.

        Raises LostProcessError if another process fails or no longer answers.
        """
        yield

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Inside, the first process is done before the others begin, and each takes the time that it needs."""
        with self.in_own_time():
            if self.leads:
                yield
        with self.in_own_time():
            if not self.leads:
                yield

    def gather_columns(self, tensor: Tensor) -> Tensor:
        """The columns (B, ...) of all processes from those of this process."""
        return tensor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves the team: together with the others, or at once after an error."""


ALONE = Team()


def _nothing() -> None:
    """What a process alone waits for."""


class ProcessGroup(Team):
    """One process of several, which torch's launcher started."""

    def __init__(self, device: str) -> None:
        """Joins the team; `device` is cpu or cuda. Raises LostProcessError if not all processes come."""
        self._device, self._parent = device, os.getppid()
        with _lost():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=STALLED)
            self._pulses: dist.ProcessGroup | None = dist.new_group(backend="gloo", timeout=STALLED)
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))

    @property
    def abandoned(self) -> bool:  # type: ignore[override]
        # a launcher of `--processes` may have ended before this process asked for its number
        return is_abandoned() or os.getppid() != self._parent

    def sum(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=self._device)
        self.add(tensor)
        summed: list[float] = tensor.tolist()
        return summed

    def start_adding(self, tensor: Tensor) -> Callable[[], None]:
        with _lost():
            work = dist.all_reduce(tensor, async_op=True)

        def wait() -> None:
            with _lost():
                work.wait()

        return wait

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        with _lost():
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @contextmanager
    def in_own_time(self) -> Iterator[None]:
        pulse = _Pulse(self._pulses, self.count)
        pulse.start()
        try:
            yield
        except BaseException:
            pulse.failed = True
            raise
        finally:
            pulse.finished.set()
            pulse.join()
        if pulse.lost is not None:
            raise pulse.lost

    def gather_columns(self, tensor: Tensor) -> Tensor:
        total = int(self.sum([len(tensor)])[0])
        whole = tensor.new_zeros(total, *tensor.shape[1:])
        whole[self.columns(total)] = tensor
        self.add(whole)
        return whole

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # a group that is left to the end of the interpreter aborts the process
        try:
            if error is None:
                with self.in_own_time():
                    pass
        finally:
            self._pulses = None
            dist.destroy_process_group()
            remove_abandoned_notes()


class _Pulse(threading.Thread):
    """Shows the other processes that this one lives, until all have finished their work or one has failed."""

    def __init__(self, group: dist.ProcessGroup | None, count: int) -> None:
        super().__init__(daemon=True)
        self._group, self._count = group, count
        self.finished, self.failed = threading.Event(), False
        self.lost: LostProcessError | None = None

    def run(self) -> None:
        try:
            while not self._all_finished():
                pass
        except LostProcessError as error:
            self.lost = error

    def _all_finished(self) -> bool:
        self.finished.wait(PULSE)
        told = torch.tensor([self.finished.is_set(), self.failed], dtype=torch.float64)
        with _lost():
            dist.all_reduce(told, group=self._group)
            finished, failed = told.tolist()
            if failed:
                raise RuntimeError("it failed")
        return bool(finished == self._count)


def is_launched() -> bool:
    """Whether torch's launcher started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def open_team(device: str) -> Team:
    """The team of this process: of all processes that torch's launcher started with it, or of itself alone.

    device: cpu or cuda. Raises UsageError where a process has no GPU of its own.
    """
    if not is_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return Team()
    if device == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    return ProcessGroup(device)


def _take_gpu(number: int, processes: int) -> None:
    """Gives process `number` of this machine its GPU. Raises UsageError, in the first process, if they are too few."""
    if number == 0:
        check_gpus(processes)
    torch.cuda.set_device(number % torch.cuda.device_count())


def check_gpus(processes: int) -> None:
    """Raises UsageError if this machine has fewer GPUs than processes."""
    found = torch.cuda.device_count()
    if processes > found:
        raise UsageError(
            f"{processes} processes need as many GPUs; this machine has {found}; start fewer, or add --device cpu"
        )


@contextmanager
def _lost() -> Iterator[None]:
    """Turns the errors of torch's collectives into one plain error."""
    try:
        yield
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), "")
        raise LostProcessError(
            f"another process of this run ended or does not answer: {reason}\n"
            "go on from the last checkpoint with the same command and --resume"
        ) from error


def note_stop() -> None:
    """Tells the launcher of `--processes` that the run stopped with a checkpoint."""
    if folder := os.environ.get(NOTES):
        with suppress(FileNotFoundError):  # the folder of a launcher that was killed
            Path(folder, STOPPED).touch()


def leave_to_launcher() -> None:
    """Waits for the launcher to end a process that lost another one, as it does once it sees the one that failed.

    A process of `--processes` that still runs after that ends in silence: the launcher tells the user.
    """
    time.sleep(SECONDS_FOR_THE_CAUSE)
    if is_launched_here():
        raise SystemExit(LOST)


def agreed(team: Team, now: Callable[[], float]) -> Callable[[], float]:
    """A clock that gives every process the time of the first one, so that all decide alike."""
    return now if team.count == 1 else lambda: team.first(now())
