"""Texts as byte ranges of UTF-8 files, read block by block, never whole."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.files import opened
from recurlm.files.limits import LONGEST_LINE, how_to_raise, raised
from recurlm.text.lines import BYTE_ORDER_MARK, conversion_advice, encoding_advice

BLOCK_BYTES = 1 << 20


FEW_DOCUMENTS = 20
"""A text of fewer documents is cut at ends of lines, since whole documents would make uneven parts."""


def _no_starts() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Text:
    """The bytes ``start`` to ``stop`` (end of the file if None) of a UTF-8 file.

    starts: positions in the file at which a further document begins, in rising order, each after ``start``; the line
    before it is closed by a line feed.
    """

    name: str
    path: Path
    start: int = 0
    stop: int | None = None
    starts: NDArray[np.int64] = field(default_factory=_no_starts, compare=False, repr=False)

    @property
    def place(self) -> str:
        """The path of a text that is named after its file, for a message; the name of any other."""
        return str(self.path) if self.path.stem == self.name else self.name

    @cached_property
    def size(self) -> int:
        """Bytes in the range."""
        return self._stop - self.start

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the raw bytes in the range, as they stand in the file."""
        digest = hashlib.sha256()
        for piece in self._raw_blocks(BLOCK_BYTES):
            digest.update(piece)
        return digest.hexdigest()

    def blocks(self, size: int = BLOCK_BYTES) -> Iterator[str]:
        r"""Decoded blocks of about ``size`` bytes, each cut after a line feed.

        A longer line makes a longer block; the last block may lack the line feed. A byte order mark at the
        file's start is skipped and ``\r\n`` becomes ``\n``. Raises InputError at bytes that are not UTF-8, and for a
        line that is longer than `LONGEST_LINE`.
        """
        position = self.start
        pending: list[bytes] = []
        waiting, longest = 0, raised(LONGEST_LINE)
        for piece in self._raw_blocks(size):
            end = piece.rfind(b"\n") + 1
            if end:
                block = b"".join([*pending, piece[:end]])
                pending, waiting = [], 0
                yield self._decode(block, position)
                position += len(block)
            if end < len(piece):
                pending.append(piece[end:])
                waiting += len(piece) - end
            if waiting > longest:
                raise InputError(
                    f"{self.path}: the line at offset {position:,} is longer than {longest:,} bytes, the limit"
                    f"{how_to_raise()}"
                )
        if pending:
            yield self._decode(b"".join(pending), position)

    def lines(self) -> Iterator[str]:
        """Lines without their line feed; a line feed at the very end starts no further line."""
        for block in self.blocks():
            lines = block.split("\n")
            if not lines[-1]:
                lines.pop()
            yield from lines

    def lines_before_starts(self) -> NDArray[np.int64]:
        """The number of lines of the text before each further document."""
        counts, position, lines = [_no_starts()], self.start, 0
        pieces = self._raw_blocks(BLOCK_BYTES) if len(self.starts) else ()
        for piece in pieces:
            here = self.starts[(self.starts > position) & (self.starts <= position + len(piece))]
            feeds = np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n"))
            counts.append(lines + np.searchsorted(feeds, here - position))
            position += len(piece)
            lines += len(feeds)
        return np.concatenate(counts)

    def part(self, name: str, start: int, stop: int) -> "Text":
        """A range of the bytes of the file that lies in the text."""
        return Text(name, self.path, start, stop, self.starts[(self.starts > start) & (self.starts < stop)])

    def overlaps(self, other: "Text") -> bool:
        """Whether both have the same bytes, or share bytes of one file."""
        same_file = self.path.resolve() == other.path.resolve()
        shared = same_file and max(self.start, other.start) < min(self._stop, other._stop)
        return shared or self.sha256 == other.sha256

    @cached_property
    def _stop(self) -> int:
        if self.stop is not None:
            return self.stop
        with opened(self.path) as file:
            return file.seek(0, 2)

    def _raw_blocks(self, size: int) -> Iterator[bytes]:
        left = self.size
        with opened(self.path) as file:
            file.seek(self.start)
            while left:
                piece = file.read(min(size, left))
                if not piece:
                    raise InputError(f"{self.path} became shorter while it was read: {left:,} bytes are missing")
                left -= len(piece)
                yield piece

    def _decode(self, block: bytes, position: int) -> str:
        if position == 0:
            _check_encoding(self.path, block)
        skipped = len(BYTE_ORDER_MARK) if position == 0 and block.startswith(BYTE_ORDER_MARK) else 0
        try:
            return block[skipped:].decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            offset = position + skipped + error.start
            value = block[skipped + error.start]
            raise InputError(
                f"{self.path} is not UTF-8: byte 0x{value:02x} at offset {offset:,}\n"
                f"{conversion_advice(block, self.path.name)}"
            ) from None


