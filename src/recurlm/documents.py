"""JSON and TOML from untrusted sources: one loader for each, with limits on depth and digits.

Both loaders refuse what Python accepts but no author intends: duplicate keys, numbers that are not finite, halves of
surrogate pairs, text that is not UTF-8.
"""

import dataclasses
import itertools
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NoReturn, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from recurlm.errors import CorruptFileError, InputError, RecurlmError

DEEPEST = 64
"""Depth of nested lists and objects. Python's own parsers recurse, and this is far below their limit."""
MOST_DIGITS = 400
"""Digits of a whole number. The largest float has 309."""


Pairs = list[tuple[str, Any]]


def parse_json(
    content: bytes | str,
    place: str,
    *,
    error: type[RecurlmError] = CorruptFileError,
    file_names: bool = False,
    finite: bool = True,
    as_object: Callable[[Pairs], Any] | None = None,
) -> Any:
    """The value of a JSON document in UTF-8. Raises `error`, naming `place`, for everything else.

    file_names: strings may contain bytes that are not UTF-8, as `json_text` writes them · finite: if false, numbers may
    be infinite or NaN, as Python writes them · as_object: makes a value of an object's keys and values. Without it an
    object becomes a dict, and a duplicate key is an error.
    """
    text = utf8_text(content, place, error=error)
    try:
        value = json.loads(
            text,
            object_pairs_hook=as_object or _object,
            parse_int=_integer,
            parse_float=_number if finite else float,
            parse_constant=_refuse_constant if finite else float,
        )
        check_value(value, file_names=file_names, finite=finite)
    except json.JSONDecodeError as failure:
        raise error(f"{place}: not JSON at line {failure.lineno}, column {failure.colno}: {failure.msg}") from failure
    except RecursionError as failure:
        raise error(f"{place}: {_TOO_DEEP}") from failure
    except ValueError as failure:
        raise error(f"{place}: {failure}") from failure
    return value


def parse_json_object(
    content: bytes | str,
    place: str,
    *,
    error: type[RecurlmError] = CorruptFileError,
    file_names: bool = False,
    finite: bool = True,
) -> dict[str, Any]:
    """Like `parse_json`, for a document that must be an object."""
    value = parse_json(content, place, error=error, file_names=file_names, finite=finite)
    if not isinstance(value, dict):
        raise error(f"{place}: not a JSON object")
    return value


def utf8_text(content: bytes | str, place: str, *, error: type[RecurlmError] = InputError) -> str:
    """The text of a document without its byte order mark. Raises `error` where it is not UTF-8."""
    try:
        return content if isinstance(content, str) else content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise error(f"{place}: not UTF-8 at byte {failure.start}") from failure


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON that UTF-8 can encode. A byte of a file name that is not UTF-8 becomes \\udc80 to \\udcff.

    `os.fsencode` restores the file name. Raises ValueError for numbers that are not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def toml_value(written: str, place: str) -> Any:
    """A value written as TOML. Everything that is not TOML is a string, so a bare word needs no quotes.

    Raises InputError, naming `place`, where the value cannot be used.
    """
    try:
        values = _toml_values(f"value = {written}")
        value = values["value"] if len(values) == 1 else written
        check_value(value, file_names=True)
    except tomllib.TOMLDecodeError:
        return written
    except ValueError as failure:
        raise InputError(f"{place}: {failure}") from failure
    return value


_Record = TypeVar("_Record")


def parse_record(kind: type[_Record], content: bytes | str, place: str) -> _Record:
    """A dataclass object from JSON that has only the fields of the dataclass, each of its type.

    A field with a default may be missing, because an older version did not write it. Raises CorruptFileError, naming
    `place`, for everything else.
    """
    values = parse_json_object(content, place)
    unknown = values.keys() - {each.name for each in dataclasses.fields(cast(Any, kind))}
    if unknown:
        raise CorruptFileError(f"{place}: the key {min(unknown)!r:.60} is unknown to this version of recurlm")
    try:
        return cast(_Record, _adapter(cast(Any, kind)).validate_json(json.dumps(values), strict=True))
    except ValidationError as failure:
        first = failure.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise CorruptFileError(f"{place}: {key}: {first['msg']}") from failure


@lru_cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def parse_toml(content: bytes | str, place: str, *, error: type[RecurlmError] = InputError) -> dict[str, Any]:
    """The tables of a TOML document in UTF-8. Raises `error`, naming `place`, for everything else."""
    text = utf8_text(content, place, error=error)
    try:
        value = _toml_values(text)
        check_value(value)
    except tomllib.TOMLDecodeError as failure:
        raise error(f"{place}: not TOML: {failure}") from failure
    except ValueError as failure:
        raise error(f"{place}: {failure}") from failure
    return value


def _toml_values(text: str) -> dict[str, Any]:
    """The values that Python's parser reads. Raises TOMLDecodeError, or ValueError for what is out of bounds."""
    _refuse_long_keys(text)
    try:
        return tomllib.loads(text)
    except RecursionError as failure:
        raise ValueError(_TOO_DEEP) from failure
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as failure:
        # Python's message about digits names a function that does not help here
        reason = _TOO_LONG if "set_int_max_str_digits" in str(failure) else str(failure)
        raise ValueError(reason) from failure


def _refuse_long_keys(text: str) -> None:
    """Raises ValueError for a key of too many parts: Python's parser needs the square of their number in time."""
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError(f"a line with more than {_MOST_DOTS} dots, as no recipe has")


_MOST_DOTS = 1000
_TOO_DEEP = f"lists or objects are nested more than {DEEPEST} deep"


def check_value(value: Any, *, file_names: bool = False, finite: bool = True) -> None:
    """Raises ValueError for a parsed value that is too deep or contains a number or text that cannot be used."""
    errors = "surrogateescape" if file_names else "strict"
    level: list[Any] = [value]
    for depth in itertools.count(1):
        level = [inner for outer in level for inner in _inner(outer, errors, finite)]
        if not level:
            return
        if depth >= DEEPEST and any(isinstance(inner, dict | list) for inner in level):
            raise ValueError(_TOO_DEEP)


def _inner(value: Any, errors: str, finite: bool) -> Iterable[Any]:
    """The values inside a list or an object. Checks every other value, which has none inside."""
    if isinstance(value, dict):
        for key in value:
            _check_text(key, errors)
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        _check_text(value, errors)
    elif isinstance(value, float) and finite and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    elif isinstance(value, int) and abs(value) >= _FIRST_TOO_LONG:
        raise ValueError(_TOO_LONG)
    return ()


def _check_text(text: str, errors: str) -> None:
    try:
        text.encode(errors=errors)
    except UnicodeEncodeError as failure:
        raise ValueError(
            f"half of a surrogate pair (U+{ord(text[failure.start]):04X}) in the text {text!r:.60}"
        ) from None


_FIRST_TOO_LONG = 10**MOST_DIGITS
_TOO_LONG = f"a whole number of more than {MOST_DIGITS} digits"


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(_TOO_LONG)
    return int(digits)


def _number(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise ValueError(f"{written:.60} is not a finite number")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _object(pairs: Pairs) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} occurs twice in one object")
    return value
