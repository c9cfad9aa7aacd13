"""Tables of stimuli: the scores of one column beside all other columns, a row for each word, region or sentence."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from recurlm.documents import json_text
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import finite
from recurlm.scoring.formats import Writer
from recurlm.scoring.reader_words import ReaderWord, reader_words
from recurlm.scoring.scores import LineScore
from recurlm.text.lines import quoted, words_of
from recurlm.text.tables import Row, Table, read_table
from recurlm.text.tokenization import Tokenization

Record = dict[str, Any]
ROW = "row"


@dataclass(frozen=True)
class Stimuli:
    """Which table is scored.

    column: the column of the sentences · kind: csv, tsv or jsonl · name: that of the file, in messages · regions: the
    column with a label for each word, whose scores are then summed over neighbors of one label · lines: whether a
    sentence, and not a word, is a row · as_json: whether rows are JSON objects rather than tab-separated.
    """

    column: str
    kind: str
    name: str
    regions: str | None = None
    lines: bool = False
    as_json: bool = False

    def __post_init__(self) -> None:
        if self.lines and self.regions is not None:
            raise UsageError("--format lines has a row for each sentence; drop it or --region-column")
        if self.regions == self.column:
            raise UsageError(
                f"--region-column {self.column}: the column of the sentences cannot hold their regions too"
            )


class _Item(NamedTuple):
    """A row of the table, its sentence's scores, and what the end of the sentence cost in bits."""

    row: Row
    words: list[ReaderWord]
    end: float | None
    labels: list[str]


class _Layout(NamedTuple):
    """The columns that are added to those of the table, what they hold, and how a signature calls them."""

    columns: tuple[str, ...]
    records: Callable[[_Item], Iterator[Record]]
    label: str


class StimulusWriter(Writer):
    """The rows of a table of stimuli with their scores; missing values are NA, or null in JSON.

    A row is kept only until its scores are written, so memory does not grow with the table.
    """

    needs_predictions = True

    def __init__(self, stimuli: Stimuli, tokenization: Tokenization) -> None:
        super().__init__()
        self.stimuli, self.tokenization = stimuli, tokenization
        self._layout = _LINES if stimuli.lines else _WORDS if stimuli.regions is None else _REGIONS
        self.label = f"|rows={self._layout.label}(split=spaces,pieces=summed,entropy=first-piece,eos=apart)"
        self._waiting: deque[Row] = deque()
        self._kept: tuple[str, ...] = ()
        self._head_is_written = stimuli.as_json

    def scored_parts(self, lines: Iterable[str]) -> Iterator[str]:
        table = read_table(lines, self.stimuli.kind, self.stimuli.name)
        self._kept = self._kept_columns(table)
        for row in table.rows:
            sentence = _sentence(row, self.stimuli.column)
            self._waiting.append(row)
            yield sentence

    def line(self, line: LineScore) -> str:
        row = self._waiting.popleft()
        words, end = reader_words(line, self.tokenization)
        item = _Item(row, words, end, self._labels(row, words))
        kept = {ROW: row.number} | {column: row.cells[column] for column in self._kept}
        records = (kept | record for record in self._layout.records(item))
        if self.stimuli.as_json:
            return "".join(map(_json_line, records))
        return self._head() + "".join(_tabbed(record.values()) for record in records)

    def place(self, number: int) -> str:
        """Where the sentence of this number stands in its file, for messages."""
        return self._waiting[number - self._waiting[0].number].place

    def _head(self) -> str:
        """The names of the columns, once; they are known when the table's own header has been read."""
        if self._head_is_written:
            return ""
        self._head_is_written = True
        return _tabbed((ROW, *self._kept, *self._layout.columns))

    def _kept_columns(self, table: Table) -> tuple[str, ...]:
        """The table's columns that stay in the output. Raises InputError where the output has the same name."""
        table.check_column(self.stimuli.column)
        if self.stimuli.regions is not None:
            table.check_column(self.stimuli.regions)
        replaced = (self.stimuli.regions,) if self.stimuli.lines else (self.stimuli.column, self.stimuli.regions)
        kept = tuple(column for column in table.columns if column not in replaced)
        for column in kept:
            if column in (ROW, *self._layout.columns):
                raise InputError(f"{table.place}: the output has a column {column!r} of its own; rename yours")
        return kept

    def _labels(self, row: Row, words: Sequence[ReaderWord]) -> list[str]:
        """The region of each word. Raises InputError where there are more or fewer labels than words."""
        if self.stimuli.regions is None:
            return []
        cell = row.cells[self.stimuli.regions]
        labels = words_of(cell) if isinstance(cell, str) else list(map(str, cell)) if isinstance(cell, list) else []
        if len(labels) != len(words):
            raise InputError(
                f"{row.place}: {self.stimuli.regions!r} has {len(labels)} labels "
                f"and {self.stimuli.column!r} {len(words)} words; write one label for each word, with spaces between"
            )
        return labels


def _sentence(row: Row, column: str) -> str:
    """The sentence of a row. Raises InputError where it is not one line of text."""
    sentence = row.cells[column]
    if not isinstance(sentence, str):
        raise InputError(f"{row.place}: {column!r} is {json_text(sentence)}, which is not a text")
    if not sentence.strip(" "):
        raise InputError(f"{row.place}: {column!r} is empty; write a sentence or remove the row")
    if "\n" in sentence or "\r" in sentence:
        raise InputError(f"{row.place}: {column!r} contains a line feed; a sentence is one line, so write a space")
    return sentence


def _by_word(item: _Item) -> Iterator[Record]:
    for position, word in enumerate(item.words, 1):
        yield {
            "position": position,
            "word": word.word,
            "pieces": word.pieces,
            "surprisal": word.surprisal,
            "entropy": word.entropy,
            "rank": word.rank,
            "oov": int(word.oov),
        }


def _by_region(item: _Item) -> Iterator[Record]:
    """One record for each run of words with one label."""
    pairs = zip(item.labels, item.words, strict=True)
    for position, (label, members) in enumerate(groupby(pairs, lambda pair: pair[0]), 1):
        words = [word for _, word in members]
        yield {
            "position": position,
            "region": label,
            "text": " ".join(word.word for word in words),
            **_sums(words),
        }


def _by_line(item: _Item) -> Iterator[Record]:
    sums = _sums(item.words)
    total, count = sums["surprisal"], sums["words"]
    yield sums | {"mean": None if total is None else total / count, "eos": item.end}


def _sums(words: Sequence[ReaderWord]) -> Record:
    """Counted words, their surprisal together, and the number of unknown words, counted or not."""
    counted = [word.surprisal for word in words if word.surprisal is not None]
    return {
        "words": len(counted),
        "surprisal": sum(counted) if counted else None,
        "oov": sum(word.oov for word in words),
    }


_WORDS = _Layout(("position", "word", "pieces", "surprisal", "entropy", "rank", "oov"), _by_word, "words")
_REGIONS = _Layout(("position", "region", "text", "words", "surprisal", "oov"), _by_region, "regions")
_LINES = _Layout(("words", "surprisal", "oov", "mean", "eos"), _by_line, "sentences")


def _json_line(record: Record) -> str:
    numbers = {key: finite(value) for key, value in record.items() if isinstance(value, float)}
    return json_text(record | numbers) + "\n"


def _tabbed(values: Iterable[Any]) -> str:
    return "\t".join(map(_cell, values)) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "NA"
    if isinstance(value, str):
        return quoted(value)
    return f"{value:.9g}" if isinstance(value, float) else quoted(json_text(value))
