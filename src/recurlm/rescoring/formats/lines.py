"""Lines of a file, a ``.gz`` file, or standard input, with their place for messages."""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from recurlm.errors import InputError
from recurlm.files import opened
from recurlm.files.limits import LARGEST_LIST, LONGEST_ENTRY
from recurlm.files.streams import gunzipped, raw_lines
from recurlm.text.lines import decoded_lines

STANDARD_INPUT = "-"
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SHOWN = 40
"""Most characters of a wrong value in a message."""


class Line(NamedTuple):
    """A line without its end, and its place: file and number."""

    text: str
    place: str


def name_of(path: str | Path) -> str:
    """The name of a file in messages."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


def lines_of(path: str | Path) -> Iterator[Line]:
    """The lines that are not blank.

    Raises InputError (missing, not UTF-8, a line too long) or CorruptFileError (a broken ``.gz`` file).
    """
    name = name_of(path)
    for number, text in enumerate(decoded_lines(_raw_lines(path, name), name), 1):
        if text and text.strip(" \t"):
            yield Line(text, f"{name}, line {number}")


def _raw_lines(path: str | Path, name: str) -> Iterator[bytes]:
    if str(path) == STANDARD_INPUT:
        yield from raw_lines(sys.stdin.buffer, name, LONGEST_ENTRY, LARGEST_LIST)
        return
    with opened(Path(path), pipes=True) as file:
        content = gunzipped(file, name) if Path(path).suffix == ".gz" else file
        yield from raw_lines(content, name, LONGEST_ENTRY, LARGEST_LIST)


def number(text: str, what: str, place: str) -> float:
    """Parses a finite number in decimal digits. Raises InputError that says which value is wrong."""
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: {what} should be a number, not {shortened(text)!r}")
    return value


def shortened(text: str) -> str:
    """A value, shortened for a message."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
