"""Scores as text: one writer for each format, which turns the scores of a line into lines of output."""

import json
import math
from collections.abc import Iterable, Iterator

from recurlm.errors import InputError, UsageError
from recurlm.scoring.scores import LineScore, TokenScore, Totals
from recurlm.text.lines import first_field, quoted
from recurlm.text.vocabulary import EOS

LOG_BASES = {"e": 1.0, "2": 1 / math.log(2), "10": 1 / math.log(10)}
"""For each base, the factor of a natural logarithm."""


class Writer:
    """Readable text: the line's total, each token, mean, and perplexity.

    ``?`` marks unknown tokens, ``-`` stands for the log-probability of tokens that are not counted.
    """

    needs_predictions = False
    label = ""
    """What a signature adds about the rows."""

    def __init__(self, log_base: str = "e") -> None:
        if log_base not in LOG_BASES:
            raise UsageError(f"log base {log_base!r}: must be e, 2 or 10")
        self.scale = LOG_BASES[log_base]

    def scored_parts(self, lines: Iterable[str]) -> Iterator[str]:
        """The part of each line that is scored."""
        yield from lines

    def place(self, number: int) -> str:
        """Where the scored part of this number stands, for messages."""
        return f"line {number}"

    def head(self) -> str:
        """The text before the first line, possibly empty."""
        return ""

    def line(self, line: LineScore) -> str:
        """The output of one line."""
        tokens = "  ".join(f"{t.token}{'?' * t.oov} {self.number(t.logprob, '.3f', '-')}" for t in line.tokens)
        average = (
            "" if line.perplexity is None else f"\tmean {self.number(line.mean, '.3f')}  ppl {line.perplexity:.3f}"
        )
        return f"{line.logprob * self.scale:.4f}\t{tokens}{average}\n"

    def foot(self, totals: Totals, name: str, signature: str) -> str:
        """The text after the last line, possibly empty; `name` is that of the scored text."""
        return ""

    def number(self, logprob: float | None, form: str = ".9g", absent: str = "NA") -> str:
        """Formats a log-probability in the base of this writer."""
        return absent if logprob is None else format(logprob * self.scale, form)


class JSONLines(Writer):
    """One JSON object per line, as docs/commands.md describes it."""

    def line(self, line: LineScore) -> str:
        return json.dumps(line.to_json(self.scale), ensure_ascii=False, allow_nan=False) + "\n"


class Table(Writer):
    """One row per token with tabs between columns, for R's read.delim and pandas.

    A token that contains a quote, a tab, or an end of line is quoted and its quotes are doubled. NA is a missing value.
    """

    needs_predictions = True
    COLUMNS = ("line", "position", "token", "id", "logprob", "surprisal", "entropy", "rank", "oov")

    def head(self) -> str:
        return "\t".join(self.COLUMNS) + "\n"

    def line(self, line: LineScore) -> str:
        rows = (
            (str(line.line), str(position), *self._cells(token))
            for position, token in enumerate(line.tokens, line.given + 1)
        )
        return "".join("\t".join(row) + "\n" for row in rows)

    def _cells(self, token: TokenScore) -> tuple[str, ...]:
        bits = LOG_BASES["2"]
        return (
            quoted(token.token),
            "NA" if token.id is None else str(token.id),
            self.number(token.logprob),
            "NA" if token.logprob is None else f"{-token.logprob * bits:.9g}",
            "NA" if token.prediction is None else f"{token.prediction.entropy * bits:.9g}",
            "NA" if token.prediction is None else str(token.prediction.rank),
            str(int(token.oov)),
        )


class LineTable(Writer):
    """One row per line with tabs between columns, quoted as in `Table`; `tokens` is the number of counted tokens."""

    COLUMNS = ("line", "tokens", "oov", "logprob", "mean", "perplexity", "text")

    def head(self) -> str:
        return "\t".join(self.COLUMNS) + "\n"

    def line(self, line: LineScore) -> str:
        cells = (
            str(line.line),
            str(line.counted),
            str(sum(line.missing)),
            self.number(line.logprob),
            self.number(line.mean),
            "NA" if line.perplexity is None else f"{line.perplexity:.9g}",
            quoted(line.text),
        )
        return "\t".join(cells) + "\n"


