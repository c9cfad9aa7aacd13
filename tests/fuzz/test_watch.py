"""The fuzzer notices what it is there for."""

import contextlib
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fuzz.mutate import LARGEST, json_document
from fuzz.reader import Reader
from fuzz.readers import READERS
from fuzz.run import case
from fuzz.watch import LARGEST_ALLOCATION, LARGEST_GROWTH, Watch
from recurlm.errors import InputError, RecurlmError

KEPT: list[bytes] = []


def refused(content: bytes, folder: Path) -> None:
    raise InputError("x.txt, line 1: is not a text; name another")


def outcome(check: Callable[[bytes, Path], None], folder: Path) -> str | None:
    with Watch(folder) as watch:
        reader = Reader("made", list, check)
        watch.warm_up(reader)
        return watch.finding(reader, b"x")


def raising(error: BaseException) -> Callable[[bytes, Path], None]:
    def check(content: bytes, folder: Path) -> None:
        raise error

    return check


def hang(content: bytes, folder: Path) -> None:
    while True:
        with contextlib.suppress(Exception):
            sum(range(1000))


def wait(content: bytes, folder: Path) -> None:
    time.sleep(60)


def swallow(content: bytes, folder: Path) -> None:
    with contextlib.suppress(BaseException):
        hang(content, folder)


def allocate(content: bytes, folder: Path) -> None:
    bytearray(2 * LARGEST_ALLOCATION)


def grow(content: bytes, folder: Path) -> None:
    KEPT.append(b"x" * (2 * LARGEST_GROWTH))
    KEPT.clear()


class Panic(BaseException):
    """As a library in Rust raises it."""


def test_a_right_result_and_a_plain_error_are_no_findings(tmp_path: Path) -> None:
    assert outcome(lambda content, folder: None, tmp_path) is None
    assert outcome(refused, tmp_path) is None


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (raising(ValueError("no")), "ValueError"),
        (raising(AssertionError("another text")), "AssertionError"),
        (raising(Panic("index out of bounds")), "Panic"),
        (raising(RecurlmError("neither input nor file")), "RecurlmError"),
        (raising(InputError("")), "Message: empty"),
        (lambda content, folder: warnings.warn("careful", stacklevel=1), "UserWarning"),
        (hang, "TooSlow"),
        (swallow, "TooSlow"),
        (allocate, "MemoryError"),
        (grow, "Memory: grew by 12"),
    ],
)
def test_what_is_wrong_is_found(
    check: Callable[[bytes, Path], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzz.watch.SECONDS", 0.2)
    found = outcome(check, tmp_path)
    assert found is not None
    assert found.startswith(kind)


def test_a_reader_that_waits_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.watch.BLOCKED_SECONDS", 0.1)
    assert outcome(wait, tmp_path) is not None


@pytest.mark.parametrize("name", ["recipe", "weights", "lattice-gz"])
def test_inputs_follow_from_seed_and_number_and_are_small(name: str) -> None:
    reader = READERS[name]
    inputs = [case(reader, 1, number) for number in range(50)]
    assert inputs == [case(reader, 1, number) for number in range(50)]
    assert inputs != [case(reader, 2, number) for number in range(50)]
    assert len(set(inputs)) > 40
    assert max(map(len, inputs)) <= LARGEST


def test_changes_of_a_document_keep_it_readable_more_often_than_not() -> None:
    for number in range(100):
        json.loads(json_document(b'{"a": [1, {"b": "x"}], "c": null}', Random(number)))
