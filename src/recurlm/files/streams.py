"""The content of untrusted files piece by piece: lines and gzip content, each within its limit."""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedIOBase, BufferedReader, RawIOBase
from typing import Any, BinaryIO, cast

from recurlm.errors import CorruptFileError, InputError, RecurlmError
from recurlm.files.limits import LARGEST_EXPANDED, LONGEST_LINE, how_to_raise, raised

LARGEST_EXPANSION = 64
"""How many times its own size a gzip file may contain, once its content is larger than `FREE_EXPANSION`."""
FREE_EXPANSION = 2 << 20
BLOCK_BYTES = 1 << 16


def raw_lines(
    file: BinaryIO | BufferedIOBase,
    name: str,
    longest: int = LONGEST_LINE,
    largest: int = LARGEST_EXPANDED,
    *,
    error: type[RecurlmError] = InputError,
) -> Iterator[bytes]:
    """The lines of a file with their line feeds.

    Raises `error`, naming file and line, for a line longer than `longest` bytes, and InputError for a file larger than
    `largest` bytes.
    """
    longest = raised(longest)
    number, pending = 1, bytearray()
    # whole blocks, and of a pipe what has arrived: one call for each line takes three times as long
    for block in bounded(iter(lambda: cast(BufferedIOBase, file).read1(BLOCK_BYTES), b""), name, largest):
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


def bounded(pieces: Iterable[bytes], name: str, largest: int = LARGEST_EXPANDED) -> Iterator[bytes]:
    """The same pieces. Raises InputError once they exceed `largest` bytes together."""
    largest = raised(largest)
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > largest:
            raise InputError(f"{name} holds more than {largest:,} bytes, the limit{how_to_raise()}")
        yield piece


def gunzipped(file: BinaryIO | BufferedReader, name: str, largest: int = LARGEST_EXPANDED) -> BufferedReader:
    """The content of a gzip file, for reading piece by piece.

    Reading raises CorruptFileError where the gzip file is damaged. It raises InputError where the content is larger
    than `largest` bytes, or than `LARGEST_EXPANSION` times the gzip file.
    """
    return BufferedReader(_Gunzipped(file, name, raised(largest)), 1 << 16)


class _Gunzipped(RawIOBase):
    """Compares the size of a gzip file's content with the size of the file itself."""

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
