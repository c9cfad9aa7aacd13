"""Several processes that share one job: who they are, which columns each reads, and what they sum.

A process alone is a team of one, for which every sum is the value itself. Only tensors travel, nothing is pickled.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch
import torch.distributed as dist
from torch import Tensor

from recurlm.errors import RecurlmError, UsageError
from recurlm.launched import is_abandoned, is_launched_here, remove_abandoned_notes

if TYPE_CHECKING:
    from recurlm.shared_sums import SharedSums

STALLED = timedelta(seconds=25)
"""How long a process waits for the others before it counts one of them as lost."""
LEAST_SHARED = 1 << 16
"""Bytes from which on processes of one machine sum in shared memory; fewer take less time in one message."""
PULSE = 1.0
"""Seconds after which a process that takes its own time shows the others that it lives."""
LOST = 76
"""Exit code, which only the launcher sees, of a process that lost another one."""
SECONDS_FOR_THE_CAUSE = 1.0


class LostProcessError(RecurlmError):
    """Another process of the team ended or no longer answers."""


class Team:
    """The processes that share one job, seen from one of them; this class is a process alone.

    rank: number of this process, from 0 · count: number of processes · here: those on this machine · abandoned:
    whether the launcher that started this process has ended.
    """

    rank, count, here = 0, 1, 1
    abandoned = False
    shares_memory = False
    """Whether sums are taken in memory that the processes share: at once, so beginning early gains nothing."""

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
        self.start_adding([tensor])()

    def start_adding(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        """Begins to replace contiguous tensors of one type by their sums over all processes, in one message.

        The function that it returns waits for the sums. All processes begin their sums in the same order.
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

    def __init__(self, device: str, *, shares_memory: bool = True) -> None:
        """Joins the team; `device` is cpu or cuda. Raises LostProcessError if not all processes come.

        Without `shares_memory`, processes of one machine too send what they sum over the network.
        """
        self._device, self._parent = device, os.getppid()
        with _lost():
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=STALLED)
            self._pulses: dist.ProcessGroup | None = dist.new_group(backend="gloo", timeout=STALLED)
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", self.count))
        self.shares_memory = shares_memory and device == "cpu" and self.here == self.count
        self._sums: SharedSums | None = None

    @property
    def abandoned(self) -> bool:  # type: ignore[override]
        # a launcher of `--processes` may have ended before this process asked for its number
        return is_abandoned() or os.getppid() != self._parent

    def sum(self, values: Sequence[float]) -> list[float]:
        tensor = torch.tensor(values, dtype=torch.float64, device=self._device)
        self._send([tensor])()
        summed: list[float] = tensor.tolist()
        return summed

    def start_adding(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        if self.shares_memory and sum(tensor.nbytes for tensor in tensors) >= LEAST_SHARED:
            sums = self._shared_sums(tensors)
            if sums is not None:
                sums.add(tensors)
                return _nothing
        return self._send(tensors)

    def _send(self, tensors: Sequence[Tensor]) -> Callable[[], None]:
        """Begins to sum tensors over the network."""
        vector = tensors[0].view(-1) if len(tensors) == 1 else torch.cat([tensor.view(-1) for tensor in tensors])
        with _lost():
            work = dist.all_reduce(vector, async_op=True)

        def wait() -> None:
            with _lost():
                work.wait()
            if len(tensors) > 1:
                sums = torch.split(vector, [tensor.numel() for tensor in tensors])
                for tensor, total in zip(tensors, sums, strict=True):
                    tensor.copy_(total.view_as(tensor))

        return wait

    def _shared_sums(self, tensors: Sequence[Tensor]) -> "SharedSums | None":
        """The memory that sums these tensors; None, from then on, where one of the processes cannot map any."""
        from recurlm.shared_sums import SharedSums, bytes_to_sum

        if self._sums is None or not self._sums.holds(tensors):
            self._sums = None  # frees what was too small
            memory = self._map(bytes_to_sum(tensors, self.count))
            self.shares_memory = self.sum([memory is not None])[0] == self.count
            if memory is None or not self.shares_memory:
                return None
            self._sums = SharedSums(memory, self.rank, self.count, self._meet)
        return self._sums

    def _map(self, size: int) -> Tensor | None:
        """Maps new memory of `size` bytes, which the first process makes."""
        from recurlm.shared_sums import SharedFile, mapped

        file = SharedFile(size) if self.leads else None
        place = torch.tensor(file.place if file else (0, 0, 0))
        self.copy_first([place])
        memory = mapped(place.tolist(), size)
        self._meet()
        if file:
            file.close()
        return memory

    def _meet(self) -> None:
        """Returns once all processes have called it."""
        self._send([torch.zeros(1)])()

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
        finally:
            # an error's traceback keeps this object to the end of the interpreter, where a group aborts the process
            self._group = None

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


def open_team(device: str, *, shares_memory: bool = True) -> Team:
    """The team of this process: of all processes that torch's launcher started with it, or of itself alone.

    device: cpu or cuda · shares_memory: as in `ProcessGroup`. Raises UsageError where a process has no GPU of its own.
    """
    if not is_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return Team()
    if device == "cuda":
        _take_gpu(int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"]))
    return ProcessGroup(device, shares_memory=shares_memory)


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
        raise LostProcessError(f"another process of this command ended or does not answer: {reason}") from error


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
