"""Back-off n-gram models: probabilities of listed n-grams, and weights for backing off to a shorter context.

p(w | h) = p*(w | h) where the n-gram (h, w) is listed, else bow(h) p(w | h'). h' is the context h without its first
word, and bow(h) = 1 where h is not listed (Katz 1987). A sentence starts with the context ``<s>`` and ends with
``</s>``, which is ``<eos>`` in the rest of this program.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.text.recorded import LearnedText
from recurlm.text.vocabulary import EOS, EOS_ID, UNK, Vocabulary

SENTENCE_START, SENTENCE_END = "<s>", "</s>"
UNKNOWN_NAMES = (UNK, UNK.upper())

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """The n-grams of one order, as children of those of the order below.

    keys: sorted; the key of (h, w) is (row of h) * vocabulary size + id of w, and its index is the row of (h, w) ·
    log_probabilities: natural logs, NaN for an n-gram that is only the context of longer ones · back_offs: ln bow.
    """

    keys: Integers
    log_probabilities: Floats
    back_offs: Floats

    def rows(self, keys: Integers) -> Integers:
        """The rows of these keys; -1 for a key that is not listed."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


@dataclass(frozen=True)
class NGramTable:
    """N-grams of one order, in any order: ids (N, order), natural log-probabilities (N,), ln bow (N,)."""

    ids: Integers
    log_probabilities: Floats
    back_offs: Floats


@dataclass(frozen=True)
class NGramModel:
    """A back-off model.

    words: the unigrams, including ``<s>`` and ``</s>`` · levels: one for each order, from 1 · learned: the texts that
    the model was estimated from, as far as they are known.
    """

    words: tuple[str, ...]
    levels: tuple[Level, ...]
    learned: tuple[LearnedText, ...] = ()

    @classmethod
    def from_tables(cls, words: Sequence[str], tables: Sequence[NGramTable]) -> "NGramModel":
        """Makes a model from one table for each order. Raises InputError where an n-gram is listed twice."""
        while not len(tables[-1].ids):
            tables = tables[:-1]
        keys_of_tables = [table.ids[:, 0] for table in tables]
        levels: list[Level] = []
        while tables:
            keys = np.unique(np.concatenate(keys_of_tables))
            rows = [np.searchsorted(keys, each) for each in keys_of_tables]
            levels.append(_level(words, keys, rows[0], tables[0]))
            tables = tables[1:]
            keys_of_tables = [
                row * len(words) + table.ids[:, len(levels)] for row, table in zip(rows[1:], tables, strict=True)
            ]
        return cls(tuple(words), tuple(levels))

    @property
    def order(self) -> int:
        """Number of words in the longest n-gram."""
        return len(self.levels)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words as texts have them: ``</s>`` is called ``<eos>``; ``<s>`` is left out."""
        return Vocabulary((EOS, *(UNK if index == self._unknown else self.words[index] for index in self._places[1:])))

    @cached_property
    def _unknown(self) -> int | None:
        return next((self.words.index(name) for name in UNKNOWN_NAMES if name in self.words), None)

    @cached_property
    def _places(self) -> Integers:
        """The index in `words` of each token of `vocabulary`."""
        end = self.words.index(SENTENCE_END)
        special = (self.words.index(SENTENCE_START), end)
        return np.array([end, *(index for index in range(len(self.words)) if index not in special)], np.int64)

    def token_nats(self, ids: NDArray[np.integer[Any]]) -> Floats:
        """-ln p of each id of `vocabulary`; every sentence starts with ``<s>``. `inf` where the probability is zero."""
        start = self.words.index(SENTENCE_START)
        begins = np.concatenate([[0], np.flatnonzero(ids[:-1] == EOS_ID) + 1])
        stream = np.insert(self._places[ids], begins, start)
        is_start = stream == start
        rows = stream  # row of the current order's n-gram that ends at each token
        result: Floats = self.levels[0].log_probabilities[stream]
        for shorter, level in zip(self.levels, self.levels[1:], strict=False):
            contexts = np.where(is_start, -1, np.concatenate([[-1], rows[:-1]]))
            keys = np.where(contexts >= 0, contexts * len(self.words) + stream, -1)
            rows = level.rows(keys)
            listed = level.log_probabilities[rows]
            back_offs = np.where(contexts >= 0, shorter.back_offs[contexts], 0.0)
            result = np.where((rows >= 0) & ~np.isnan(listed), listed, back_offs + result)
        nats: Floats = -result[~is_start]
        return nats


def _level(words: Sequence[str], keys: Integers, rows: Integers, table: NGramTable) -> Level:
    listed, first = np.unique(rows, return_index=True)
    if len(listed) != len(rows):
        twice = np.setdiff1d(np.arange(len(rows)), first)[0]
        ngram = " ".join(words[index] for index in table.ids[twice])
        raise InputError(f"the {table.ids.shape[1]}-gram {ngram!r} is listed twice")
    log_probabilities, back_offs = np.full(len(keys), np.nan), np.zeros(len(keys))
    log_probabilities[rows], back_offs[rows] = table.log_probabilities, table.back_offs
    return Level(keys, log_probabilities, back_offs)
