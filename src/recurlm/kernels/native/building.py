"""Compiles the project's C++ library and keeps it in a folder that only this user or root can have written.

The folder is `compiled` in the user's cache folder, with mode 0700. It holds for each library NAME.so a NAME.json with
the SHA-256 of the library and the command that built it. NAME depends on the sources, the compiler's files, the
options, and the processor's features, so a library built for one processor is never loaded on another, and an existing
library is not compiled again. A library whose digest is missing or wrong is rebuilt.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from platformdirs import user_cache_path

from recurlm.files.locks import locked
from recurlm.files.partial import keep, remove_partial, temporary_file

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
TRIAL = Path(__file__).with_name("trial.py")
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
COMPILING_SECONDS = 120
USUAL_SECONDS = 10
TARGET = "RECURLM_NATIVE_TARGET"
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
LARGEST_LIBRARY = 64 << 20


class UnusableError(Exception):
    """Says in one line why there is no library."""


class UntrustedError(UnusableError):
    """A file or folder that another user could have written."""


@dataclass(frozen=True)
class Library:
    """A loaded library, its file, and the SHA-256 of its bytes."""

    functions: ctypes.CDLL
    path: Path
    digest: str


def load_library() -> Library:
    """Loads the library from the cache; compiles it first if it is missing. Raises UnusableError or OSError."""
    compiler = find_compiler()
    options = [*OPTIONS, f"-march={os.environ.get(TARGET) or 'native'}"]
    name = _name(compiler, options)
    folder = user_cache_path("recurlm", appauthor=False) / "compiled"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    with _opened(folder) as place:
        return _loaded(place, folder, name) or _built(place, folder, name, [*compiler, *options])


def find_compiler() -> list[str]:
    """The command of a C++ compiler: CXX, or the first that is installed. Raises UnusableError."""
    try:
        chosen = shlex.split(os.environ.get("CXX", ""))
    except ValueError as error:
        raise UnusableError(f"CXX cannot be read as a command: {error}") from error
    if chosen and shutil.which(chosen[0]):
        return chosen
    found = None if chosen else next(filter(None, map(shutil.which, COMPILERS)), None)
    if found is None:
        raise UnusableError(f"no C++ compiler: none of {', '.join(COMPILERS)} is installed, and CXX names none")
    return [found]


def run_compiler(command: Sequence[str], seconds: float = COMPILING_SECONDS) -> None:
    """Runs a command in its own process group and ends the whole group when it is done, too late, or interrupted.

    Raises UnusableError with the first line that the command wrote to stderr.
    """
    with _ended_by_signals() as release:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            release()
            complaint = process.communicate(timeout=seconds)[1].decode(errors="replace").strip()
        except subprocess.TimeoutExpired as error:
            raise UnusableError(f"{command[0]} did not finish within {seconds:g} seconds and was ended") from error
        finally:
            _end(process)
    if process.returncode:
        reason = complaint.splitlines()[0] if complaint else f"exit code {process.returncode}"
        raise UnusableError(f"{command[0]} failed: {reason}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Turns a signal that would kill this process into SystemExit, so that the compiler is ended too.

    A signal waits until the caller calls the yielded function; before that there is no compiler to end.
    """
    received: list[int] = []
    released = False

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if released:
            raise SystemExit(128 + number)

    def release() -> None:
        nonlocal released
        released = True
        if received:
            raise SystemExit(128 + received[0])

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    unhandled = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in unhandled:
        signal.signal(number, receive)
    try:
        yield release
    finally:
        for number in unhandled:
            signal.signal(number, signal.SIG_DFL)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its children if they are still running."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _name(compiler: Sequence[str], options: Sequence[str]) -> str:
    """The name of the library: a digest of its sources, the compiler's files, the command, and the processor."""
    sources = [path.read_bytes() for path in (*SOURCES, *HEADERS)]
    programs = [_described(found) for word in compiler if (found := shutil.which(word))]
    words = [shlex.join([*compiler, *options]), *programs, _processor_features()]
    return hashlib.sha256(b"\0".join([*sources, *(word.encode() for word in words)])).hexdigest()[:24]


def _described(program: str) -> str:
    """Path, size, and modification time of a program's file; another version differs in one of them."""
    path = os.path.realpath(program)
    facts = os.stat(path)
    return f"{path} {facts.st_size} {facts.st_mtime_ns}"


