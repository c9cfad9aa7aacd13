"""Scores: the log-probability of each token of a line, of whole words, and of all lines together."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from recurlm.evaluation.perplexity import exponential, finite
from recurlm.terminal import escaped
from recurlm.text.tokenization import Tokenization
from recurlm.text.vocabulary import EOS
from recurlm.wording import counted

if TYPE_CHECKING:
    from pandas import DataFrame


class Prediction(NamedTuple):
    """The prediction before a token: its entropy in nats, and the rank of the token, 1 for the likeliest.

    likeliest: ids of the likeliest tokens, each with its log-probability less that of the token; empty unless asked
    for.
    """

    entropy: float
    rank: int
    likeliest: tuple[tuple[int, float], ...] = ()


class TokenScore(NamedTuple):
    """The score of one token.

    token: as written · id: None where it has none · logprob: natural log-probability, None where the token is not
    counted · oov: whether the vocabulary lacks it · pieces: number of model tokens that it consists of · prediction:
    None where it was not requested, or where there are several pieces.
    """

    token: str
    id: int | None
    logprob: float | None
    oov: bool
    pieces: int = 1
    prediction: Prediction | None = None


@dataclass(frozen=True, repr=False)
class LineScore:
    """The scores of one line, numbered from 1; the sequences have an entry for each scored token, ``<eos>`` last.

    given: number of tokens at the start of the line that are not scored.
    """

    line: int
    text: str
    words: Sequence[str]
    ids: Sequence[int | None]
    logprobs: Sequence[float | None]
    missing: Sequence[bool]
    given: int = 0
    pieces: Sequence[int] | None = None
    predictions: Sequence[Prediction | None] | None = None

    def __repr__(self) -> str:
        figures = "" if self.perplexity is None else f", perplexity {self.perplexity:.3f}"
        tokens = counted(len(self.words), "token")
        return f"LineScore({self.line}: {escaped(self.text)!r}, {tokens}, logprob {self.logprob:.4f}{figures})"

    def _repr_html_(self) -> str:
        """A heat map of surprisals."""
        from recurlm.scoring.heat_map import heat_map

        return heat_map([self])

    @property
    def tokens(self) -> tuple[TokenScore, ...]:
        """The scores token by token."""
        columns = zip(
            self.words,
            self.ids,
            self.logprobs,
            self.missing,
            self.pieces or itertools.repeat(1),
            self.predictions or itertools.repeat(None),
            strict=False,
        )
        return tuple(itertools.starmap(TokenScore, columns))

    @property
    def logprob(self) -> float:
        """Natural log-probability of all counted tokens, including ``<eos>``."""
        return sum(logprob for logprob in self.logprobs if logprob is not None)

    @property
    def counted(self) -> int:
        """Number of counted tokens."""
        return sum(logprob is not None for logprob in self.logprobs)

    @property
    def mean(self) -> float | None:
        """Mean natural log-probability of a token; None where no token is counted."""
        return self.logprob / self.counted if self.counted else None

    @property
    def perplexity(self) -> float | None:
        """Perplexity of the counted tokens; None where no token is counted."""
        return exponential(-self.logprob, self.counted) if self.counted else None

    def to_json(self, scale: float = 1.0) -> dict[str, Any]:
        """The object that `score --json` prints; `scale` turns nats into another unit."""
        tokens = [
            {
                "token": t.token,
                "id": t.id,
                "logprob": None if t.logprob is None else t.logprob * scale,
                "oov": t.oov,
            }
            | ({} if self.pieces is None else {"pieces": t.pieces})
            for t in self.tokens
        ]
        return {
            "line": self.line,
            "text": self.text,
            "logprob": self.logprob * scale,
            "mean": None if self.mean is None else self.mean * scale,
            "perplexity": finite(self.perplexity),
            "tokens": tokens,
        }

    def by_words(self, tokenization: Tokenization) -> "LineScore":
        """The scores summed by words; a space belongs to the word, or ``<eos>``, that follows it."""
        if tokenization.unit == "word":
            return self
        groups = list(_word_groups(self.words, tokenization))
        predictions = self.predictions
        single = [group[0] if len(group) == 1 else None for group in groups]
        logprobs = [[self.logprobs[index] for index in group] for group in groups]
        return replace(
            self,
            words=[_spelling(self.words, group, tokenization) for group in groups],
            ids=[None if index is None else self.ids[index] for index in single],
            logprobs=[None if None in parts else sum(part for part in parts if part is not None) for parts in logprobs],
            missing=[any(self.missing[index] for index in group) for group in groups],
            pieces=list(map(len, groups)),
            predictions=predictions and [None if index is None else predictions[index] for index in single],
        )


class Scores(list[LineScore]):
    """The scores of several lines: a list that sums them up, shows them as a heat map and makes a table of them."""

    def __init__(self, lines: Iterable[LineScore] = (), tokenization: Tokenization | None = None) -> None:
        """`tokenization` is that of the model; with it the heat map sums byte pairs to words."""
        super().__init__(lines)
        self.tokenization = tokenization

    @property
    def totals(self) -> "Totals":
        """The sums over all lines."""
        totals = Totals()
        for line in self:
            totals.add(line)
        return totals

    def to_pandas(self) -> "DataFrame":
        """A pandas table with one row a token and the columns of `score --format tsv`.

        logprob is in nats, surprisal and entropy are in bits; a missing value is NA. Entropy and rank need
        `ScoringOptions(predictions=True)`. Raises UsageError with the install command where pandas is absent.
        """
        from recurlm.scoring.data_frame import data_frame

        return data_frame(self)

    def __repr__(self) -> str:
        totals = self.totals
        figures = f", perplexity {totals.perplexity:.3f}" if totals.tokens else ""
        size = f"{counted(totals.lines, 'line')}, {counted(totals.tokens, 'token')}"
        return f"Scores({size}, logprob {0.0 - totals.nats:.4f}{figures})"

    def _repr_html_(self) -> str:
        """A heat map of surprisals; byte pairs are summed to words."""
        from recurlm.scoring.heat_map import heat_map

        if self.tokenization is None or self.tokenization.unit != "bpe":
            return heat_map(self)
        return heat_map([line if line.pieces else line.by_words(self.tokenization) for line in self])


@dataclass
class Totals:
    """Sums over all lines scored so far: lines, counted tokens and their nats, unknown tokens, known tokens."""

    lines: int = 0
    tokens: int = 0
    nats: float = 0.0
    oov: int = 0
    known_tokens: int = 0
    known_nats: float = 0.0

    def add(self, line: LineScore) -> None:
        """Adds the scores of one line."""
        nats, missing = -line.logprob, sum(line.missing)
        self.lines += 1
        self.tokens += len(line.logprobs) - (line.logprobs.count(None) if missing else 0)
        self.nats += nats
        self.oov += missing
        self.known_tokens += len(line.logprobs) - missing
        if missing:
            pairs = zip(line.logprobs, line.missing, strict=True)
            nats = -sum(logprob for logprob, absent in pairs if logprob is not None and not absent)
        self.known_nats += nats

    @property
    def perplexity(self) -> float:
        """Perplexity of the counted tokens; NaN where no token is counted."""
        return exponential(self.nats, self.tokens) if self.tokens else math.nan

    @property
    def all_tokens(self) -> int:
        """Number of tokens, known and unknown, counted or not."""
        return self.known_tokens + self.oov

    @property
    def without_oov(self) -> float | None:
        """The perplexity of the known tokens alone; None where every token is known or none is."""
        return exponential(self.known_nats, self.known_tokens) if self.oov and self.known_tokens else None


def _word_groups(words: Sequence[str], tokenization: Tokenization) -> Iterator[list[int]]:
    """The indices of the pieces of each word; ``<eos>`` is a word, spaces belong to the word that follows."""
    group: list[int] = []
    for index, piece in enumerate(words):
        text = EOS if piece == EOS else tokenization.join([piece])
        if group and (piece == EOS or text.startswith(" ")) and _has_letters(words, group, tokenization):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _has_letters(words: Sequence[str], group: Sequence[int], tokenization: Tokenization) -> bool:
    return bool(tokenization.join([words[index] for index in group]).strip(" "))


def _spelling(words: Sequence[str], group: Sequence[int], tokenization: Tokenization) -> str:
    """The word that the pieces form, without the space before it."""
    pieces = [words[index] for index in group]
    if pieces[-1] == EOS:
        return EOS
    return tokenization.join(pieces).strip(" ")
