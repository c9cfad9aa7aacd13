import functools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.errors import InputError
from recurlm.rescoring.word_errors import MOST_WORDS, WordErrors, word_errors

WORDS = st.lists(st.sampled_from("abc"), max_size=6)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the cat sat", "the cat sat", (0, 0, 0)),
        ("the cat sat", "the dog sat", (1, 0, 0)),
        ("the cat sat", "the sat", (0, 1, 0)),
        ("the cat sat", "the fat cat sat", (0, 0, 1)),
        ("the cat sat", "", (0, 3, 0)),
        ("", "the cat", (0, 0, 2)),
        ("a b c d", "b c x d e", (0, 1, 2)),
        # two substitutions, or a deletion and an insertion that keep b right
        ("a b", "b c", (0, 1, 1)),
        ("a a a", "b", (1, 2, 0)),
    ],
)
def test_errors_by_hand(reference, hypothesis, expected):
    found = word_errors(reference.split(), hypothesis.split())
    assert (found.substitutions, found.deletions, found.insertions) == expected
    assert (found.total, found.words) == (sum(expected), len(reference.split()))


def fewest(reference: tuple[str, ...], hypothesis: tuple[str, ...]) -> tuple[int, int, int, int]:
    """Errors, substitutions, deletions, insertions: every alignment tried."""

    @functools.cache
    def from_here(i: int, j: int) -> tuple[int, int, int, int]:
        options = []
        if i < len(reference) and j < len(hypothesis):
            total, s, d, n = from_here(i + 1, j + 1)
            wrong = reference[i] != hypothesis[j]
            options.append((total + wrong, s + wrong, d, n))
        if i < len(reference):
            total, s, d, n = from_here(i + 1, j)
            options.append((total + 1, s, d + 1, n))
        if j < len(hypothesis):
            total, s, d, n = from_here(i, j + 1)
            options.append((total + 1, s, d, n + 1))
        return min(options, default=(0, 0, 0, 0))

    return from_here(0, 0)


@given(WORDS, WORDS)
def test_no_alignment_has_fewer_errors(reference, hypothesis):
    found = word_errors(reference, hypothesis)
    assert (found.total, found.substitutions, found.deletions, found.insertions) == fewest(
        tuple(reference), tuple(hypothesis)
    )


def test_a_rate_is_of_all_words():
    errors = WordErrors(1, 0, 2, 4) + WordErrors(0, 1, 0, 6)
    assert errors.rate == pytest.approx(4 / 10)
    assert str(errors) == "40.00 %, 4 errors in 10 words: 1 substituted, 1 deleted, 2 inserted"
    assert WordErrors().rate is None


def table(reference: list[str], hypothesis: list[str]) -> tuple[int, int]:
    """Errors and substitutions, by the whole table of Wagner and Fischer."""
    error = 1 << 32
    above = [error * column for column in range(len(hypothesis) + 1)]
    for number, word in enumerate(reference, 1):
        row = [error * number]
        for column, heard in enumerate(hypothesis):
            kept = above[column] if word == heard else above[column] + error + 1
            row.append(min(kept, above[column + 1] + error, row[column] + error))
        above = row
    return divmod(above[-1], error)


@pytest.mark.parametrize("words", [2, 5, 40])
def test_long_sequences_have_the_errors_that_the_whole_table_gives(words):
    generator = random.Random(words)
    for _ in range(40):
        one, other = ([f"w{generator.randrange(words)}" for _ in range(generator.randrange(60))] for _ in range(2))
        found = word_errors(one, other)
        assert (found.total, found.substitutions) == table(one, other)
        assert found.deletions - found.insertions == len(one) - len(other)


def test_words_that_hold_other_spaces_are_words():
    assert word_errors(["10\u00a0000", "men"], ["10", "000", "men"]).total == 2


def test_long_words_and_equal_hashes_are_told_apart():
    # hash(-1) equals hash(-2), and characters are numbers to some libraries
    assert word_errors(["a", "97", "\x00"], ["97", "a", "\x01"]).total == 3


def test_the_words_that_differ_have_a_limit(monkeypatch):
    monkeypatch.setattr("recurlm.rescoring.word_errors.MOST_WORDS", 3)
    same = ["the"] * 20
    assert word_errors(["a", *same, "b"], ["c", *same, "b"]).substitutions == 1
    assert word_errors(list("abc"), list("def")).substitutions == 3
    assert word_errors([], list("def")).insertions == 3
    with pytest.raises(InputError, match=r"of 5 words; word errors of more than 3 words.*\n.*RECURLM_LIMITS=10"):
        word_errors(list("abcde"), list("fghi"))


def test_the_limit_of_words_is_the_documented_one():
    assert MOST_WORDS == 10_000
