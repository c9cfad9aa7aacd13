"""Errors of the operating system in plain words: what is wrong with which file, and what to do."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from recurlm.files.suggestions import did_you_mean

WRITING_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
SYSTEM_FAILURES = {
    errno.ENOSPC: ("the disk is full", "free some room and run the command again"),
    errno.EDQUOT: ("this user's disk quota is used up", "remove some files, or choose a folder on another disk"),
    errno.EFBIG: (
        "the file would be larger than the system allows",
        "raise the limit (ulimit -f), or choose another disk",
    ),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EACCES: ("no permission", "choose a folder that you may write, or change its permissions"),
    errno.EPERM: ("no permission", "choose a folder that you may write, or change its permissions"),
    errno.EMFILE: ("too many open files in this process", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many open files on this machine", "close some programs, or ask for a higher limit"),
    errno.EIO: ("the disk or its connection fails", "check it (dmesg), or choose a folder on another disk"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("is a folder, not a file", "name a file"),
    errno.ENOENT: ("no such file or folder", "check the name"),
}
"""The meaning of a system error and its remedy, by error number."""


def explained(failure: OSError) -> str:
    """A system error in one plain line: what is wrong, the file if the error names one, what to do."""
    place = f": {os.fsdecode(failure.filename)}" if isinstance(failure.filename, str | bytes) else ""
    what, remedy = SYSTEM_FAILURES.get(failure.errno or 0, (failure.strerror or str(failure), ""))
    return f"{what}{place}{f'; {remedy}' if remedy else ''}"


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Adds the name of this file or folder to a writing error that names no file."""
    try:
        yield
    except OSError as failure:
        if failure.filename is None and failure.errno in WRITING_FAILURES:
            failure.filename = str(path)
        raise


def why_not_opened(path: Path, failure: OSError | ValueError) -> str:
    """A message for a file that cannot be opened for reading."""
    number = failure.errno if isinstance(failure, OSError) else None
    if number == errno.ENOENT:
        return f"no such file: {path}{did_you_mean(path)}"
    if number == errno.EISDIR:
        return f"{path} is a folder; a file is needed here"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to read {path}; change its permissions or copy it"
    reason = failure.strerror if isinstance(failure, OSError) else str(failure)
    return f"cannot open {path}: {reason}"
