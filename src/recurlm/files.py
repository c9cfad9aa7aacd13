"""Files that are written whole or not at all, and the one bounded reader of untrusted files.

The reader opens regular files only, and knows how large a file, a line and the content of a gzip file may be. Every
limit is multiplied by the environment variable RECURLM_LIMITS, 1 where it is not set; docs/limits.md lists them.
"""

import contextlib
import errno
import functools
import gzip
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase, BufferedRandom, BufferedReader, BufferedWriter, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError, RecurlmError, UsageError

ABANDONED_SECONDS = 24 * 3600
LIMITS_VARIABLE = "RECURLM_LIMITS"
LARGEST_DOCUMENT = 256 << 20
"""Bytes of a file that is held in memory whole: JSON, TOML, a vocabulary, a manifest."""
LONGEST_LINE = 64 << 20
"""Bytes of one line of a text."""
LONGEST_ENTRY = 1 << 20
"""Bytes of one line of a list, a lattice, an ARPA file or references."""
LARGEST_LIST = 1 << 30
"""Bytes of a list, a lattice or references, unpacked."""
LARGEST_EXPANDED = 64 << 30
"""Bytes that a gzip file may hold."""
LARGEST_EXPANSION = 64
"""How many times as large as a gzip file its content may be, once that is larger than `FREE_EXPANSION`."""
FREE_EXPANSION = 2 << 20
BLOCK_BYTES = 1 << 16


