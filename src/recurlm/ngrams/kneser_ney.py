"""Interpolated modified Kneser-Ney: n-gram models estimated from counts (Chen and Goodman 1998, section 3.1).

p(w | h) = (c(h w) - D(c(h w))) / c(h) + gamma(h) p(w | h'), down to the uniform distribution over the vocabulary.
At the highest order and for n-grams that start with ``<s>``, c counts occurrences; elsewhere it counts the different
words that occur before the n-gram (Kneser and Ney 1995).
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.ngrams.model import SENTENCE_END, SENTENCE_START, Floats, Integers, Level, NGramModel
from recurlm.text.codec import Codec, closed_blocks
from recurlm.text.recorded import LearnedText
from recurlm.text.sources import Text
from recurlm.text.tokenization import LINE_FEED, Words
from recurlm.text.vocabulary import EOS_ID, Vocabulary

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts for a text that is too small or too regular to estimate them."""


@dataclass(frozen=True)
class Discounts:
    """The discounts of counts of one, two, and three or more, at one order.

    counts_of_counts: number of n-grams with each count from one to four · estimated: whether the discounts follow from
    Chen and Goodman's equation 17; otherwise they are `FALLBACK`.
    """

    values: tuple[float, float, float]
    counts_of_counts: tuple[int, int, int, int]
    estimated: bool

    @classmethod
    def from_counts(cls, counts: Integers) -> "Discounts":
        """Discounts for n-grams with these counts."""
        n1, n2, n3, n4 = (int((counts == count).sum()) for count in (1, 2, 3, 4))
        found = (n1, n2, n3, n4)
        if not (n1 and n2 and n3):
            return cls(FALLBACK, found, False)
        share = n1 / (n1 + 2 * n2)
        values = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
        # no count may become negative, and each must leave some probability to the shorter context
        estimated = all(0 < value <= count for count, value in enumerate(values, 1))
        return cls(values if estimated else FALLBACK, found, estimated)

    def of(self, counts: Integers) -> Floats:
        """The discount of each count; that of a zero count is zero."""
        return np.array([0.0, *self.values])[np.minimum(counts, 3)]

    def to_json(self) -> dict[str, Any]:
        """An entry of what `ngram --json` prints."""
        return {
            "discounts": list(self.values),
            "counts_of_counts": list(self.counts_of_counts),
            "estimated": self.estimated,
        }


@dataclass(frozen=True)
class Counts:
    """The n-grams of one order and how often each occurs; keys as in `Level`.

    suffixes: row of each n-gram without its first word, one order lower · at_start: whether its first word is ``<s>``.
    """

    keys: Integers
    occurrences: Integers
    suffixes: Integers
    at_start: NDArray[np.bool_]


def text_codec(text: Text) -> Codec:
    """A codec for the words of a text, in order of appearance; it has ``<unk>`` only if the text does."""
    tokenization = Words()
    counts = dict.fromkeys(token for block in closed_blocks(text) for token in tokenization.split(block))
    counts.pop(LINE_FEED, None)
    return Codec(tokenization, Vocabulary.build(dict.fromkeys(counts, 1), order="appearance", unknown=False))


def kneser_ney(text: Text, codec: Codec, order: int) -> tuple[NGramModel, list[Discounts]]:
    """Estimates a model of this order from a text under a vocabulary; also returns the discounts of each order.

    Raises InputError for a vocabulary with tokens that an ARPA file cannot hold, where every sentence is too short for
    the order, and as `Codec.encode` does.
    """
    tokens = codec.vocabulary.tokens
    for token in tokens:
        if token in (SENTENCE_START, SENTENCE_END) or set(token) & set(" \t\r\n"):
            raise InputError(f"the token {token!r} does not fit into an ARPA file; n-grams need words")
    words = (SENTENCE_END, *tokens[EOS_ID + 1 :], SENTENCE_START)
    encoded = codec.encode(text)
    longest = int(np.diff(encoded.ends, prepend=0).max()) + 1
    if order > longest:
        raise InputError(f"{text.name}: its longest sentence has no n-gram of order {order}; use at most {longest}")
    model, discounts = _estimated(words, _counted(encoded.ids.astype(np.int64), words, order))
    return replace(model, learned=(LearnedText.of(text),)), discounts


def _counted(ids: Integers, words: tuple[str, ...], order: int) -> list[Counts]:
    """Counts the n-grams of orders 1 to `order`; ids have ``<eos>`` after each sentence and no ``<s>``."""
    start = len(words) - 1
    begins = np.concatenate([[0], np.flatnonzero(ids[:-1] == EOS_ID) + 1])
    stream = np.insert(ids, begins, start)
    every = np.arange(len(words))
    levels = [Counts(every, np.bincount(ids, minlength=len(words)), every, every == start)]
    rows = stream  # row of the current order's n-gram that ends at each token, -1 where a sentence is too short
    for _ in range(1, order):
        before = np.where(stream == start, -1, np.concatenate([[-1], rows[:-1]]))
        ends = np.flatnonzero(before >= 0)
        keys, first, inverse, occurrences = np.unique(
            before[ends] * len(words) + stream[ends], return_index=True, return_inverse=True, return_counts=True
        )
        at_start = levels[-1].at_start[keys // len(words)]
        levels.append(Counts(keys, occurrences, rows[ends][first], at_start))
        rows = np.full_like(rows, -1)
        rows[ends] = inverse
    return levels


def _estimated(words: tuple[str, ...], counted: list[Counts]) -> tuple[NGramModel, list[Discounts]]:
    discounts, logprobs, back_offs = [], [], []
    lower = np.append(np.full(len(words) - 1, 1 / (len(words) - 1)), 0.0)  # <s> never follows a word
    size = 1
    for counts, longer in zip(counted, [*counted[1:], None], strict=True):
        values = _adjusted(counts, longer)
        discounts.append(Discounts.from_counts(values))
        taken = discounts[-1].of(values)
        contexts = counts.keys // len(words)
        totals = np.bincount(contexts, values, size)
        seen = totals > 0
        weights = np.divide(np.bincount(contexts, taken, size), totals, out=np.ones(size), where=seen)
        lower = (values - taken) / totals[contexts] + weights[contexts] * lower[counts.suffixes]
        with np.errstate(divide="ignore"):
            logprobs.append(np.log(lower))
        back_offs.append(np.log(weights))
        size = len(counts.keys)
    back_offs = [*back_offs[1:], np.zeros(size)]
    keys = [counts.keys for counts in counted]
    return NGramModel(words, tuple(map(Level, keys, logprobs, back_offs))), discounts


def _adjusted(counts: Counts, longer: Counts | None) -> Integers:
    """The counts c: occurrences at the highest order and after ``<s>``, else different words before the n-gram."""
    if longer is None:
        return counts.occurrences
    before = np.bincount(longer.suffixes, minlength=len(counts.keys))
    return np.where(counts.at_start, counts.occurrences, before)
