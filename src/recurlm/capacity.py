"""The memory and the processors of this machine. Work that cannot fit is refused before it begins."""

import functools
import os
import sys
from pathlib import Path

from recurlm.errors import InputError, UsageError

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's memory limit, of control groups version 2 and 1."""


@functools.cache
def machine_memory() -> int:
    """Bytes that a process can use: the machine's memory or the container's limit; `sys.maxsize` if unknown."""
    return min([_physical_memory(), *filter(None, map(_limit, CGROUP_LIMITS))])


def processors() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared_processors() -> int:
    """Number of processors for work that one process does while the others of its launch wait.

    OMP_NUM_THREADS bounds it: the threads of this process and those of the others on this machine.
    """
    threads, launched = os.environ.get("OMP_NUM_THREADS", ""), os.environ.get("LOCAL_WORLD_SIZE", "1")
    if not (threads.isdecimal() and launched.isdecimal()):
        return processors()
    return max(min(processors(), int(threads) * int(launched)), 1)


def check_fits(needed: int, what: str, advice: str, *, error: type[InputError] | type[UsageError] = UsageError) -> None:
    """Raises `error` if `what` needs more bytes than the machine has; `advice` says what to do."""
    if needed > machine_memory():
        raise error(
            f"{what} would take at least {in_words(needed)} of memory; this machine has {in_words(machine_memory())}\n"
            f"{advice}"
        )


def in_words(size: int) -> str:
    """A number of bytes for people to read, such as 1.5 GB."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.0f} PB"


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # no container, or no limit ("max")
