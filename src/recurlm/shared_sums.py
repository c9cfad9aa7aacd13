"""Sums of tensors over processes of one machine, in memory that all of them map.

Each process owns a share of every tensor. The others put their values of that share into the memory, the owner adds
them to its own, and the others take the sum. A value crosses from one process to another twice, as in a ring of
messages, but by a copy in memory instead of a connection.
"""

import mmap
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

ALIGNMENT = 64
"""Bytes between whose multiples a share begins."""


class SharedSums:
    """The sums of one process; all processes of a team make one of the same size, and call it with the same shapes.

    The memory has a row of `count` regions for each process. In region k of its row, a process writes what concerns the
    share of process k: its own values, or the sum where k is itself. A process only reads the rows of the others.
    """

    def __init__(self, memory: Tensor, rank: int, count: int, meet: Callable[[], None]) -> None:
        """`memory` holds bytes; `meet` returns once all processes have called it."""
        region = len(memory) // count**2 // ALIGNMENT * ALIGNMENT
        self._regions = memory[: count**2 * region].view(count, count, region)
        self._rank, self._count, self._meet = rank, count, meet

    def holds(self, tensors: Sequence[Tensor]) -> bool:
        """Whether there is memory enough to sum these tensors at once."""
        return bytes_to_sum(tensors, self._count) <= self._regions.numel()

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces contiguous tensors by their sums over all processes, added in the same order for all of them."""
        rank, others = self._rank, [each for each in range(self._count) if each != self._rank]
        shares = [[_share(tensor, owner, self._count) for tensor in tensors] for owner in range(self._count)]
        for owner in others:
            self._put(owner, shares[owner])
        self._meet()
        for other in others:
            for own, value in zip(shares[rank], self._read(other, rank, shares[rank]), strict=True):
                own.add_(value)
        self._put(rank, shares[rank])
        self._meet()
        for owner in others:
            for share, total in zip(shares[owner], self._read(owner, owner, shares[owner]), strict=True):
                share.copy_(total)

    def _put(self, region: int, shares: Sequence[Tensor]) -> None:
        for place, share in zip(self._read(self._rank, region, shares), shares, strict=True):
            place.copy_(share)

    def _read(self, row: int, region: int, shares: Sequence[Tensor]) -> Iterator[Tensor]:
        """The tensors in a region, of the types and shapes of these shares."""
        begin = 0
        for share in shares:
            yield self._regions[row, region, begin : begin + share.nbytes].view(share.dtype)
            begin += _aligned(share.nbytes)


def _share(tensor: Tensor, owner: int, count: int) -> Tensor:
    """What a process owns of a tensor, as a vector."""
    return tensor.view(-1)[tensor.numel() * owner // count : tensor.numel() * (owner + 1) // count]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def bytes_to_sum(tensors: Sequence[Tensor], count: int) -> int:
    """The memory that `count` processes need to sum tensors."""
    region = sum(_aligned(-(-tensor.numel() // count) * tensor.element_size()) for tensor in tensors)
    return count**2 * max(region, ALIGNMENT)


class SharedFile:
    """Memory without a name in any folder, which ends with the last process that maps it; of Linux alone.

    The first process makes it. The others open it by the numbers of that process and of the file there. It begins with
    a random number, by which they know it: a process of another machine may have the same numbers.
    """

    def __init__(self, size: int) -> None:
        self.place = (-1, -1, secrets.randbits(63))
        """Numbers of the process and of the file, and the random one; the first are -1 where it could not be made."""
        with suppress(OSError, AttributeError):
            file = os.memfd_create("recurlm")
            self.place = os.getpid(), file, self.place[2]
            os.posix_fallocate(file, 0, size)
            os.pwrite(file, self.place[2].to_bytes(8, sys.byteorder), 0)

    def close(self) -> None:
        """Forgets the file, once all have mapped it."""
        if self.place[1] >= 0:
            os.close(self.place[1])


def mapped(place: Sequence[int], size: int) -> Tensor | None:
    """The bytes (size,) of the memory that another process, or this one, has made; None where it cannot be mapped."""
    process, number, known_by = place
    with suppress(OSError, ValueError):
        file = os.open(f"/proc/{process}/fd/{number}", os.O_RDWR)
        try:
            memory = torch.frombuffer(mmap.mmap(file, size), dtype=torch.uint8)
        finally:
            os.close(file)
        if int(memory[:8].view(torch.int64)) == known_by:
            return memory
    return None
