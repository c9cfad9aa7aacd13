"""Several files, or the records of tables, as one text: joined once, in the cache, each one a document.

The joined text is UTF-8 with a line feed at the end of every document; its `starts` say where further documents begin.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from recurlm.capacity import shared_processors
from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.files import digest_of, opened
from recurlm.files.partial import temporary_folder
from recurlm.files.sealed import move_into_place, read_seal, write_seal
from recurlm.files.streams import gunzipped, raw_lines
from recurlm.text.members import is_parquet, is_table, refuse_field
from recurlm.text.places import DataPlaces
from recurlm.text.sources import EmptyTextError, Member, Text
from recurlm.wording import counted, shown_name

FORMAT = "recurlm joined text 1"
JOINED, STARTS, SEAL = "text.txt", "starts.int64", "joined.json"
RECORDS_AT_ONCE = 1024

Opener = Callable[[Path], Text]
"""Opens a file of text, unpacked where it is packed."""
Record = tuple[str, dict[str, Any]]
"""Where a record is, and its values by the names of their fields."""


@dataclass(frozen=True)
class Joined:
    """A joined text and the files that it is made of; files without a line are left out of the text."""

    text: Text
    members: tuple[Member, ...]


def join(
    paths: Sequence[Path],
    name: str,
    field: str | None,
    places: DataPlaces,
    open_text: Opener,
    digests: Sequence[str] | None = None,
) -> Joined:
    """Joins files, in their order; a second call finds the result in the cache.

    `digests` are the hex SHA-256 of the files, where the caller has just computed them. Raises InputError for a file
    that cannot be read, UsageError for a table without `field`.
    """
    _check_field(paths, field)
    if digests is None:
        with _threads() as threads:
            found = threads.map(partial(digest_of, error=InputError), paths)
            digests = [digest.removeprefix("sha256:") for digest in found]
    named = [[str(path), digest] for path, digest in zip(paths, digests, strict=True)]
    key = hashlib.sha256(json.dumps([FORMAT, named, field]).encode()).hexdigest()[:32]
    folder = places.cache / "joined" / key
    try:
        return _read(folder, name)
    except CorruptFileError:
        with temporary_folder(folder.parent) as unfinished, _threads() as threads:
            texts = threads.map(partial(_text_of, open_text=open_text), paths)
            members = _write(unfinished, zip(paths, digests, texts, strict=True), field)
            if all(member.is_empty for member in members):
                raise InputError(f"{name}: {counted(len(members), 'file')}, none of them with a line") from None
            write_seal(unfinished / SEAL, {"format": FORMAT, "members": list(map(asdict, members))})
            move_into_place(unfinished, folder, lambda: _read(folder, name))
    return _read(folder, name)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A thread for each processor, since unpacking and digests leave the interpreter to others; no work outlives it."""
    threads = ThreadPoolExecutor(shared_processors())
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _read(folder: Path, name: str) -> Joined:
    """Raises CorruptFileError unless the folder is whole and unaltered."""
    values = read_seal(folder / SEAL, FORMAT)
    starts = np.fromfile(folder / STARTS, np.int64)
    return Joined(Text(name, folder / JOINED, starts=starts), tuple(Member(**each) for each in values["members"]))


def _write(folder: Path, files: Iterable[tuple[Path, str, Text | None]], field: str | None) -> tuple[Member, ...]:
    """Writes the joined text and its starts; returns its members."""
    members: list[Member] = []
    with (folder / JOINED).open("wb") as joined, (folder / STARTS).open("wb") as starts:
        for path, digest, text in files:
            size, begun = path.stat().st_size, joined.tell()
            if is_table(path):
                documents: Iterator[Iterator[str]] = (iter([text]) for text in _records(path, field or ""))
            else:
                documents = iter([text.blocks()] if text is not None else [])
            for document in documents:
                _write_document(document, joined, starts)
            members.append(Member(str(path), digest, size, begun, joined.tell(), None if text is None else text.sha256))
    return tuple(members)


def _text_of(path: Path, open_text: Opener) -> Text | None:
    """The text of a file, its digest computed; None for a table, and for a file that is empty or unpacks to nothing."""
    if is_table(path):
        return None
    try:
        text = open_text(path)
    except EmptyTextError:
        return None
    _ = text.sha256  # once, here beside the other files
    return text


def _write_document(pieces: Iterator[str], joined: BinaryIO, starts: BinaryIO) -> None:
    """Writes a document with a line feed at its end; one without a line is left out."""
    begun, last = joined.tell(), "\n"
    for piece in pieces:
        if piece:
            joined.write(piece.encode())
            last = piece[-1]
    if last != "\n":
        joined.write(b"\n")
    if begun and joined.tell() > begun:
        starts.write(np.int64(begun).tobytes())


def _check_field(paths: Sequence[Path], field: str | None) -> None:
    """Raises UsageError where files hold records and no field says which value is the text, or the reverse."""
    tables = [path for path in paths if is_table(path)]
    if tables and field is None:
        raise UsageError(
            f"{tables[0]} holds records: say which of their fields is the text, such as --field text"
            f"{_fields_of(tables[0])}"
        )
    if not tables:
        refuse_field(field)


def _fields_of(path: Path) -> str:
    """The fields of the first record of a file, for a message."""
    first = next(_parquet_rows(path) if is_parquet(path) else _json_objects(path), None)
    return "" if first is None else f"\nthe fields of {first[0]}: {_listed(first[1])}"


def _records(path: Path, field: str) -> Iterator[str]:
    """The texts of the records of a file."""
    records = _parquet_rows(path, field) if is_parquet(path) else _json_objects(path)
    for place, record in records:
        yield _value(record, field, place)


def _json_objects(path: Path) -> Iterator[Record]:
    """The objects of a file, one a line; blank lines are passed over."""
    name = shown_name(path)
    with opened(path) as file:
        content = gunzipped(file, name) if path.suffix.lower() == ".gz" else file
        for number, line in enumerate(raw_lines(content, name), 1):
            if line.strip():
                place = f"{name}, line {number}"
                yield place, parse_json_object(line, place, error=InputError)


def _parquet_rows(path: Path, field: str | None = None) -> Iterator[Record]:
    """The rows of a file, read in batches: the column `field` alone, or no value where there is no such column."""
    name = shown_name(path)
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(f"{name}: parquet needs the pyarrow library: pip install 'recurlm[parquet]'") from error
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as table:
            columns = table.schema_arrow.names
            number = 0
            for batch in table.iter_batches(RECORDS_AT_ONCE, columns=[field] if field in columns else columns[:1]):
                for value in batch.to_pylist():
                    number += 1
                    yield f"{name}, row {number}", value if field in columns else dict.fromkeys(columns)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not a parquet file, or a damaged one: {str(error).strip()}") from error


def _listed(record: dict[str, Any]) -> str:
    return ", ".join(map(repr, record)) or "none"


def _value(record: dict[str, Any], field: str, place: str) -> str:
    value = record.get(field)
    if field not in record:
        raise InputError(f"{place}: has no field {field!r}; its fields are: {_listed(record)}")
    if not isinstance(value, str):
        raise InputError(f"{place}: its field {field!r} is no text but {json.dumps(value, default=str):.40}")
    return value.replace("\r\n", "\n")