@contextlib.contextmanager
def temporary_file(folder: Path, target: Path | None = None) -> Iterator[BufferedRandom]:
    """A new file in ``folder``, removed at the end unless `keep` gave it its name; errors of writing name `target`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _partial(folder)
    try:
        with named_errors(target or folder), path.open("x+b") as file, locked(path):
            yield file
    finally:
        path.unlink(missing_ok=True)


def keep(file: BufferedRandom, target: Path) -> None:
    """Give a temporary file its name at once: readers see the whole file or none."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.replace(file.name, target)
    sync_folder(target.parent)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder in ``folder``, removed at the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _partial(folder)
    path.mkdir()
    try:
        with named_errors(folder), locked(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Give an error of writing that names no file the name of this file or folder."""
    try:
        yield
    except OSError as failure:
        if failure.filename is None and failure.errno in WRITING_FAILURES:
            failure.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where the system allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that no other process uses."""
    for path in folder.glob(".*.partial"):
        _remove(path)


def discard(path: Path) -> None:
    """Remove a file, folder or link: its name is free at once, and a process that has it open keeps what it reads."""
    aside = _partial(path.parent)
    os.replace(path, aside)
    _remove(aside)


@contextlib.contextmanager
def new_content(target: Path) -> Iterator[BufferedWriter | BufferedRandom]:
    """A file to write that becomes ``target`` at the end, whole, and not at all after an error.

    A link stays and what it leads to is replaced; a device or a pipe is written as it is. Raises UsageError where
    ``target`` is a file of a run folder, which only this program's own commands write.
    """
    target = target.resolve()
    with named_errors(target):
        check_output(target)
        if target.exists() and not target.is_file():
            with target.open("wb") as file:
                yield file
            return
        with temporary_file(target.parent, target) as unfinished:
            yield unfinished
            keep(unfinished, target)


def check_output(target: Path, inputs: Iterable[str | Path | None] = ()) -> None:
    """Raises UsageError for a manifest, a file that the manifest beside it lists, and a file among `inputs`."""
    for given in inputs:
        if given is not None and _is_same_file(target, Path(given)):
            raise UsageError(f"{target} is read by this command; name another file to write")
    target = target.resolve()
    for folder in target.parents:
        if folder.name == "checkpoints" and (folder.parent / "manifest.json").is_file():
            raise UsageError(f"{target} lies among the checkpoints of a run; name another file to write")
    manifest = target.with_name("manifest.json")
    if not target.is_file() or not manifest.is_file():
        return
    try:
        listed = parse_json_object(read_bounded(manifest, error=CorruptFileError), str(manifest)).get("sha256")
    except CorruptFileError:
        return  # a manifest of something else
    if isinstance(listed, dict) and target.name in (*listed, manifest.name, "metrics.jsonl"):
        raise UsageError(f"{target} is a file of a run folder; name another file to write")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def write_whole(target: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with new_content(target) as file:
        file.write(content)


def write_within(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder that this program keeps, whole or not at all.

    A link in its place is replaced, never followed: a received folder may hold a link that leads out of it.
    """
    with temporary_file(folder, folder / name) as file:
        file.write(content)
        keep(file, folder / name)


def append_within(folder: Path, name: str) -> TextIO:
    """A text file of such a folder, open for appending. Raises CorruptFileError where it is a link or no file."""
    path = folder / name
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | _NONBLOCK
    refuse_link(path)
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CorruptFileError(f"{path} is a pipe or a device, to which nothing is written; remove it")
    return open(descriptor, "a", encoding="utf-8")


def refuse_link(path: Path) -> None:
    """Raises CorruptFileError for a link in a folder that this program writes to."""
    if path.is_symlink():
        raise CorruptFileError(f"{path} is a link, and nothing is written through links here; remove it")


@contextlib.contextmanager
def locked(place: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a file or folder against all others who lock it; the system frees what a process held that dies.

    Without `wait` raises BlockingIOError where it is held. Where the system has no such locks nobody is held off.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(place, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:
            pass  # some network file systems have none
        yield
    finally:
        os.close(descriptor)


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """``algorithm:hex`` of a file's bytes. Raises CorruptFileError where it is missing or no regular file."""
    with opened(path, error=CorruptFileError) as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _partial(folder: Path) -> Path:
    return folder / f".{os.getpid()}-{_this_system()}-{secrets.token_hex(6)}.partial"


@functools.cache
def _this_system() -> str:
    """A name for where a process number means a process: a machine since it was started, and a container in it."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def remove_abandoned(folder: Path) -> None:
    """Remove what killed processes left half written in a folder that others may use, and in the folders below it.

    What is held by a living process stays. A process of this system is asked for by its number; what another system
    left, such as a second machine with the same cache, must not have been written to for a day.
    """
    for pattern in (".*.partial", "*/.*.partial", "*/*/.*.partial"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    with locked(path, wait=False):
                        _remove(path)


def _is_abandoned(path: Path) -> bool:
    match = re.fullmatch(r"\.(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{12}\.partial", path.name)
    if match is None:
        return False
    if match[2] == _this_system():
        return not _lives(int(match[1]))
    newest: float = max(each.stat().st_mtime for each in (path, *path.glob("*")))
    return time.time() - newest > ABANDONED_SECONDS


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # of another user
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def raised(limit: int) -> int:
    """A limit times RECURLM_LIMITS. Raises UsageError where that is not a number of at least 1."""
    written = os.environ.get(LIMITS_VARIABLE, "1")
    try:
        factor = float(written)
        if 1 <= factor <= 1e9:
            return int(limit * factor)
    except ValueError:
        pass
    raise UsageError(
        f"{LIMITS_VARIABLE}={written}: must be a number from 1 to 1e9; 10 makes every limit ten times larger"
    )


@contextlib.contextmanager
def opened(path: Path, *, pipes: bool = False, error: type[RecurlmError] = InputError) -> Iterator[BufferedReader]:
    """A file open for reading bytes; with `pipes` also a pipe or device, which only a person may name.

    Raises `error` where the file is missing, a folder, not a regular file, or may not be read.
    """
    try:
        # without O_NONBLOCK, opening a pipe would wait for a process that writes into it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | (0 if pipes else _NONBLOCK))
    except (OSError, ValueError) as failure:
        raise error(_cannot_open(path, failure)) from failure
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or (pipes and not stat.S_ISDIR(mode)):
        with open(descriptor, "rb") as file:
            yield file
        return
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise error(f"{path} is a folder; a file is needed here")
    raise error(f"{path} is not a regular file but a pipe or a device; copy its content into a file")


_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def _cannot_open(path: Path, failure: OSError | ValueError) -> str:
    number = failure.errno if isinstance(failure, OSError) else None
    if number == errno.ENOENT:
        return f"no such file: {path}"
    if number == errno.EISDIR:
        return f"{path} is a folder; a file is needed here"
    if number in (errno.EACCES, errno.EPERM):
        return f"no permission to read {path}; change its permissions or copy it"
    reason = failure.strerror if isinstance(failure, OSError) else str(failure)
    return f"cannot open {path}: {reason}"


def read_bounded(
    path: Path, largest: int = LARGEST_DOCUMENT, *, pipes: bool = False, error: type[RecurlmError] = InputError
) -> bytes:
    """The whole content of a file. Raises `error` as `opened` does, and where it is larger than `largest`."""
    largest = raised(largest)
    with opened(path, pipes=pipes, error=error) as file:
        try:
            content = _read_up_to(file, largest + 1)
        except OSError as failure:
            raise error(f"cannot read {path}: {failure.strerror}") from failure
    if len(content) > largest:
        raise error(f"{path} is larger than {largest:,} bytes, the limit for such a file{how_to_raise()}")
    return content


def _read_up_to(file: BufferedReader, most: int) -> bytes:
    """At most so many bytes. Python sets aside all that one call may return, so calls are as large as the file."""
    content = file.read(min(os.fstat(file.fileno()).st_size + 1, most))
    while len(content) < most and (piece := file.read(min(most - len(content), 1 << 16))):
        content += piece
    return content


def raw_lines(
    file: BinaryIO | BufferedIOBase,
    name: str,
    longest: int = LONGEST_LINE,
    largest: int = LARGEST_EXPANDED,
    *,
    error: type[RecurlmError] = InputError,
) -> Iterator[bytes]:
    """Lines with their line feeds.

    Raises `error` naming file and line where one is longer than `longest` bytes, InputError where all of them are more
    than `largest` bytes together.
    """
    longest = raised(longest)
    blocks = iter(lambda: cast(BufferedIOBase, file).read1(BLOCK_BYTES), b"")
    number, pending = 1, bytearray()
    # block by block, and of a pipe what has come: a call for each line takes three times as long
    for block in bounded(blocks, name, largest):
        *ends, rest = block.split(b"\n")
        for line in ends:
            if pending:
                line, pending = bytes(pending + line), bytearray()
            if len(line) >= longest:
                raise _too_long(name, number, longest, error)
            number += 1
            yield line + b"\n"
        pending += rest
        if len(pending) > longest:
            raise _too_long(name, number, longest, error)
    if pending:
        yield bytes(pending)


def _too_long(name: str, number: int, longest: int, error: type[RecurlmError]) -> RecurlmError:
    return error(f"{name}, line {number}: longer than {longest:,} bytes, the limit{how_to_raise()}")


def gunzipped(file: BinaryIO | BufferedReader, name: str, largest: int = LARGEST_EXPANDED) -> BufferedReader:
    """The content of a gzip file, to be read piece by piece.

    Reading raises CorruptFileError where the gzip file is damaged, and InputError where its content is larger than
    `largest` bytes or than `LARGEST_EXPANSION` times the gzip file.
    """
    return BufferedReader(_Gunzipped(file, name, raised(largest)), 1 << 16)


class _Gunzipped(RawIOBase):
    """Counts what comes out of a gzip file against what goes in."""

    def __init__(self, file: Any, name: str, largest: int) -> None:
        self._packed, self._name, self._largest = file, name, largest
        self._content = gzip.GzipFile(fileobj=file)
        self._expansion = raised(LARGEST_EXPANSION)
        self._expanded = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._content.readinto(buffer)
        except (EOFError, gzip.BadGzipFile, zlib.error) as failure:
            raise CorruptFileError(
                f"{self._name} is not a whole gzip file: {failure}; fetch or make it again"
            ) from failure
        self._expanded += count
        self._check()
        return count

    def _check(self) -> None:
        if self._expanded > self._largest:
            raise InputError(f"{self._name} holds more than {self._largest:,} bytes, the limit{how_to_raise()}")
        if self._expanded > FREE_EXPANSION and self._expanded > self._expansion * self._packed.tell():
            raise InputError(
                f"{self._name} holds more than {self._expansion} times its own size, as no text does{how_to_raise()}"
            )


def bounded(pieces: Iterable[bytes], name: str, largest: int = LARGEST_EXPANDED) -> Iterator[bytes]:
    """The same pieces. Raises InputError once they are more than `largest` bytes together."""
    largest = raised(largest)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > largest:
            raise InputError(f"{name} holds more than {largest:,} bytes, the limit{how_to_raise()}")
        yield piece


def shown_name(name: str | Path) -> str:
    """A file name as text: a byte that is not UTF-8 becomes its value, such as \\xe9."""
    return _ESCAPED_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", str(name))


_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""How Python holds a byte of a file name that is not UTF-8 (PEP 383)."""


def how_to_raise() -> str:
    """The end of a message about a limit."""
    return f"\nif the file is right, raise the limits: {LIMITS_VARIABLE}=10 makes every one ten times larger"


WRITING_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
SYSTEM_FAILURES = {
    errno.ENOSPC: ("the disk is full", "free some room and run the command again"),
    errno.EDQUOT: ("the quota of this user is used up", "remove some files, or choose a folder on another disk"),
    errno.EFBIG: (
        "the file would be larger than the system allows",
        "raise the limit (ulimit -f), or choose another disk",
    ),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.EACCES: ("no permission", "choose a folder that you may write, or change its permissions"),
    errno.EPERM: ("no permission", "choose a folder that you may write, or change its permissions"),
    errno.EMFILE: ("too many open files in this process", "raise the limit (ulimit -n)"),
    errno.ENFILE: ("too many open files on this machine", "close some programs, or ask for a higher limit"),
    errno.EIO: ("the disk or the connection to it fails", "check it (dmesg), or choose a folder on another disk"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("is a folder, not a file", "name a file"),
    errno.ENOENT: ("no such file or folder", "check the name"),
}
"""What an error of the system means, and what to do, by its number."""


def explained(failure: OSError) -> str:
    """A plain line for an error of the system: what is wrong, the file where it names one, what to do."""
    place = f": {os.fsdecode(failure.filename)}" if isinstance(failure.filename, str | bytes) else ""
    what, remedy = SYSTEM_FAILURES.get(failure.errno or 0, (failure.strerror or str(failure), ""))
    return f"{what}{place}{f'; {remedy}' if remedy else ''}"
