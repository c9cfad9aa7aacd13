"""Word error rate: the fewest substitutions, deletions and insertions between what was said and what was heard.

The distance is Levenshtein's (1966), every error at the same cost. Where several alignments have equally few errors,
the one with the fewest substitutions counts, which keeps the most words right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ERROR = 1 << 32
"""An error's cost; a substitution costs one more, which only decides between alignments with as many errors."""


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
            f"{rate}, {self.total} errors in {self.words} words: "
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
    """What separates a hypothesis from its reference."""
    start, stop = _common_ends(reference, hypothesis)
    missed, heard = reference[start : len(reference) - stop], hypothesis[start : len(hypothesis) - stop]
    total, substitutions = divmod(_cost(missed, heard), ERROR)
    # the difference in length is that of deletions and insertions
    deletions = (total - substitutions + len(missed) - len(heard)) // 2
    return WordErrors(substitutions, deletions, total - substitutions - deletions, len(reference))


def _common_ends(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many words are the same at the beginning, and of the others at the end; some best alignment keeps them."""
    shorter = min(len(one), len(other))
    start = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    stop = next((at for at in range(shorter - start) if one[-1 - at] != other[-1 - at]), shorter - start)
    return start, stop


def _cost(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The lowest cost of an alignment, row by row of the table (Wagner and Fischer 1974)."""
    above = [ERROR * column for column in range(len(hypothesis) + 1)]
    for number, word in enumerate(reference, 1):
        row = [ERROR * number]
        for column, heard in enumerate(hypothesis):
            kept = above[column] if word == heard else above[column] + ERROR + 1
            row.append(min(kept, above[column + 1] + ERROR, row[column] + ERROR))
        above = row
    return above[-1]