def _processor_features() -> str:
    """Everything that the system says about the processor's instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    features = [line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))]
    first = " ".join(sorted(features[0].split())) if features else platform.processor()
    return f"{platform.machine()} {first}"


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """A descriptor of the folder, so that the checked folder is the one used; None where the system has none."""
    if not hasattr(os, "O_DIRECTORY"):
        yield None
        return
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except NotADirectoryError as error:
        raise UntrustedError(f"{folder}: is not a folder or is a link; remove it") from error
    try:
        _refuse_foreign(os.fstat(place), folder)
        yield place
    finally:
        os.close(place)


def _refuse_foreign(facts: os.stat_result, path: Path) -> None:
    """Raises UntrustedError where a user other than this one or root could have written a file or folder."""
    if not hasattr(os, "getuid"):
        return
    if facts.st_uid not in (0, os.getuid()):
        raise UntrustedError(f"{path}: belongs to another user (number {facts.st_uid}); remove it")
    if facts.st_mode & WRITABLE_BY_OTHERS:
        raise UntrustedError(f"{path}: can be written by other users; remove it")


def _loaded(place: int | None, folder: Path, name: str) -> Library | None:
    """The library, or None where it is missing or its digest is wrong. Raises UntrustedError."""
    try:
        record = json.loads(_read(place, folder, f"{name}.json"))
        digest = hashlib.sha256(_read(place, folder, f"{name}.so")).hexdigest()
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("sha256") != digest:
        return None
    # through the descriptor, because the path may lead elsewhere by now
    inside = Path(f"/proc/self/fd/{place}")
    return Library(
        ctypes.CDLL(str((inside if inside.exists() else folder) / f"{name}.so")), folder / f"{name}.so", digest
    )


def _read(place: int | None, folder: Path, file: str) -> bytes:
    """The bytes of a regular file that only this user or root can have written. Raises UntrustedError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(file if place is not None else folder / file, flags, dir_fd=place)
    except OSError as error:
        if (folder / file).is_symlink():
            raise UntrustedError(f"{folder / file}: is a link; remove it") from error
        raise
    with os.fdopen(descriptor, "rb") as opened:
        facts = os.fstat(descriptor)
        _refuse_foreign(facts, folder / file)
        if not stat.S_ISREG(facts.st_mode):
            raise UntrustedError(f"{folder / file}: is not a regular file; remove it")
        return opened.read(LARGEST_LIBRARY)


def _built(place: int | None, folder: Path, name: str, command: Sequence[str]) -> Library:
    """Compiles the library, tries it in a separate process, and keeps it. Raises UnusableError."""
    with locked(folder):
        found = _loaded(place, folder, name)  # another process may have built it meanwhile
        if found is not None:
            return found
        remove_partial(folder)
        print(
            f"recurlm: compiling its C++ library once, about {USUAL_SECONDS} seconds (RECURLM_NATIVE=0 skips it)",
            file=sys.stderr,
            flush=True,
        )
        try:
            content = _compiled(folder, command)
        except UnusableError as error:
            print(f"recurlm: {error}; continuing without the library", file=sys.stderr, flush=True)
            raise
        record = {"sha256": hashlib.sha256(content).hexdigest(), "command": shlex.join(command)}
        _write(folder / f"{name}.json", (json.dumps(record) + "\n").encode())
        _write(folder / f"{name}.so", content)
        library = _loaded(place, folder, name)
    if library is None:
        raise UnusableError(f"{folder / name}.so: was written, but reads back differently")
    return library


def _compiled(folder: Path, command: Sequence[str]) -> bytes:
    """Compiles and tries a library; returns its bytes. Raises UnusableError."""
    with temporary_file(folder) as file:
        run_compiler([*command, "-shared", "-fPIC", *map(str, SOURCES), "-o", file.name])
        _try(file.name)
        return Path(file.name).read_bytes()


def _write(target: Path, content: bytes) -> None:
    """Writes a file that only this user can read and write, under any umask."""
    with temporary_file(target.parent) as file:
        os.chmod(file.name, 0o600)
        file.write(content)
        keep(file, target)


def _try(library: str) -> None:
    """Runs one small operation of each kind in a separate process, which a missing instruction may kill."""
    try:
        subprocess.run(
            [sys.executable, "-I", str(TRIAL), library],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMPILING_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        complaint = error.stderr.decode(errors="replace").strip().splitlines()
        reason = complaint[-1] if complaint else f"ended by signal {-error.returncode}"
        raise UnusableError(f"the compiled library does not run on this processor: {reason}") from error
    except subprocess.TimeoutExpired as error:
        raise UnusableError("the compiled library hangs in its trial run") from error
