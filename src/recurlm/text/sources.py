"""Texts as byte ranges of UTF-8 files, read block by block and never loaded whole."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from recurlm.errors import InputError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLOCK_BYTES = 1 << 20


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """A file open for reading bytes; InputError if it is missing, a folder, or may not be read."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a text file is needed here") from None
    except PermissionError:
        raise InputError(f"no permission to read {path}; change its permissions or copy it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot open {path}: {error}") from error
    with file:
        yield file


def decoded_lines(raw: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines of UTF-8 without their ends, as they come; a byte order mark at the very start is skipped.

    Raises InputError naming the line that is not UTF-8.
    """
    for number, line in enumerate(raw, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{name}, line {number}: not UTF-8 at byte {error.start + 1} of the line") from error


@dataclass(frozen=True)
class Text:
    """The bytes ``start`` to ``stop`` (end of the file if None) of a UTF-8 file."""

    name: str
    path: Path
    start: int = 0
    stop: int | None = None

    @cached_property
    def size(self) -> int:
        """Bytes in the range."""
        return self._stop - self.start

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the raw bytes in the range, as they stand in the file."""
        digest = hashlib.sha256()
        for piece in self._pieces(BLOCK_BYTES):
            digest.update(piece)
        return digest.hexdigest()

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[str]:
        r"""Decoded blocks of about ``size`` bytes, each cut after a line feed.

        A longer line makes a longer block; the last block may lack the line feed. A byte order mark at the
        file's start is skipped and ``\r\n`` becomes ``\n``. InputError at bytes that are not UTF-8.
        """
        position = self.start
        pending: list[bytes] = []
        for piece in self._pieces(size):
            end = piece.rfind(b"\n") + 1
            if end:
                block = b"".join([*pending, piece[:end]])
                pending = []
                yield self._decode(block, position)
                position += len(block)
            if end < len(piece):
                pending.append(piece[end:])
        if pending:
            yield self._decode(b"".join(pending), position)

    def lines(self) -> Iterator[str]:
        """Lines without their line feed; a line feed at the very end starts no further line."""
        for block in self.blocks():
            lines = block.split("\n")
            if not lines[-1]:
                lines.pop()
            yield from lines

    def overlaps(self, other: "Text") -> bool:
        """Whether both are the same bytes, or share some of one file."""
        same_file = self.path.resolve() == other.path.resolve()
        shared = same_file and max(self.start, other.start) < min(self._stop, other._stop)
        return shared or self.sha256 == other.sha256

    @cached_property
    def _stop(self) -> int:
        if self.stop is not None:
            return self.stop
        with open_binary(self.path) as file:
            return file.seek(0, 2)

    def _pieces(self, size: int) -> Iterator[bytes]:
        left = self.size
        with open_binary(self.path) as file:
            file.seek(self.start)
            while left:
                piece = file.read(min(size, left))
                if not piece:
                    raise InputError(f"{self.path} became shorter while it was read: {left:,} bytes are missing")
                left -= len(piece)
                yield piece

    def _decode(self, block: bytes, position: int) -> str:
        skipped = len(BYTE_ORDER_MARK) if position == 0 and block.startswith(BYTE_ORDER_MARK) else 0
        try:
            return block[skipped:].decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            offset = position + skipped + error.start
            value = block[skipped + error.start]
            raise InputError(
                f"{self.path} is not UTF-8: byte 0x{value:02x} at offset {offset:,}\n"
                f"convert it first, for example: iconv -f LATIN1 -t UTF-8 {self.path.name} > converted.txt"
            ) from None


@dataclass(frozen=True)
class Corpus:
    """A text to learn from and, where there are any, the texts to choose and to measure by."""

    name: str
    train: Text
    valid: Text | None
    test: Text | None
    licence: str = ""
    citation: str = ""

    def split(self, name: str) -> Text:
        """The text called ``train``, ``valid`` or ``test``; InputError if the corpus lacks it."""
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        text = splits.get(name)
        if text is None:
            present = ", ".join(key for key, value in splits.items() if value)
            raise InputError(f"corpus {self.name} has no split {name!r}; it has: {present}")
        return text


def whole_text(path: Path, name: str | None = None) -> Text:
    """The whole file as one text; InputError if it cannot be read or is empty."""
    text = Text(name or path.name, path)
    with open_binary(path) as file:
        head = file.read(len(BYTE_ORDER_MARK) + 1)
    if head in (b"", BYTE_ORDER_MARK):
        raise InputError(f"{path} is empty; a text with at least one line is needed")
    return text


def cut(text: Text, shares: tuple[int, int, int] = (90, 5, 5)) -> tuple[Text, Text, Text]:
    """Cut a text in order into train, valid and test: about these shares of its bytes, at ends of lines.

    A boundary that falls inside a line moves to the end of that line. InputError if a part would get no line.
    """
    start, stop = text.start, text.start + text.size
    with open_binary(text.path) as file:
        first, second = (
            min(_next_line(file, start + text.size * share // sum(shares)), stop)
            for share in (shares[0], shares[0] + shares[1])
        )
    if not start < first < second < stop:
        count = sum(1 for _ in text.lines())
        raise InputError(
            f"{text.path} is too small to be cut in three (number of lines: {count})\n"
            "give a longer text, or a folder with the files train.txt, valid.txt and test.txt"
        )
    return (
        Text(f"{text.name}/train", text.path, start, first),
        Text(f"{text.name}/valid", text.path, first, second),
        Text(f"{text.name}/test", text.path, second, stop),
    )


def _next_line(file: BinaryIO, offset: int) -> int:
    file.seek(max(offset - 1, 0))
    file.readline()
    return file.tell()
