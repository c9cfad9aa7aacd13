"""Tables that contain texts: CSV, tab-separated values and JSON lines, read row by row in constant memory."""

import csv
import difflib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from recurlm.documents import parse_json_object
from recurlm.errors import InputError, UsageError
from recurlm.text.lines import STANDARD_INPUT

SEPARATORS = {"csv": ",", "tsv": "\t"}
_OTHER_SEPARATORS = {
    ";": "semicolons seem to separate the cells; save the table with commas or tabs instead",
    "\t": "tabs seem to separate the cells; read the table with --table tsv",
    ",": "commas seem to separate the cells; read the table with --table csv",
}
TABLE_KINDS = (*SEPARATORS, "jsonl")


class Row(NamedTuple):
    """One row: its number, 1 for the first; where it begins in its file; its cells by the name of their column."""

    number: int
    place: str
    cells: dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The columns of a table, where its header is, and its rows, which can be read once."""

    columns: tuple[str, ...]
    place: str
    rows: Iterator[Row]

    def check_column(self, name: str) -> None:
        """Raises InputError, with the nearest names, where the table has no column of this name."""
        if name not in self.columns:
            raise InputError(f"{self.place}: there is no column {name!r}{self._advice(name)}")

    def _advice(self, name: str) -> str:
        listed = ", ".join(map(repr, self.columns))
        separated = [how for sign, how in _OTHER_SEPARATORS.items() if sign in self.columns[0]]
        if len(self.columns) == 1 and separated:
            return f"; the header is a single column, {listed}\n{separated[0]}"
        lowered = {column.lower(): column for column in reversed(self.columns)}
        nearest = [lowered[found] for found in difflib.get_close_matches(name.lower(), lowered, n=2)]
        return f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else f"; the columns are {listed}"


def table_kind(file: str, given: str | None = None) -> str:
    """What kind of table a file is: as given, or by the end of its name, with or without .gz.

    Raises UsageError where neither says it.
    """
    if given is not None:
        return given
    ending = file.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in TABLE_KINDS:
        name = STANDARD_INPUT if file == "-" else file
        raise UsageError(f"{name}: the name does not say what kind of table it is; add --table csv, tsv or jsonl")
    return ending


def read_table(lines: Iterable[str], kind: str, name: str) -> Table:
    """A table from the lines of a file; `name` is that of the file in messages.

    Raises InputError for a table without rows, for a column name that occurs twice, and, while the rows are read, for a
    row that is malformed or has other columns than the first one.
    """
    records = _objects(lines, name) if kind == "jsonl" else _split_rows(lines, SEPARATORS[kind], name)
    first = next(records, None)
    if first is None:
        raise InputError(f"{name}: the table is empty; give a header and at least one row")
    place, header = first
    columns = tuple(header)
    _check_header(columns, place)
    if kind == "jsonl":
        records = itertools.chain([first], records)
    following = next(records, None)
    if following is None:
        raise InputError(f"{name}: the table has a header and no rows; give at least one row")
    rows = itertools.chain([following], records)
    return Table(columns, place, _rows(rows, columns))


def _check_header(columns: Sequence[str], place: str) -> None:
    for column, count in Counter(columns).items():
        if count > 1:
            raise InputError(f"{place}: {count} columns are named {column!r}; rename all but one")


def _split_rows(lines: Iterable[str], separator: str, name: str) -> Iterator[tuple[str, Any]]:
    """The cells of each row; a quoted cell may span lines. Empty lines are no rows."""
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    while True:
        place = f"{name}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as failure:
            raise InputError(
                f"{place}: the row cannot be read: {failure}\n"
                "a cell that begins with a quote ends with one, and each quote inside is doubled"
            ) from failure
        if cells is None:
            return
        if cells:
            yield place, cells


def _objects(lines: Iterable[str], name: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(lines, 1):
        place = f"{name}, line {number}"
        if line.strip():
            yield place, parse_json_object(line, place, error=InputError)


def _rows(records: Iterable[tuple[str, Any]], columns: Sequence[str]) -> Iterator[Row]:
    for number, (place, record) in enumerate(records, 1):
        if isinstance(record, dict):
            _check_keys(record, columns, place)
            yield Row(number, place, {column: record[column] for column in columns})
        elif len(record) != len(columns):
            raise InputError(
                f"{place}: the row has {len(record)} cells and the header {len(columns)}; "
                "a separator inside a cell needs quotes around the cell"
            )
        else:
            yield Row(number, place, dict(zip(columns, record, strict=True)))


def _check_keys(record: dict[str, Any], columns: Sequence[str], place: str) -> None:
    for name, there, others in (("lacks", columns, record), ("adds", record, columns)):
        differing = [column for column in there if column not in others]
        if differing:
            raise InputError(f"{place}: the object {name} {differing[0]!r}; every object needs the keys of the first")
