import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm.evaluation.word_errors import WordErrors, word_errors

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
