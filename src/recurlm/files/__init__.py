"""Files: the one reader of whole untrusted files, and the writer of files that are written whole or not at all.

The reader opens regular files only and knows how large a file may be. `streams` reads large files piece by piece.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from io import BufferedRandom, BufferedReader, BufferedWriter
from pathlib import Path
from typing import TextIO

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError, RecurlmError, UsageError
from recurlm.files.errors import named_errors, why_not_opened
from recurlm.files.limits import LARGEST_DOCUMENT, how_to_raise, raised
from recurlm.files.partial import keep, temporary_file

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


@contextlib.contextmanager
def opened(path: Path, *, pipes: bool = False, error: type[RecurlmError] = InputError) -> Iterator[BufferedReader]:
    """A file opened for reading bytes. `pipes` also allows a pipe or device, which only a person may name.

    Raises `error` for a missing file, a folder, a file that is not regular, and one that may not be read.
    """
    try:
        # without O_NONBLOCK, opening a pipe would wait for a process that writes into it
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | (0 if pipes else _NONBLOCK))
    except (OSError, ValueError) as failure:
        raise error(why_not_opened(path, failure)) from failure
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or (pipes and not stat.S_ISDIR(mode)):
        with open(descriptor, "rb") as file:
            yield file
        return
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise error(f"{path} is a folder; a file is needed here")
    raise error(f"{path} is not a regular file but a pipe or a device; copy its content into a file")


def read_bounded(
    path: Path, largest: int = LARGEST_DOCUMENT, *, pipes: bool = False, error: type[RecurlmError] = InputError
) -> bytes:
    """The whole content of a file. Raises `error` like `opened`, and for a file larger than `largest` bytes."""
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
    """At most `most` bytes. Python allocates all that one call may return, so each call asks for the file's size."""
    content = file.read(min(os.fstat(file.fileno()).st_size + 1, most))
    while len(content) < most and (piece := file.read(min(most - len(content), 1 << 16))):
        content += piece
    return content


def digest_of(path: Path, algorithm: str = "sha256", *, error: type[RecurlmError] = CorruptFileError) -> str:
    """`algorithm:hex` of a file's bytes. Raises `error` where it is missing or not a regular file."""
    with opened(path, error=error) as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


@contextlib.contextmanager
def new_content(target: Path) -> Iterator[BufferedWriter | BufferedRandom]:
    """A file to write. At the end it replaces `target` whole; after an error `target` is unchanged.

    A link stays a link, and the file it leads to is replaced. A device or a pipe is written directly. Raises UsageError
    where `target` is a file of a run folder, which only this program's own commands write.
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
    """Raises UsageError for a target that is one of `inputs`, a manifest, or a file that a manifest beside it lists."""
    for given in inputs:
        if given is not None and _is_same_file(target, Path(given)):
            raise UsageError(f"{target} is read by this command; name another file to write")
    target = target.resolve()
    for folder in target.parents:
        if folder.name == "checkpoints" and (folder.parent / "manifest.json").is_file():
            raise UsageError(f"{target} lies among the checkpoints of a run; name another file to write")
    if target.is_file() and target.name in _files_of_run(target.with_name("manifest.json")):
        raise UsageError(f"{target} is a file of a run folder; name another file to write")


def check_output_folder(folder: Path) -> None:
    """Raises, for a folder that is still to be written, InputError if a file has its place, or PermissionError."""
    place = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not place.is_dir():
        raise InputError(f"{place}: is a file, not a folder; name another --out")
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))


def _files_of_run(manifest: Path) -> set[str]:
    """The names of the files that a manifest protects; none where it is missing or no manifest of a run."""
    if not manifest.is_file():
        return set()
    try:
        listed = parse_json_object(read_bounded(manifest, error=CorruptFileError), str(manifest)).get("sha256")
    except CorruptFileError:
        return set()  # a manifest of something else
    return {*listed, manifest.name, "metrics.jsonl"} if isinstance(listed, dict) else set()


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def write_whole(target: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    with new_content(target) as file:
        file.write(content)


def write_within(folder: Path, name: str, content: bytes) -> None:
    """Writes a file of a folder that this program keeps, whole or not at all.

    A link of that name is replaced and never followed: a received folder may contain a link that leads out of it.
    """
    with temporary_file(folder, folder / name) as file:
        file.write(content)
        keep(file, folder / name)


def append_within(folder: Path, name: str) -> TextIO:
    """A text file of such a folder, opened for appending. Raises CorruptFileError for a link, a pipe or a device."""
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
