"""Word error rate: the fewest substitutions, deletions, and insertions between reference and hypothesis.

The distance is Levenshtein's (1966); every error has the same cost. Of several alignments with the fewest errors, the
one with the fewest substitutions counts, which keeps the most words right. The time grows with the product of the two
lengths, without the words that both share at their ends, so these lengths have a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein

from recurlm.errors import InputError
from recurlm.files.limits import how_to_raise, raised
from recurlm.wording import counted

MOST_WORDS = 10_000
"""Most words of a reference or hypothesis, without the words that both share at their ends."""


@dataclass(frozen=True)
class WordErrors:
    """Numbers of errors, and of words in the references; adding two adds each number."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    @property
    def total(self) -> int:
        """Number of all errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per word of the references, which may exceed 1; None without words."""
        return self.total / self.words if self.words else None

    def __add__(self, other: "WordErrors") -> "WordErrors":
        return WordErrors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.words + other.words,
        )

    def __str__(self) -> str:
        rate = "no words" if self.rate is None else f"{100 * self.rate:.2f} %"
        return (
            f"{rate}, {counted(self.total, 'error')} in {counted(self.words, 'word')}: "
            f"{self.substitutions} substituted, {self.deletions} deleted, {self.insertions} inserted"
        )

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --json` prints."""
        return {
            "rate": self.rate,
            "errors": self.total,
            "substitutions": self.substitutions,
            "deletions": self.deletions,
            "insertions": self.insertions,
            "words": self.words,
        }


def word_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> WordErrors:
    """The errors of a hypothesis against its reference. Raises InputError where one is longer than `MOST_WORDS`."""
    start, stop = _common_ends(reference, hypothesis)
    missed, heard = reference[start : len(reference) - stop], hypothesis[start : len(hypothesis) - stop]
    most = raised(MOST_WORDS)
    if max(len(missed), len(heard)) > most:
        raise InputError(
            f"a reference or hypothesis of {max(len(reference), len(hypothesis)):,} words; word errors of more than "
            f"{most:,} words are not counted{how_to_raise()}"
        )
    total, substitutions = _fewest(missed, heard)
    # deletions minus insertions is the difference in length
    deletions = (total - substitutions + len(missed) - len(heard)) // 2
    return WordErrors(substitutions, deletions, total - substitutions - deletions, len(reference))


def _common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """Number of equal words at the start, and of the others at the end; some best alignment keeps them."""
    shorter = min(len(one), len(other))
    start = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    stop = next((at for at in range(shorter - start) if one[-1 - at] != other[-1 - at]), shorter - start)
    return start, stop


def _fewest(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """Number of errors of the best alignment, and of the substitutions among them."""
    # the library compares hashes; small numbers are their own hashes, so they cannot collide
    numbers: dict[str, int] = {}
    one, other = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (reference, hypothesis))
    # a substitution costs slightly more than other errors, which only breaks ties in the number of errors
    error = min(len(one), len(other)) + 1
    return divmod(Levenshtein.distance(one, other, weights=(error, error, error + 1)), error)
