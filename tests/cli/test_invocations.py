"""Every fixed invocation prints and writes what it did when it was recorded.

After a message was reworded on purpose: `PYTHONPATH=src:tests python -m cli.record`, then read the difference in git.
"""

import difflib
import itertools
import re

import pytest

from cli.invocations import INVOCATIONS
from cli.record import RECORDED, records

NUMBER = re.compile(r"(?<![\w.])([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w.]*\w)")
TOLERANCE = 1e-3
"""Relative: processors differ in the last digits of a float32."""


def same_number(recorded: str, now: str) -> bool:
    """Whether two numbers differ by the tolerance, or by one in the last digit printed, or, if whole, not at all."""
    if recorded == now:
        return True
    if not any(sign in recorded + now for sign in ".e"):
        return False
    first, second = (float(number.replace(",", "")) for number in (recorded, now))
    return abs(first - second) <= max(TOLERANCE * abs(first), 1.01 * min(map(last_digit, (recorded, now))))


def last_digit(number: str) -> float:
    """What one in the last digit of a printed number is worth."""
    mantissa, _, exponent = number.partition("e")
    return float(f"1e{int(exponent or 0) - len(mantissa.partition('.')[2])}")


def same_line(recorded: str, now: str) -> bool:
    """Whether two lines agree: their words exactly, their numbers within the tolerance."""
    parts, others = NUMBER.split(recorded), NUMBER.split(now)
    if len(parts) != len(others):
        return False
    agree = (same_number if index % 2 else str.__eq__ for index in itertools.count())
    return all(same(part, other) for same, part, other in zip(agree, parts, others, strict=False))


def difference(recorded: str, now: str) -> str:
    """The lines that do not agree, as `diff -u` shows them; empty where all agree."""
    before, after = recorded.split("\n"), now.split("\n")
    if len(before) == len(after):
        after = [old if same_line(old, new) else new for old, new in zip(before, after, strict=True)]
    return "\n".join(difflib.unified_diff(before, after, "recorded", "now", lineterm="", n=1))


def test_every_fixed_invocation_prints_and_writes_what_was_recorded() -> None:
    pytest.importorskip("optuna")
    problems = []
    for invocation, record in records(portable=True):
        recorded = (RECORDED / f"{invocation.name}.txt").read_bytes().decode()
        assert f"--- exit code {invocation.code}\n" in recorded, invocation.name
        if changed := difference(recorded, record):
            problems.append(f"{invocation.name}:\n{changed}")
    assert not problems, "\n\n".join(problems)


def test_each_recorded_file_belongs_to_an_invocation_of_its_own_name() -> None:
    names = [invocation.name for invocation in INVOCATIONS]
    assert len(set(names)) == len(names)
    assert {path.name for path in RECORDED.iterdir()} == {f"{name}.txt" for name in names}


@pytest.mark.parametrize(
    ("recorded", "now", "agree"),
    [
        ("perplexity 14.693", "perplexity 14.694", True),
        ("perplexity 14.693", "perplexity 14.793", False),
        ("perplexity 14.693", "Perplexity 14.693", False),
        ("p 0.0312", "p 0.0313", True),
        ("p 0.0312", "p 0.0314", False),
        ("step 5", "step 6", False),
        ("1,000,000 tokens", "1,000,001 tokens", False),
        ("loss -1.5", "loss 1.5", False),
        ("norm 1.2345e-05", "norm 1.2346e-05", True),
        ("norm 1.2345e-05", "norm 1.2445e-05", False),
        ("text=sha256:12345678", "text=sha256:12345679", False),
        ("text=sha256:1e345678", "text=sha256:1e345679", False),
        ("version 1.2.3", "version 1.2.4", False),
        ("[0.5, 1.0]", "[0.5]", False),
        ('{"loss": 2.0}', '{"loss": 2}', True),
        ('{"loss": 0.0}', '{"loss": null}', False),
    ],
)
def test_words_are_compared_exactly_and_numbers_within_a_thousandth(recorded: str, now: str, agree: bool) -> None:
    assert same_line(recorded, now) is agree
    assert bool(difference(recorded, now)) is not agree


def test_a_line_more_or_less_is_a_difference() -> None:
    assert difference("one\ntwo\n", "one\n")
    assert difference("one\n", "one")
    assert not difference("one 1.0000\ntwo\n", "one 1.0001\ntwo\n")
