"""Sources written by hand, and every mutant that they should have."""

import ast
from pathlib import Path

import pytest

from mutants import mutate
from mutants.mutate import mutants


def changes(source: str) -> list[tuple[str, str]]:
    return sorted((each.before, each.after) for each in mutants(source))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a + b", [("a + b", "(a - b)")]),
        ("a - b", [("a - b", "(a + b)")]),
        ("a % b", [("a % b", "(a * b)")]),
        ("a < b", [("a < b", "(a <= b)")]),
        ("a >= b", [("a >= b", "(a > b)")]),
        ("a < b < c", [("a < b < c", "(a <= b < c)")]),
        ("a is b", [("a is b", "(a is not b)")]),
        ("a not in b", [("a not in b", "(a in b)")]),
        ("a and b and c", [("a and b and c", "(a or b or c)")]),
        ("not a", [("not a", "(a)")]),
        ("-a", [("-a", "(a)")]),
        ("a if b else c", [("a if b else c", "(a if not b else c)")]),
        ("a = 3", [("3", "4")]),
        ("a = 0.0", [("0.0", "1.0")]),
        ("a = 1.5", [("1.5", "3.0")]),
        ("a = True", [("True", "False")]),
        ("a = 'words'", []),
        ("a.b = c", [("a.b = c", "pass")]),
        ("a[b] = c", [("a[b] = c", "pass")]),
        ("a += b", [("a += b", "pass")]),
        ("tick(a)", [("tick(a)", "pass")]),
        ("a = tick(b)", []),
        ("for a in b:\n    break", [("break", "continue")]),
        ("for a in b:\n    continue", [("continue", "break")]),
        ("a = (b + 1) * c", [("(b + 1) * c", "((b + 1) / c)"), ("1", "2"), ("b + 1", "(b - 1)")]),
    ],
)
def test_every_fault_of_a_kind_is_made(source: str, expected: list[tuple[str, str]]) -> None:
    assert changes(source) == sorted(expected)


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "from a import b",
        "if TYPE_CHECKING:\n    tick(1)",
        "a: Literal[1]",
        "def f(a: Literal[1]) -> Literal[2]:\n    return a",
        "@cache(1)\ndef f():\n    return a",
        "@dataclass(frozen=True)\nclass A:\n    b = c",
        "class A(Protocol):\n    def f(self, b: int = 1) -> int: ...",
        "raise E(a + 1)",
        "assert a + 1",
        "a = f'{b + 1}'",
        "a = zip(b, c, strict=True)",
        "_ROWS_AT_ONCE = 1 << 20",
        "CHUNK_BYTES = 24",
        "STREAM_CHUNK = 512",
        "STEPS_AT_ONCE, TOKENS_AT_ONCE = 4096, 1 << 18",
    ],
)
def test_what_changes_no_right_program_stays(source: str) -> None:
    assert changes(source) == []


@pytest.mark.parametrize("name", ["UNBLOCKED", "MOST_WORDS", "budget", "self.chunk"])
def test_other_numbers_are_changed(name: str) -> None:
    assert ("7", "8") in changes(f"{name} = 7")
    assert ("7", "8") in changes(f"CHUNK, {name} = 3, 7")


def test_a_zip_of_lists_that_differ_in_length_stays_so() -> None:
    assert changes("a = zip(b, c, strict=False)") == [("False", "True")]


def test_the_fault_stands_in_its_place() -> None:
    source = "a = 'é'; b = 2\nif a:\n    c = 'ü' + a  # why\n"
    assert [(each.line, each.source(source)) for each in mutants(source)] == [
        (1, source.replace("2", "3")),
        (3, source.replace("'ü' + a", "('ü' - a)")),
    ]


def test_every_mutant_is_a_program() -> None:
    source = Path(mutate.__file__).read_text("utf-8")
    for mutant in mutants(source):
        assert ast.dump(ast.parse(mutant.source(source))) != ast.dump(ast.parse(source))
