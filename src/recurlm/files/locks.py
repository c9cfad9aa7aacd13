"""Locks between processes; the system releases the lock of a process that dies."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

FOLDERS_HAVE_DESCRIPTORS = os.name == "posix"
LOCK_FILE = ".lock"


@contextlib.contextmanager
def locked(place: Path, *, wait: bool = True) -> Iterator[int]:
    """Holds a file or folder against every other process, and every other caller, that locks it; yields its descriptor.

    Without `wait` raises BlockingIOError if it is held. On a file system without locks it excludes no other process.
    Windows cannot open a folder: there the lock is on the file `.lock` inside it, which stays.
    """
    from filelock import lock_descriptor  # `recurlm --help` does not need it

    descriptor = _opened(place)
    try:
        held = True
        with contextlib.suppress(OSError):  # some network file systems have no locks
            held = lock_descriptor(descriptor, blocking=wait)
        if not held:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(place))
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(place: Path) -> bool:
    """Whether another process, or another caller, holds a file or folder; False where there is none.

    Writes nothing. On a file system without locks nothing is ever held.
    """
    if not place.exists() or not (FOLDERS_HAVE_DESCRIPTORS or (place / LOCK_FILE).exists()):
        return False
    try:
        with locked(place, wait=False):
            return False
    except BlockingIOError:
        return True
    except OSError:  # a folder that may not be read
        return False


def _opened(place: Path) -> int:
    if FOLDERS_HAVE_DESCRIPTORS or not place.is_dir():
        return os.open(place, os.O_RDONLY)
    return os.open(place / LOCK_FILE, os.O_RDWR | os.O_CREAT)