@dataclass(frozen=True)
class Member:
    """One of the files that were joined to one text.

    path: where it was · digest: hex SHA-256 of the file · bytes: its size · start, stop: its range in the joined text ·
    text: hex SHA-256 of its own text; None for a file of records.
    """

    path: str
    digest: str
    bytes: int
    start: int
    stop: int
    text: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the file has no line, so that the text has nothing of it."""
        return self.start == self.stop


@dataclass(frozen=True)
class Corpus:
    """A text to train on and, if present, texts for validation and test.

    files: those that were joined, where there are several · documents: how many these are · field: the name of the text
    in files of records.
    """

    name: str
    train: Text
    valid: Text | None
    test: Text | None
    licence: str = ""
    citation: str = ""
    files: tuple[Member, ...] = ()
    documents: int = 1
    field: str | None = None

    def split(self, name: str) -> Text:
        """The text called ``train``, ``valid`` or ``test``. Raises InputError if the corpus lacks it."""
        splits = {"train": self.train, "valid": self.valid, "test": self.test}
        text = splits.get(name)
        if text is None:
            present = ", ".join(key for key, value in splits.items() if value)
            raise InputError(f"corpus {self.name} has no split {name!r}; it has: {present}")
        return text


class EmptyTextError(InputError):
    """A text has no line."""


def whole_text(path: Path, name: str | None = None) -> Text:
    """The whole file as one text. Raises InputError if it cannot be read, EmptyTextError if it is empty."""
    text = Text(name or path.name, path)
    with opened(path) as file:
        head = file.read(_HEAD_BYTES)
    _check_encoding(path, head)
    if head in (b"", BYTE_ORDER_MARK):
        raise EmptyTextError(f"{path} is empty; a text with at least one line is needed")
    return text


_HEAD_BYTES = 1 << 12


def _check_encoding(path: Path, head: bytes) -> None:
    """Raises InputError for a file whose first bytes show that it is packed, or in another encoding."""
    if advice := encoding_advice(head, path.name):
        raise InputError(f"{path} is not UTF-8 text: {advice}")


def cut(text: Text, shares: tuple[int, int, int] = (90, 5, 5), *, place: str | None = None) -> tuple[Text, Text, Text]:
    """Cut a text in order into train, valid and test, about these shares of its bytes.

    A text of `FEW_DOCUMENTS` or more is cut between documents, other texts at ends of lines: a boundary that falls
    inside one moves to its end. Raises InputError, naming `place` or else the file, if a part would get no line.
    """
    start, stop = text.start, text.start + text.size
    wanted = [start + text.size * share // sum(shares) for share in (shares[0], shares[0] + shares[1])]
    first, second = _between_documents(text, wanted) if cuts_documents(text) else _at_lines(text, wanted)
    if not start < first < second < stop:
        raise InputError(_too_few_lines(text, place))
    return (
        text.part(f"{text.name}/train", start, first),
        text.part(f"{text.name}/valid", first, second),
        text.part(f"{text.name}/test", second, stop),
    )


def cuts_documents(text: Text) -> bool:
    """Whether `cut` keeps the documents of a text whole."""
    return len(text.starts) + 1 >= FEW_DOCUMENTS


def _between_documents(text: Text, wanted: list[int]) -> tuple[int, int]:
    """The starts of documents at or after two positions; each part gets a document at least."""
    number = len(text.starts)
    first, second = np.searchsorted(text.starts, wanted).tolist()
    first = min(first, number - 2)
    second = min(max(second, first + 1), number - 1)
    return int(text.starts[first]), int(text.starts[second])


def _at_lines(text: Text, wanted: list[int]) -> tuple[int, int]:
    with opened(text.path) as file:
        first, second = (min(_next_line(file, position), text.start + text.size) for position in wanted)
    return first, second


def ranges(text: Text, size: int) -> Iterator[Text]:
    """The text in parts of whole lines, each of about ``size`` bytes, in order; at least one part."""
    start, stop = text.start, text.start + text.size
    with opened(text.path) as file:
        while True:
            end = min(_next_line(file, start + size), stop)
            yield Text(text.name, text.path, start, end)
            if end == stop:
                return
            start = end


def _too_few_lines(text: Text, place: str | None) -> str:
    count = sum(1 for _ in text.lines())
    if count > 1 or place is not None:
        return (
            f"{place or text.path} is too small to be cut in three (number of lines: {count})\n"
            "give a longer text, or a folder with the files train.txt, valid.txt and test.txt"
        )
    return (
        f"{text.path} has one line, and a text is cut in three at ends of lines (number of lines: 1)\n"
        f"break it into lines, such as: fold -s -w 1000 {text.path.name} > lines.txt; or give a folder with the "
        "files train.txt, valid.txt and test.txt"
    )


def _next_line(file: BinaryIO, offset: int) -> int:
    """The first line end at or after the byte before an offset, else the end of the file."""
    place = file.seek(max(offset - 1, 0))
    while piece := file.read(BLOCK_BYTES):
        if end := piece.find(b"\n") + 1:
            return place + end
        place += len(piece)
    return place
