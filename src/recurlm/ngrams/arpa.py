r"""ARPA files: back-off n-gram models as text, the format of SRILM, KenLM and others.

The head, ``\data\``, has the number of n-grams of each order. A section for each order follows, ``\1-grams:`` and so
on, with one n-gram per line: log10 of its probability, its words, and log10 of its back-off weight (0 where omitted).
``\end\`` ends the file. -99 stands for the logarithm of zero. A file written here starts with a comment, which other
programs skip. It names the texts that the model was estimated from, so that perplexities on them can be marked.
"""

import gzip
import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from io import BufferedRandom, BufferedReader, BufferedWriter
from pathlib import Path

import numpy as np

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import new_content, opened
from recurlm.files.limits import LONGEST_ENTRY, how_to_raise, raised
from recurlm.files.streams import gunzipped, raw_lines
from recurlm.ngrams.model import SENTENCE_END, SENTENCE_START, Floats, NGramModel, NGramTable
from recurlm.text.lines import decoded_lines, fields_of
from recurlm.text.recorded import LearnedText
from recurlm.text.vocabulary import EOS
from recurlm.version import VERSION

LOG_ZERO = -99.0
LARGEST_WEIGHT = 99.0
"""Largest log10 of a back-off weight; where probabilities sum to one, weights are far smaller."""
COMMENT = "# estimated by recurlm from "
"""Other programs skip this line: KenLM skips lines before the head that start with #, SRILM skips all of them."""
NEPERS = math.log(10)
HIGHEST_ORDER = 32
MOST_NGRAMS = 500_000_000
"""Most n-grams of one order."""
SHORTEST_LINE = 4
"""Least bytes of an n-gram in a file: a digit, a separator, a letter, and the line feed."""


def read_arpa(path: Path) -> NGramModel:
    """Reads the model of an ARPA file, also of a ``.gz`` file.

    Raises InputError where the file does not exist, CorruptFileError with file and line where it breaks the format.
    """
    with opened(path, pipes=True) as file:
        return _Reader(path, file).model()


