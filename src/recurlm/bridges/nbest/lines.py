"""Lines of a file with their place, for messages; ``.gz`` files and standard input too."""

import gzip
import math
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recurlm.errors import CorruptFileError, InputError
from recurlm.text.sources import decoded_lines, open_binary

STANDARD_INPUT = "-"


class Line(NamedTuple):
    """A line without its line feed, and where it stands."""

    text: str
    place: str


def name_of(path: str | Path) -> str:
    """What messages call a file."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def lines_of(path: str | Path) -> Iterator[Line]:
    """Lines that are not blank. Raises InputError (missing, not UTF-8) or CorruptFileError (a broken ``.gz`` file)."""
    name = name_of(path)
    for number, text in enumerate(decoded_lines(_raw_lines(path), name), 1):
        if text.strip():
            yield Line(text, f"{name}, line {number}")


def _raw_lines(path: str | Path) -> Iterator[bytes]:
    if str(path) == STANDARD_INPUT:
        yield from sys.stdin.buffer
        return
    with open_binary(Path(path)) as file:
        if Path(path).suffix != ".gz":
            yield from file
            return
        try:
            with gzip.open(file) as unpacked:
                yield from unpacked
        except (OSError, EOFError, zlib.error) as error:
            raise CorruptFileError(f"{path}: cannot be unpacked ({error}); copy it again") from error


def number(text: str, what: str, place: str) -> float:
    """A finite number. Raises InputError that says what it should have been."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {what} should be a number, not {text!r}")
    return value
