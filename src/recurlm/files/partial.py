"""Files and folders under temporary names, which get their own name once they are whole."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from io import BufferedRandom
from pathlib import Path

from recurlm.errors import InputError
from recurlm.files.errors import named_errors
from recurlm.files.locks import locked

ABANDONED_SECONDS = 24 * 3600
UNFINISHED = ".unfinished"


@contextlib.contextmanager
def temporary_file(folder: Path, target: Path | None = None) -> Iterator[BufferedRandom]:
    """A new file in `folder`. At the end it is removed, unless `keep` renamed it. Writing errors name `target`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _partial(folder)
    try:
        with named_errors(target or folder), path.open("x+b") as file, _in_use(path):
            yield file
    finally:
        path.unlink(missing_ok=True)


def keep(file: BufferedRandom, target: Path) -> None:
    """Renames a temporary file to `target` in one step: readers see the whole file or none."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.replace(file.name, target)
    sync_folder(target.parent)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`. At the end it is removed, unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = _partial(folder)
    path.mkdir()
    try:
        with named_errors(folder), _in_use(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def resumable_folder(path: Path) -> Iterator[Path]:
    """A folder for work that goes on where it was interrupted. It is removed after the work, and after an InputError.

    One process works in it, and others wait. `remove_abandoned` removes one whose work did not go on for a day.
    """
    path = path.with_name(f".{path.name}{UNFINISHED}")
    with named_errors(path), _held_folder(path):
        try:
            yield path
        except InputError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _held_folder(path: Path) -> Iterator[None]:
    """Makes a folder where there is none, and holds it. A process that was waited for may have removed what it held."""
    while True:
        path.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            if _hold(path, held):
                yield
                return


def _hold(path: Path, held: contextlib.ExitStack) -> bool:
    """Waits for a folder and holds it; False where it was removed meanwhile."""
    try:
        descriptor = held.enter_context(locked(path))
        return os.name != "posix" or os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _in_use(path: Path) -> AbstractContextManager[object]:
    """Keeps `remove_abandoned` away from a partial file. Windows protects open files itself."""
    return locked(path) if os.name == "posix" else contextlib.nullcontext()


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut, where the system allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def discard(path: Path) -> None:
    """Removes a file, folder or link. Its name is free at once; a process that has it open can still read it."""
    aside = _partial(path.parent)
    os.replace(path, aside)
    _remove(aside)


def remove_partial(folder: Path) -> None:
    """Removes the partial files of killed processes from a folder that no other process uses."""
    for path in folder.glob(".*.partial"):
        _remove(path)


def remove_abandoned(folder: Path) -> None:
    """Removes the partial files of killed processes from a folder that others may use, and from its subfolders.

    A partial file that a living process holds stays. On this system the process number tells whether the process lives.
    A partial file of another system, such as a second machine with the same cache, is removed once it is a day old, and
    so is a folder of `resumable_folder`.
    """
    for pattern in (".*.partial", "*/.*.partial", "*/*/.*.partial", f"*/.*{UNFINISHED}"):
        for path in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if _is_abandoned(path):
                    with locked(path, wait=False):
                        _remove(path)


def _partial(folder: Path) -> Path:
    return folder / f".{os.getpid()}-{_this_system()}-{secrets.token_hex(6)}.partial"


@functools.cache
def _this_system() -> str:
    """A name for the range of process numbers: this machine since its last start, and the container in it."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _is_abandoned(path: Path) -> bool:
    match = re.fullmatch(r"\.(\d+)-(?:([0-9a-f]{8})-)?[0-9a-f]{12}\.partial", path.name)
    if match is None and path.suffix != UNFINISHED:
        return False
    # Windows has no signal that only asks whether a process lives
    if match is not None and match[2] == _this_system() and os.name == "posix":
        return not _lives(int(match[1]))
    newest: float = max(each.stat().st_mtime for each in (path, *path.glob("*")))
    return time.time() - newest > ABANDONED_SECONDS


def _lives(process: int) -> bool:
    with contextlib.suppress(OSError):  # proc(5): the state Z is that of a process that ended and still has its number
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        if status.rpartition(")")[2].split()[0] == "Z":
            return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # a process of another user
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