class SRILM(Writer):
    """The layout of SRILM's ``ngram -debug 2 -ppl``, with logarithms to base 10.

    As with SRILM's ``-unk``, unknown words that count as ``<unk>`` are ordinary words; skipped ones are OOVs.
    """

    def __init__(self, log_base: str | None = None) -> None:
        if log_base not in (None, "10"):
            raise UsageError(f"log base {log_base}: SRILM's layout uses base 10; leave --log-base out")
        super().__init__("10")
        self.sentences = self.words = self.oovs = self.zeros = 0

    def line(self, line: LineScore) -> str:
        rows, before = [], "<s>"
        for place, token in enumerate(line.tokens):
            name = _srilm_name(token)
            dots = "..." if place + line.given else ""
            rows.append(f"\tp( {name} | {before} {dots}) \t= {self._probability(token)}\n")
            before = name
        tokens = line.tokens
        oovs = sum(token.logprob is None for token in tokens)
        zeros = sum(token.logprob == -math.inf for token in tokens)
        words = sum(token.token != EOS for token in tokens)
        sentences = int(bool(tokens))
        self.sentences, self.words = self.sentences + sentences, self.words + words
        self.oovs, self.zeros = self.oovs + oovs, self.zeros + zeros
        counts = self._counts(sentences, words, oovs, zeros, line.logprob)
        return f"{line.text}\n{''.join(rows)}{counts}\n"

    def foot(self, totals: Totals, name: str, signature: str) -> str:
        return f"file {name}: " + self._counts(self.sentences, self.words, self.oovs, self.zeros, -totals.nats)

    def _probability(self, token: TokenScore) -> str:
        if token.logprob is None:
            return "[OOV] 0 [ -inf ]"
        return f"[rnn] {math.exp(token.logprob):.6g} [ {token.logprob * self.scale:.6g} ]"

    def _counts(self, sentences: int, words: int, oovs: int, zeros: int, nats: float) -> str:
        total = nats * self.scale
        ends = words - oovs - zeros
        return (
            f"{sentences} sentences, {words} words, {oovs} OOVs\n"
            f"{zeros} zeroprobs, logprob= {total:.6g} ppl= {_power(-total, ends + sentences)} "
            f"ppl1= {_power(-total, ends)}\n"
        )


class Sentences(Writer):
    """One total per line."""

    def line(self, line: LineScore) -> str:
        return self.number(line.logprob) + "\n"


class Kaldi(Writer):
    """Utterance id and cost, -log p, for lines that start with an utterance id."""

    def __init__(self, log_base: str = "e") -> None:
        super().__init__(log_base)
        self.utterances: list[str] = []

    def scored_parts(self, lines: Iterable[str]) -> Iterator[str]:
        for number, line in enumerate(lines, 1):
            utterance, words = first_field(line)
            if not utterance:
                raise InputError(f"line {number}: empty; the format kaldi needs an utterance id, then the words")
            self.utterances.append(utterance)
            yield words

    def line(self, line: LineScore) -> str:
        # lines arrive in the order in which they were read
        return f"{self.utterances.pop(0)} {-line.logprob * self.scale:.9g}\n"


WRITERS: dict[str, type[Writer]] = {
    "text": Writer,
    "jsonl": JSONLines,
    "tsv": Table,
    "lines": LineTable,
    "srilm": SRILM,
    "sentence": Sentences,
    "kaldi": Kaldi,
}


def open_writer(name: str, log_base: str | None) -> Writer:
    """The writer of a format. Raises UsageError for an unknown format, or a base that the format does not have."""
    if name == "html":
        if log_base is not None:
            raise UsageError("--log-base: a page shows bits; leave it out")
        from recurlm.scoring.page import Page

        return Page()
    if name not in WRITERS:
        raise UsageError(f"no format {name!r}; there are {', '.join((*WRITERS, 'html'))}")
    if log_base is None:
        return WRITERS[name]()
    return WRITERS[name](log_base)


def _srilm_name(token: TokenScore) -> str:
    if token.token == EOS:
        return "</s>"
    return "<unk>" if token.oov else token.token


def _power(exponent: float, count: int) -> str:
    """10^(exponent / count), as SRILM prints it."""
    if count <= 0:
        return "undefined"
    try:
        return f"{10 ** (exponent / count):.6g}"
    except OverflowError:
        return "inf"
