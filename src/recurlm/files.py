"""Files and folders that are written whole or not at all."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from io import BufferedRandom, BufferedWriter
from pathlib import Path


@contextlib.contextmanager
def temporary_file(folder: Path) -> Iterator[BufferedRandom]:
    """A new file in ``folder``, removed at the end unless `keep` gave it its name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _partial(folder)
    try:
        with path.open("x+b") as file:
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
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


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
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def new_content(target: Path) -> Iterator[BufferedWriter | BufferedRandom]:
    """A file to write that becomes ``target`` at the end, whole, and not at all after an error.

    A link stays and what it leads to is replaced; a device or a pipe is written as it is.
    """
    target = target.resolve()
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    with temporary_file(target.parent) as unfinished:
        yield unfinished
        keep(unfinished, target)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with new_content(target) as file:
        file.write(content)


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
    """``algorithm:hex`` of a file's bytes."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _partial(folder: Path) -> Path:
    return folder / f".{os.getpid()}-{secrets.token_hex(6)}.partial"
