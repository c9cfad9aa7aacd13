import dataclasses
import math
import os

import pytest

from recurlm.documents import (
    DEEPEST,
    json_text,
    parse_json,
    parse_json_object,
    parse_record,
    parse_toml,
    toml_value,
)
from recurlm.errors import CorruptFileError, InputError


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_document_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, "\\u00e9", null]}', "d") == {"a": [1, 2.5, "\u00e9", None]}
    assert parse_toml(b'a = 1\n[b]\nc = "\xc3\xa9"\n', "d") == {"a": 1, "b": {"c": "\u00e9"}}


def test_the_deepest_document_is_read_and_one_deeper_is_not() -> None:
    assert parse_json(nested(DEEPEST), "d")
    with pytest.raises(CorruptFileError, match="nested more than 64 deep"):
        parse_json(nested(DEEPEST + 1), "d")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (nested(100_000), "nested more than 64 deep"),
        ('{"a":' * 100_000, "nested more than 64 deep"),
        ("7" * 5_000, "more than 400 digits"),
        ("7" * 401, "more than 400 digits"),
        ("1e400", "not a finite number"),
        ("[NaN]", "NaN"),
        ("-Infinity", "-Infinity"),
        ('{"a": 1, "b": {}, "a": 2}', "'a' occurs twice"),
        ('["\\ud83d the"]', r"half of a surrogate pair \(U\+D83D\)"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ("{", "not JSON at line 1, column 2"),
        ("", "not JSON"),
        (b'"\xff"', "not UTF-8 at byte 1"),
        ("1".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_json_document_that_cannot_be_meant_is_refused(content: str | bytes, reason: str) -> None:
    with pytest.raises(CorruptFileError, match=f"list.jsonl, line 3: .*{reason}"):
        parse_json(content, "list.jsonl, line 3")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"a = {nested(100_000)}", "nested more than 64 deep"),
        (f"a = {nested(DEEPEST + 1)}", "nested more than 64 deep"),
        (".".join("a" * 100) + " = 1", "nested more than 64 deep"),
        ("a = " + "7" * 5_000, "digits"),
        ("a = 0x" + "f" * 5_000, "more than 400 digits"),
        ("a = inf", "inf is not a finite number"),
        ("a = 1e400", "not a finite number"),
        ("a = 1\na = 2", "not TOML"),
        ('a = "\\ud83d"', "not TOML"),
        (b'a = "\xff"', "not UTF-8 at byte 5"),
    ],
)
def test_a_toml_document_that_cannot_be_meant_is_refused(content: str | bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"my.toml: .*{reason}"):
        parse_toml(content, "my.toml")


def test_an_object_is_asked_for() -> None:
    assert parse_json_object("{}", "d") == {}
    with pytest.raises(InputError, match="d: not a JSON object"):
        parse_json_object("[]", "d", error=InputError)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("3", 3),
        ("[1, 2]", [1, 2]),
        ("word", "word"),
        ('"a b"', "a b"),
        ("1\nb = 2", "1\nb = 2"),
        ("caf\udce9", "caf\udce9"),
    ],
)
def test_a_value_of_the_command_line(written: str, value: object) -> None:
    assert toml_value(written, "--set a=b") == value


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (nested(100_000), "nested more than 64 deep"),
        ("{a=" * 30_000, "nested more than 64 deep"),
        ("7" * 5_000, "digits"),
        ("0x" + "f" * 400, "more than 400 digits"),
        ("nan", "nan is not a finite number"),
        ("[1e400]", "inf is not a finite number"),
        ('"\ud83d"', "half of a surrogate pair"),
    ],
)
def test_a_value_of_the_command_line_that_cannot_be_meant_is_refused(written: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"--set a=b: .*{reason}"):
        toml_value(written, "--set a=b")


def test_bytes_of_file_names_are_written_as_halves_of_pairs_and_read_where_names_stand() -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9")
    written = json_text({"source": name}).encode()
    assert written == b'{"source": "caf\\udce9 \xc3\xa9"}'
    assert os.fsencode(parse_json_object(written, "d", file_names=True)["source"]) == b"caf\xe9 \xc3\xa9"
    with pytest.raises(CorruptFileError, match="half of a surrogate pair"):
        parse_json(written, "d")
    with pytest.raises(CorruptFileError, match=r"half of a surrogate pair \(U\+D83D\)"):
        parse_json('"\\ud83d"', "d", file_names=True)


def test_numbers_that_are_not_finite_are_read_where_they_may_stand() -> None:
    assert parse_json("[NaN, Infinity, 1e999]", "d", finite=False)[1:] == [math.inf, math.inf]


@dataclasses.dataclass
class Record:
    count: int
    rate: float = 0.5
    names: list[str] = dataclasses.field(default_factory=list)


def test_a_record_is_read() -> None:
    assert parse_record(Record, '{"count": 2, "names": ["a"]}', "d") == Record(2, 0.5, ["a"])
    assert parse_record(Record, '{"count": 2, "rate": 1}', "d") == Record(2, 1.0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", "count: Field required"),
        ('{"count": "2"}', "count: .*integer"),
        ('{"count": true}', "count: .*integer"),
        ('{"count": 2.5}', "count: .*integer"),
        ('{"count": 2, "names": [1]}', r"names\.0: .*string"),
        ('{"count": 2, "more": 1}', "'more' is unknown"),
        ('{"count": NaN}', "NaN"),
        ("[2]", "not a JSON object"),
        ('{"count":' * 100_000, "deep"),
    ],
)
def test_what_is_not_a_record_is_refused(content: str, reason: str) -> None:
    with pytest.raises(CorruptFileError, match=f"trials.jsonl, line 2: .*{reason}"):
        parse_record(Record, content, "trials.jsonl, line 2")
