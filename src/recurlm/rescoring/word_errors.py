"""Word error rate: the fewest substitutions, deletions and insertions between what was said and what was heard.

The distance is Levenshtein's (1966), every error at the same cost. Where several alignments have equally few errors,
the one with the fewest substitutions counts, which keeps the most words right. The time grows with the product of the
two lengths between the words that both share at their ends, so those lengths have a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein

from recurlm.errors import InputError
from recurlm.files.limits import how_to_raise, raised
from recurlm.wording import counted

MOST_WORDS = 10_000
"""Words of a reference or a hypothesis, without those that both share at their ends."""


@dataclass(frozen=True)
class WordErrors:
    """Errors against references of so many words; sums of them are sums of their parts."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    words: int = 0

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors for each word of the references, above 1 where there are more errors; None without words."""
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
    """What separates a hypothesis from its reference. Raises InputError where one is longer than `MOST_WORDS`."""
    start, stop = _common_ends(reference, hypothesis)
    missed, heard = reference[start : len(reference) - stop], hypothesis[start : len(hypothesis) - stop]
    most = raised(MOST_WORDS)
    if max(len(missed), len(heard)) > most:
        raise InputError(
            f"a reference or hypothesis of {max(len(reference), len(hypothesis)):,} words; word errors of more than "
            f"{most:,} words are not counted{how_to_raise()}"
        )
    total, substitutions = _fewest(missed, heard)
    # the difference in length is that of deletions and insertions
    deletions = (total - substitutions + len(missed) - len(heard)) // 2
    return WordErrors(substitutions, deletions, total - substitutions - deletions, len(reference))


def _common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many words are the same at the beginning, and of the others at the end; some best alignment keeps them."""
    shorter = min(len(one), len(other))
    start = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    stop = next((at for at in range(shorter - start) if one[-1 - at] != other[-1 - at]), shorter - start)
    return start, stop


def _fewest(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int]:
    """Errors of the best alignment, and the substitutions among them."""
    # the library compares hashes, and small numbers are their own
    numbers: dict[str, int] = {}
    one, other = ([numbers.setdefault(word, len(numbers)) for word in words] for words in (reference, hypothesis))
    # a substitution costs one more than another error, which only decides between alignments with as many errors
    error = min(len(one), len(other)) + 1
    return divmod(Levenshtein.distance(one, other, weights=(error, error, error + 1)), error)
