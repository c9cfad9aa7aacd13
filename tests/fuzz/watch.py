"""One input given to one reader: what came of it, and whether that is allowed.

A reader ends in a result that its check accepts, or in an error of the family with a plain message, within
`SECONDS` of processor time, `LARGEST_GROWTH` bytes of memory, and without a warning. Everything else is a finding.
"""

import contextlib
import resource
import signal
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fuzz.reader import Reader
from recurlm.errors import CorruptFileError, DownloadError, InputError, RecurlmError, UsageError

SECONDS = 1.0
"""Of the processor; a machine that does other work too makes no finding."""
BLOCKED_SECONDS = 20.0
"""After which a reader that waits, or that other work holds up, is interrupted."""
LARGEST_GROWTH = 64 << 20
LARGEST_ALLOCATION = 512 << 20
"""Beyond what the process has: more ends in a MemoryError, before the machine suffers."""
LONGEST_MESSAGE = 4500
MOST_LINES = 9
STATUS = Path("/proc/self/status")
PEAK_RESET = Path("/proc/self/clear_refs")


class TooSlow(BaseException):
    """The clock struck; not an Exception, so that no reader takes it for a fault of the file."""


class Watch:
    """Gives inputs to readers in a folder of its own; memory is measured from when `start` was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accepted = 0
        self._baseline = 0
        self._struck = False

    def __enter__(self) -> "Watch":
        self._limits = resource.getrlimit(resource.RLIMIT_DATA)
        self._handlers = [signal.signal(each, self._strike) for each in (signal.SIGPROF, signal.SIGALRM)]
        return self

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, self._limits)
        for each, handler in zip((signal.SIGPROF, signal.SIGALRM), self._handlers, strict=True):
            signal.signal(each, handler)

    def warm_up(self, reader: Reader) -> None:
        """Read its sound files, without bounds, and take the memory that the process has then as the beginning."""
        for content in reader.seeds:
            with contextlib.suppress(RecurlmError):
                reader.check(content, self.folder)
        self._baseline = _reset_peak()
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + LARGEST_ALLOCATION, self._limits[1]))

    def finding(self, reader: Reader, content: bytes) -> str | None:
        """What is wrong in one line, the kind first; None where the reader did right."""
        found = self._timed_outcome(reader, content)
        if found is not None and found.startswith("TooSlow"):
            found = self._timed_outcome(reader, content)  # a machine that stalls once is no finding
        grown = _peak() - self._baseline
        if self._baseline and grown > LARGEST_GROWTH:
            self._baseline = max(self._baseline, _reset_peak())
            found = found or f"Memory: grew by {grown >> 20} MB"
        return found

    def _timed_outcome(self, reader: Reader, content: bytes) -> str | None:
        found = self._outcome(reader, content)
        if self._struck and (found is None or not found.startswith("TooSlow")):
            return f"TooSlow: went on after the interruption ({found})"
        return found

    def _outcome(self, reader: Reader, content: bytes) -> str | None:
        self._struck = False
        try:
            with self._bounded():
                reader.check(content, self.folder)
        except (InputError, CorruptFileError, DownloadError, UsageError) as error:
            return _wrong_with_message(error)
        except TooSlow as error:
            return f"TooSlow: {_place(error)}"
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a Rust library is no Exception
            text = " ".join(str(error).split())
            return f"{type(error).__name__}: {_place(error)}: {text:.200}"
        self.accepted += 1
        return None

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, BLOCKED_SECONDS)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _strike(self, number: int, frame: FrameType | None) -> NoReturn:
        self._struck = True
        raise TooSlow


def _wrong_with_message(error: Exception) -> str | None:
    message = str(error)
    try:
        message.encode()
    except UnicodeEncodeError:
        return f"Message: cannot be printed: {_place(error)}: {message!r:.200}"
    if not message.strip():
        return f"Message: empty: {_place(error)}"
    if len(message) > LONGEST_MESSAGE or message.count("\n") > MOST_LINES:
        return f"Message: {len(message)} characters: {_place(error)}: {message!r:.200}"
    return None


def _place(error: BaseException) -> str:
    """The last line of the project's own code that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "recurlm/" in frame.filename] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def _reset_peak() -> int:
    """Bytes of memory in use; the peak is measured anew from here, where the system can do that."""
    with contextlib.suppress(OSError):
        PEAK_RESET.write_text("5")
    return _status("VmRSS:")


def _peak() -> int:
    return _status("VmHWM:")


def _data_bytes() -> int:
    return _status("VmData:")


def _status(name: str) -> int:
    """Bytes; 0 where the system does not tell."""
    if not STATUS.exists():
        return 0
    with STATUS.open("rb") as file:
        content = file.read()
    start = content.index(name.encode()) + len(name)
    return int(content[start : content.index(b"kB", start)]) << 10
