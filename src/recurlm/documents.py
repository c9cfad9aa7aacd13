"""JSON and TOML that nobody vouches for: one loader for each, with limits on depth and digits.

Both refuse what Python would read and nobody means: duplicate keys, numbers that are not finite, halves of surrogate
pairs, text that is not UTF-8.
"""

import itertools
import json
import math
import tomllib
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn

from recurlm.errors import CorruptFileError, InputError, RecurlmError

DEEPEST = 64
"""Lists and objects inside each other; the library's own parsers recurse, and this is far below their limit."""
MOST_DIGITS = 400
"""Digits of a whole number; the largest float has 309."""


def parse_json(content: bytes | str, place: str, *, error: type[RecurlmError] = CorruptFileError) -> Any:
    """The value of a JSON document in UTF-8. Raises `error`, naming `place`, for everything else."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
        check_value(value)
    except UnicodeDecodeError as failure:
        raise error(f"{place}: not UTF-8 at byte {failure.start}") from failure
    except json.JSONDecodeError as failure:
        raise error(f"{place}: not JSON at line {failure.lineno}, column {failure.colno}: {failure.msg}") from failure
    except RecursionError as failure:
        raise error(f"{place}: {_TOO_DEEP}") from failure
    except ValueError as failure:
        raise error(f"{place}: {failure}") from failure
    return value


def parse_json_object(
    content: bytes | str, place: str, *, error: type[RecurlmError] = CorruptFileError
) -> dict[str, Any]:
    """The same where the document must be an object."""
    value = parse_json(content, place, error=error)
    if not isinstance(value, dict):
        raise error(f"{place}: not a JSON object")
    return value


def parse_toml(content: bytes | str, place: str, *, error: type[RecurlmError] = InputError) -> dict[str, Any]:
    """The tables of a TOML document in UTF-8. Raises `error`, naming `place`, for everything else."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        value = tomllib.loads(text)
        check_value(value)
    except UnicodeDecodeError as failure:
        raise error(f"{place}: not UTF-8 at byte {failure.start}; a recipe is a TOML text") from failure
    except tomllib.TOMLDecodeError as failure:
        raise error(f"{place}: not TOML: {failure}") from failure
    except RecursionError as failure:
        raise error(f"{place}: {_TOO_DEEP}") from failure
    except ValueError as failure:
        raise error(f"{place}: {failure}") from failure
    return value


_TOO_DEEP = f"lists or objects lie more than {DEEPEST} deep inside each other"


def check_value(value: Any) -> None:
    """Raises ValueError for a parsed value that is too deep, or holds a number or text that cannot be used."""
    level: list[Any] = [value]
    for depth in itertools.count(1):
        level = [inner for outer in level for inner in _inner(outer)]
        if not level:
            return
        if depth >= DEEPEST and any(isinstance(inner, dict | list) for inner in level):
            raise ValueError(_TOO_DEEP)


def _inner(value: Any) -> Iterable[Any]:
    """What a list or an object holds; other values hold nothing and are checked."""
    if isinstance(value, dict):
        for key in value:
            _check_text(key)
        return value.values()
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    elif isinstance(value, int) and abs(value) >= _FIRST_TOO_LONG:
        raise ValueError(_TOO_LONG)
    return ()


def _check_text(text: str) -> None:
    try:
        text.encode()
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


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} stands twice in one object")
    return value
