import pytest

from recurlm.documents import DEEPEST, parse_json, parse_json_object, parse_toml
from recurlm.errors import CorruptFileError, InputError


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_a_document_is_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, "\\u00e9", null]}', "d") == {"a": [1, 2.5, "\u00e9", None]}
    assert parse_toml(b'a = 1\n[b]\nc = "\xc3\xa9"\n', "d") == {"a": 1, "b": {"c": "\u00e9"}}


def test_the_deepest_document_is_read_and_one_deeper_is_not() -> None:
    assert parse_json(nested(DEEPEST), "d")
    with pytest.raises(CorruptFileError, match="deep inside each other"):
        parse_json(nested(DEEPEST + 1), "d")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (nested(100_000), "deep inside each other"),
        ('{"a":' * 100_000, "deep inside each other"),
        ("7" * 5_000, "more than 400 digits"),
        ("7" * 401, "more than 400 digits"),
        ("1e400", "not a finite number"),
        ("[NaN]", "NaN"),
        ("-Infinity", "-Infinity"),
        ('{"a": 1, "b": {}, "a": 2}', "'a' stands twice"),
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
        (f"a = {nested(100_000)}", "deep inside each other"),
        (f"a = {nested(DEEPEST + 1)}", "deep inside each other"),
        (".".join("a" * 100) + " = 1", "deep inside each other"),
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
