"""What kind of text a user brings: tokenized, raw prose, or written without spaces; measured on its first megabyte."""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from recurlm.text.prose import UNSPACED
from recurlm.text.sources import BLOCK_BYTES, Text

Kind = Literal["tokenized", "raw", "unspaced"]

MOST_ATTACHED = 0.05
"""Share of words that end in punctuation from which a text is raw, unless more words are punctuation alone.

In Penn Treebank it is 2 %, in tinyshakespeare 23 %.
"""
MOST_UNSPACED = 0.3
"""Share of the letters in scripts without spaces from which longer words mean that the text is not cut into words."""
LONGEST_WORD = 5.0
"""Mean length of the words of segmented Chinese, Japanese or Thai at most, in characters."""
FEWEST_LINES, MOST_WORDS, FEWEST_DISTINCT, SHORTEST_STRING = 20, 1.05, 0.5, 6.0
"""Lines, words a line, share of distinct words and mean length from which each line is a string, such as SMILES."""
FEW_BLANK = 0.05
"""Share of blank lines from which the user is told how these count."""

SHORTEST_WRAPPED, LONGEST_WRAPPED, MOST_BROKEN = 50.0, 100, 0.5
"""Mean and largest length of lines, and share of sentences that go on in the next line, of paragraphs that an editor
broke into lines."""

_PUNCTUATION, _CLOSERS, _SENTENCE_ENDS = ",;:!?.…", "\"'”’“‘»«›‹)]", ".!?…:"


@dataclass(frozen=True)
class Traits:
    """Measures of the beginning of a text.

    lines: all of them · blank: those without a word · words: between spaces · attached: share of the words that end in
    punctuation · apart: share of those without a letter or digit · capitals: share of those that begin with a capital
    letter · unspaced: share of the letters in scripts without spaces · distinct: share of distinct words · length: mean
    length of a word in characters · longest: characters of the longest line · filled: mean length of the lines with a
    word · broken: share of the lines before another one that do not end a sentence.
    """

    lines: int
    blank: int
    words: int
    attached: float
    apart: float
    capitals: float
    unspaced: float
    distinct: float
    length: float
    longest: int
    filled: float
    broken: float

    @property
    def kind(self) -> Kind:
        """What the text seems to be."""
        if self.unspaced > MOST_UNSPACED:
            return "unspaced" if self.length > LONGEST_WORD else "tokenized"
        if self.holds_strings:
            return "unspaced"
        return "raw" if self.attached >= MOST_ATTACHED and self.attached > self.apart else "tokenized"

    @property
    def holds_strings(self) -> bool:
        """Whether each line is one long word of its own, such as a molecule in SMILES."""
        filled = self.lines - self.blank
        return (
            filled >= FEWEST_LINES
            and self.words <= MOST_WORDS * filled
            and self.distinct >= FEWEST_DISTINCT
            and self.length >= SHORTEST_STRING
        )

    @property
    def is_wrapped(self) -> bool:
        """Whether paragraphs of prose are broken into lines of about the same length."""
        short = self.filled >= SHORTEST_WRAPPED and self.longest <= LONGEST_WRAPPED
        return self.kind == "raw" and self.lines >= FEWEST_LINES and short and self.broken >= MOST_BROKEN

    @property
    def has_paragraphs(self) -> bool:
        """Whether so many lines are blank that they matter."""
        return self.blank >= max(1, FEW_BLANK * self.lines)


def traits_of(text: Text) -> Traits:
    """Measures the first megabyte of a text."""
    lines = next(text.blocks(BLOCK_BYTES), "")[:BLOCK_BYTES].removesuffix("\n").split("\n")
    words = Counter(itertools.chain.from_iterable(map(str.split, lines)))
    letters = Counter({letter: count for letter, count in Counter("".join(lines)).items() if letter.isalpha()})
    total = max(words.total(), 1)
    return Traits(
        len(lines),
        sum(not line.strip() for line in lines),
        words.total(),
        sum(count for word, count in words.items() if _ends_in_punctuation(word)) / total,
        sum(count for word, count in words.items() if not any(map(str.isalnum, word))) / total,
        sum(count for word, count in words.items() if word[0].isupper()) / total,
        sum(count for letter, count in letters.items() if UNSPACED.match(letter)) / max(letters.total(), 1),
        len(words) / total,
        sum(len(word) * count for word, count in words.items()) / total,
        max(map(len, lines)),
        *_line_shape(lines),
    )


def _line_shape(lines: list[str]) -> tuple[float, float]:
    """The mean length of the lines with a word, and the share of those before another one that end no sentence."""
    lengths = [len(line) for line in lines if line.strip()]
    before = [line.rstrip() for line, after in itertools.pairwise(lines) if line.strip() and after.strip()]
    broken = sum(line.rstrip(_CLOSERS)[-1:] not in set(_SENTENCE_ENDS) for line in before)
    return sum(lengths) / max(len(lengths), 1), broken / max(len(before), 1)


def _ends_in_punctuation(word: str) -> bool:
    """Whether punctuation is attached to the end of a word, as in `lord,` or `lord."`."""
    before = word.rstrip(_CLOSERS)
    return before[-1:] in set(_PUNCTUATION) and before.rstrip(_PUNCTUATION + _CLOSERS)[-1:].isalnum()