class _Reader:
    """Reads one file and keeps the number of the current line."""

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self.path = path
        self.number = 0
        self.ids: dict[str, int] = {}
        self.learned: tuple[LearnedText, ...] = ()
        packed = path.suffix == ".gz"
        self._size = None if packed else os.fstat(file.fileno()).st_size or None
        raw = raw_lines(
            gunzipped(file, str(path)) if packed else file, str(path), LONGEST_ENTRY, error=CorruptFileError
        )
        self._lines = self._counted(decoded_lines(raw, str(path), error=CorruptFileError))

    def model(self) -> NGramModel:
        counts = self._counts()
        tables = [self._table(order, count, len(counts)) for order, count in enumerate(counts, 1)]
        for name in (SENTENCE_START, SENTENCE_END):
            if name not in self.ids:
                raise CorruptFileError(f"{self.path}: its 1-grams lack {name}, so no sentence can be measured")
        try:
            return replace(NGramModel.from_tables(tuple(self.ids), tables), learned=self.learned)
        except InputError as error:
            raise CorruptFileError(f"{self.path}: {error}") from error

    def _counted(self, lines: Iterator[str]) -> Iterator[str]:
        for self.number, line in enumerate(lines, 1):
            if line:
                yield line

    def _error(self, reason: str) -> CorruptFileError:
        return CorruptFileError(f"{self.path}, line {self.number}: {reason}")

    def _filled_line(self) -> str:
        for line in self._lines:
            if filled := line.strip(" \t"):
                return filled
        raise self._error(r"the file ends before \end\; download or estimate it again")

    def _counts(self) -> list[int]:
        """The numbers of n-grams by order, from the head; also reads the title of the first section."""
        if not any(self._is_data(line) for line in self._lines):
            raise CorruptFileError(f"{self.path}: not an ARPA file (no line \\data\\)")
        counts: list[int] = []
        while match := re.fullmatch(r"ngram[ \t]+([0-9]+)[ \t]*=[ \t]*([0-9]{1,18})", line := self._filled_line()):
            if match[1] != str(len(counts) + 1):
                raise self._error(f"the count of {len(counts) + 1}-grams is expected here")
            counts.append(int(match[2]))
            self._check_count(counts)
        if not counts:
            raise self._error("a count such as 'ngram 1=5000' is expected here")
        self._expect(line, "\\1-grams:")
        return counts

    def _is_data(self, line: str) -> bool:
        """Whether the head starts at this line; keeps the comment before it."""
        if line.startswith(COMMENT):
            place = f"{self.path}, line {self.number}"
            learned = parse_json_object(line.removeprefix(COMMENT), place).get("learned")
            if not isinstance(learned, list):
                raise self._error("the comment does not name the texts that the model was estimated from")
            self.learned = tuple(LearnedText.from_json(value, place) for value in learned)
        return line.strip(" \t") == "\\data\\"

    def _check_count(self, counts: list[int]) -> None:
        if len(counts) > HIGHEST_ORDER:
            raise self._error(f"n-grams of more than {HIGHEST_ORDER} words")
        if self._size is not None and counts[-1] * SHORTEST_LINE > self._size:
            raise self._error(f"the head announces {counts[-1]:,} n-grams, more than {self._size:,} bytes can hold")
        if counts[-1] > raised(MOST_NGRAMS):
            raise self._error(f"more than {raised(MOST_NGRAMS):,} n-grams of one order, the limit{how_to_raise()}")

    def _table(self, order: int, count: int, highest: int) -> NGramTable:
        ids: list[int] = []
        values: list[float] = []
        for _ in range(count):
            fields = fields_of(self._filled_line())
            if len(fields) not in (order + 1, order + 2):
                raise self._error(f"one of {count:,} {order}-grams is expected here, with its log10 probability")
            if order == 1:
                self._add_word(fields[1])
            try:
                ids += [self.ids[word] for word in fields[1 : order + 1]]
            except KeyError as error:
                raise self._error(f"the word {error.args[0]!r} is not among the 1-grams") from error
            values += self._values(fields[0], fields[order + 1] if len(fields) > order + 1 else "0")
        self._expect(self._filled_line(), f"\\{order + 1}-grams:" if order < highest else "\\end\\")
        probabilities, back_offs = (_nats(column) for column in np.array(values).reshape(-1, 2).T)
        return NGramTable(np.array(ids, np.int64).reshape(-1, order), probabilities, back_offs)

    def _add_word(self, word: str) -> None:
        if word == EOS:
            raise self._error(
                f"the word {EOS} is among the 1-grams; here {EOS} is the end of a sentence, which ARPA files call "
                f"{SENTENCE_END}: remove {EOS} from the text and estimate again"
            )
        self.ids.setdefault(word, len(self.ids))

    def _values(self, probability: str, back_off: str) -> tuple[float, float]:
        try:
            values = float(probability), float(back_off)
        except ValueError as error:
            raise self._error(f"{probability!r} and {back_off!r} should be log10 values") from error
        if not values[0] <= 0 or not values[1] <= LARGEST_WEIGHT or "_" in probability or "_" in back_off:
            raise self._error(f"{probability} is not the log10 of a probability, or {back_off} not that of a weight")
        return values

    def _expect(self, line: str, expected: str) -> None:
        if line != expected:
            raise self._error(f"{expected} is expected here; the head gives a different number of n-grams")


def write_arpa(model: NGramModel, path: Path) -> None:
    """Writes a model completely or not at all; compressed if the name ends in ``.gz``."""
    with new_content(path) as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as compressed:
                _write(model, compressed)
        else:
            _write(model, file)


def _write(model: NGramModel, file: BufferedRandom | BufferedWriter | gzip.GzipFile) -> None:
    listed = [~np.isnan(level.log_probabilities) for level in model.levels]
    head = [f"ngram {order}={marks.sum()}" for order, marks in enumerate(listed, 1)]
    if model.learned:
        comment = {"recurlm": VERSION, "learned": [each.to_json() for each in model.learned]}
        file.write(f"{COMMENT}{json.dumps(comment)}\n\n".encode())
    file.write("\n".join(["\\data\\", *head, ""]).encode())
    ngrams = [""]
    for order, (level, marks) in enumerate(zip(model.levels, listed, strict=True), 1):
        file.write(f"\n\\{order}-grams:\n".encode())
        contexts, words = np.divmod(level.keys, len(model.words))
        ngrams = [
            f"{ngrams[context]} {model.words[word]}" if order > 1 else model.words[word]
            for context, word in zip(contexts.tolist(), words.tolist(), strict=True)
        ]
        columns = (_log10(level.log_probabilities), _log10(level.back_offs), marks.tolist())
        for ngram, probability, back_off, is_listed in zip(ngrams, *columns, strict=True):
            if is_listed:
                weight = f"\t{back_off:.7g}" if back_off else ""
                file.write(f"{probability:.7g}\t{ngram}{weight}\n".encode())
    file.write(b"\n\\end\\\n")


def _nats(log10: Floats) -> Floats:
    return np.where(log10 <= LOG_ZERO, -np.inf, np.maximum(log10, LOG_ZERO) * NEPERS)


def _log10(nats: Floats) -> list[float]:
    values: list[float] = np.maximum(nats / NEPERS, LOG_ZERO).tolist()
    return values
