"""Log-probability of every token of every line; each line alone, or all lines as one document."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeVar, cast, get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recurlm.devices import autocast
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import signature_of
from recurlm.evaluation.shapes import SIZES, parts
from recurlm.evaluation.token_losses import SENTENCE_BUDGET, losses_of
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.memory import State, begin, check_state, initial_state
from recurlm.models.state import LayerStates, map_state
from recurlm.scoring.predictions import predictions as predictions_of
from recurlm.scoring.scores import LineScore, Prediction, Totals
from recurlm.text.batching import IGNORED
from recurlm.text.codec import LEFT_OUT, Codec
from recurlm.text.unknown import AS_UNK, UnknownRule
from recurlm.text.vocabulary import EOS, EOS_ID
from recurlm.version import CODE_VERSION

Context = Literal["reset", "carry"]
Unit = Literal["token", "word"]
_Value = TypeVar("_Value")

LINES_AT_ONCE = 2048
CHARACTERS_AT_ONCE = 1 << 20
ROWS = (256, 64, 16, 4)
"""The numbers of sequences in a batch; each batch takes the largest that budget and remaining lines allow."""


@dataclass(frozen=True)
class ScoringOptions:
    """What is scored, and in which context.

    context: `reset` starts every line from the same state; `carry` treats lines as one document until a blank line,
    which is not scored itself · after: score only what follows this text in a line · unit: `token`, or `word` to sum
    the tokens of each word · unknown: how unknown tokens are charged · predictions: also give the entropy of each
    prediction and the rank of each token · alternatives: with predictions, also name so many likeliest tokens ·
    precision: fp32 or bf16, the type of matrix products. In fp32 the result does not depend on which lines are computed
    together; bf16 is faster on processors that have it and differs by some hundredths of a nat at most tokens · budget:
    padded positions computed at once.
    """

    context: Context = "reset"
    after: str | None = None
    unit: Unit = "token"
    unknown: UnknownRule = AS_UNK
    predictions: bool = False
    alternatives: int = 0
    precision: str = "fp32"
    budget: int = SENTENCE_BUDGET


def scoring_options(
    context: str, after: str | None, unit: str, oov: str, precision: str, *, predictions: bool
) -> ScoringOptions:
    """The options from their names on the command line. Raises UsageError for an unknown name."""
    if context not in get_args(Context):
        raise UsageError(f"context {context!r}: must be reset (every line alone) or carry (one document)")
    if unit not in get_args(Unit):
        raise UsageError(f"unit {unit!r}: must be token or word")
    if after == "":
        raise UsageError("the text after which lines count is empty; give one that occurs once in every line")
    return ScoringOptions(
        cast("Context", context),
        after,
        cast("Unit", unit),
        UnknownRule.parse(oov),
        predictions=predictions,
        precision=precision,
    )


class _Line(NamedTuple):
    """A line as the model reads it; a line that only ends a document has no ids."""

    number: int
    text: str
    ids: list[int]
    tokens: list[str]
    missing: list[bool]
    given: int

    @property
    def read(self) -> list[int]:
        return [index for index in self.ids if index != LEFT_OUT]


class _Scores(NamedTuple):
    """The scores of the ids (n,) of one row."""

    logprobs: list[float]
    predictions: list[Prediction] | None

    def cut(self, start: int, stop: int) -> "_Scores":
        return _Scores(self.logprobs[start:stop], self.predictions and self.predictions[start:stop])


@dataclass
class Scorer:
    """Scores lines in order and in constant memory; lines of similar length are computed together.

    start: the state before the first line, or with `reset` before every line · digest: that of the model · totals:
    sums over everything scored so far · place: where the line of a number stands, in messages. With `carry`, the
    attribute `state` is the state after the last line.
    """

    model: LanguageModel
    codec: Codec
    options: ScoringOptions = field(default_factory=ScoringOptions)
    start: State | None = None
    digest: str = ""
    totals: Totals = field(default_factory=Totals)
    place: Callable[[int], str] = "line {}".format

    def __post_init__(self) -> None:
        if self.start is not None:
            check_state(self.start, self.model, self.digest)
        self.options.unknown.check(self.codec.vocabulary.unknown_id)
        self.state = self.start or self._nothing_read()

    def lines(self, lines: Iterable[str]) -> Iterator[LineScore]:
        """Scores lines, in their order.

        Raises InputError with the line's number for an unknown token where the rule needs ``<unk>`` and the vocabulary
        has none, and for a line without the text after which it counts.
        """
        for block in _numbered_lines(lines):
            encoded = [self._encode(number, line) for number, line in block]
            scored = self._carried(encoded) if self.options.context == "carry" else self._alone(encoded)
            for line, scores in zip(encoded, scored, strict=True):
                result = self._settled(line, scores)
                self.totals.add(result)
                yield result if self.options.unit == "token" else result.by_words(self.codec.tokenization)

    def sequence(self, ids: Sequence[int]) -> tuple[list[float], list[Prediction]]:
        """Natural log-probabilities of ids after the start, and their predictions where these are wanted.

        The values are those that `lines` gives where the ids are those of lines; totals do not change.
        """
        scores = self._batched([[*ids, EOS_ID]], self.start)[0].cut(0, len(ids))
        return scores.logprobs, scores.predictions or []

    def _nothing_read(self) -> State:
        return initial_state(self.model, self.digest)

    def signature(self, text: str = "") -> str:
        """The signature of what was scored so far; `text` is the digest of the text."""
        options = self.options
        state = "carried" if options.context == "carry" else "zero" if self.start is None else "given"
        fields: dict[str, object] = {"tokens": self.totals.tokens, "eos": "counted", "state": state}
        fields["oov"] = options.unknown.label(self.totals.oov)
        if options.unit == "word" and self.codec.tokenization.unit != "word":
            fields["unit"] = "word(space=with-the-next)"
        if options.after is not None:
            fields["after"] = repr(options.after)
        fields |= {"precision": options.precision, "model": f"sha256:{self.digest[:8]}"}
        if text:
            fields["text"] = f"sha256:{text[:8]}"
        fields["recurlm"] = CODE_VERSION
        if self.codec.tokenization.cut:
            fields["cut"] = self.codec.tokenization.cut
        return signature_of("score", fields)

    def _encode(self, number: int, text: str) -> _Line:
        if self.options.context == "carry" and not text.strip(" "):
            return _Line(number, text, [], [], [], 0)
        try:
            if self.options.after is None:
                ids, tokens, missing = self.codec.line(text, self.options.unknown)
                return _Line(number, text, [*ids, EOS_ID], [*tokens, EOS], [*missing, False], 0)
            return self._conditional(number, text, self.options.after)
        except InputError as error:
            raise InputError(f"{self.place(number)}: {error}") from error

    def _conditional(self, number: int, text: str, separator: str) -> _Line:
        """The line without the separator; of spaces on both sides of it one stays, and belongs to what follows."""
        if text.count(separator) != 1:
            raise InputError(
                f"{separator!r} must occur in it once, between what is given and what counts; "
                f"it occurs {text.count(separator)} times"
            )
        before, _, behind = text.partition(separator)
        if behind.startswith(" "):
            before = before.rstrip(" ")
        given_ids, given_tokens, given_missing = self.codec.line(before, self.options.unknown)
        ids, tokens, missing = self.codec.line(behind, self.options.unknown)
        return _Line(
            number,
            before + behind,
            [*given_ids, *ids, EOS_ID],
            [*given_tokens, *tokens, EOS],
            [*given_missing, *missing, False],
            len(given_ids),
        )

    def _alone(self, lines: Sequence[_Line]) -> list[_Scores]:
        return self._batched([line.read for line in lines], self.start)

    def _carried(self, lines: Sequence[_Line]) -> list[_Scores]:
        """Scores the lines as documents, one a row; the first may continue an earlier document, the last may go on."""
        documents = [
            (is_scored, list(members)) for is_scored, members in itertools.groupby(lines, lambda line: bool(line.ids))
        ]
        if not documents[0][0]:
            self.state = self._nothing_read()
        rows = [[index for line in members for index in line.read] for is_scored, members in documents if is_scored]
        ends_here = not documents[-1][0]
        scored: list[_Scores] = []
        if rows:
            scored.append(self._from_state(rows[0]))
            closed = rows[1:] if ends_here else rows[1:-1]
            if len(rows) > 1:
                self.state = self._nothing_read()
                scored += self._batched(closed, None)
                if not ends_here:
                    scored.append(self._from_state(rows[-1]))
        if ends_here:
            self.state = self._nothing_read()
        return self._split(documents, iter(scored))

    def _split(self, documents: Sequence[tuple[bool, list[_Line]]], scored: Iterator[_Scores]) -> list[_Scores]:
        """Splits the scores of documents into those of their lines."""
        parts: list[_Scores] = []
        for is_scored, members in documents:
            whole, start = (next(scored) if is_scored else _Scores([], None)), 0
            for line in members:
                stop = start + len(line.read)
                parts.append(whole.cut(start, stop))
                start = stop
        return parts

    def _from_state(self, row: list[int]) -> _Scores:
        scores, layers = self._together([row], self.state)
        self.state = State(map_state(lambda tensor: tensor.cpu(), layers), row[-1], self.state.model)
        return scores[0]

    def _batched(self, rows: Sequence[list[int]], start: State | None) -> list[_Scores]:
        scored: list[_Scores | None] = [None] * len(rows)
        for group in _batches([len(row) for row in rows], self.options.budget):
            scores, _ = self._together([rows[index] for index in group], start)
            for index, each in zip(group, scores, strict=True):
                scored[index] = each
        return [each for each in scored if each is not None]

    def _together(self, rows: Sequence[list[int]], start: State | None) -> tuple[list[_Scores], LayerStates]:
        """Scores rows as one padded batch; the state is that after the padding (a single row has none)."""
        lengths = [len(row) for row in rows]
        multiple = 1 if len(rows) == 1 else SIZES[-1]
        padded = np.full((len(rows), -(-max(lengths) // multiple) * multiple), IGNORED, np.int64)
        for row, ids in enumerate(rows):
            padded[row, : lengths[row]] = ids
        first, layers = begin(self.model, start, len(rows))
        before = np.concatenate([np.full((len(rows), 1), first), padded[:, :-1]], axis=1)
        input_ = torch.from_numpy(np.where(before == IGNORED, EOS_ID, before)).t()
        target = torch.from_numpy(padded).t()
        steps = max(self.options.budget // len(rows), 1)
        losses, predictions = [], []
        for span in _slices(len(target), steps):
            nats, predicted, layers = self._scored_steps(input_[span], target[span], layers)
            losses.append(nats)
            predictions += predicted
        logprobs = -np.concatenate(losses)
        scores = [
            _Scores(
                logprobs[:length, row].tolist(),
                [step[row] for step in predictions[:length]] if self.options.predictions else None,
            )
            for row, length in enumerate(lengths)
        ]
        return scores, layers

    @torch.no_grad()
    def _scored_steps(
        self, input: Tensor, target: Tensor, layers: LayerStates
    ) -> tuple[NDArray[np.float64], list[list[Prediction]], LayerStates]:
        """Losses (T, B) of targets (T, B), the predictions of each step where they are wanted, and the state."""
        model, (steps, columns) = self.model, input.shape
        with evaluating(model), autocast(self.options.precision, model.device):
            outputs = []
            for part in parts(steps):
                hidden, layers = model.hidden(input[part].to(model.device), layers)
                outputs.append(hidden)
            flat, wanted = torch.cat(outputs).flatten(0, 1), target.to(model.device).flatten()
            losses = _losses(model, flat, wanted).cpu().view(steps, columns).numpy()
            predicted = (
                predictions_of(model, flat, wanted, self.options.alternatives) if self.options.predictions else []
            )
        return losses, [predicted[start : start + columns] for start in range(0, len(predicted), columns)], layers

    def _settled(self, line: _Line, scores: _Scores) -> LineScore:
        """Turns the scores of what the model read into those of the line as written; unknown tokens follow the rule."""
        ids: Sequence[int | None] = line.ids
        logprobs: Sequence[float | None] = scores.logprobs
        predictions: Sequence[Prediction | None] | None = scores.predictions
        if any(line.missing):
            is_read = [index != LEFT_OUT for index in line.ids]
            ids = [index if there else None for index, there in zip(line.ids, is_read, strict=True)]
            logprobs = [
                self._charged(logprob) if absent else logprob
                for logprob, absent in zip(_spread(scores.logprobs, is_read), line.missing, strict=True)
            ]
            predictions = predictions and _spread(predictions, is_read)
        given = line.given
        return LineScore(
            line.number,
            line.text,
            line.tokens[given:],
            ids[given:],
            logprobs[given:],
            line.missing[given:],
            given,
            predictions=predictions and predictions[given:],
        )

    def _charged(self, logprob: float | None) -> float | None:
        rule = self.options.unknown
        if rule.kind == "floor":
            return rule.logprob
        return None if rule.kind == "skip" or logprob is None else logprob + rule.added


def score_lines(
    model: LanguageModel, codec: Codec, lines: Iterable[str], options: ScoringOptions | None = None
) -> Iterator[LineScore]:
    """Scores lines in order; see `Scorer`."""
    return Scorer(model, codec, options or ScoringOptions()).lines(lines)


def _numbered_lines(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """Numbered lines in groups, small enough for constant memory."""
    block: list[tuple[int, str]] = []
    characters = 0
    for number, line in enumerate(lines, 1):
        block.append((number, line))
        characters += len(line)
        if len(block) == LINES_AT_ONCE or characters >= CHARACTERS_AT_ONCE:
            yield block
            block, characters = [], 0
    if block:
        yield block


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Groups of indices of sequences of similar length; a group has one of `ROWS` and fits the budget when padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    start = 0
    while start < len(order):
        fitting = (
            rows for rows in ROWS if start + rows <= len(order) and lengths[order[start + rows - 1]] * rows <= budget
        )
        rows = next(fitting, 1)
        yield order[start : start + rows]
        start += rows


def _losses(model: LanguageModel, hidden: Tensor, target: Tensor) -> Tensor:
    """-ln p (N,) of targets (N,), zero where ignored; the others are computed in parts of few different sizes."""
    counted = (target != IGNORED).nonzero()[:, 0]
    losses = torch.zeros(len(target), dtype=torch.float64, device=hidden.device)
    if len(counted):
        positions = F.pad(counted, (0, -len(counted) % _unit(len(counted))), value=int(counted[0]))
        rows = map(positions.__getitem__, parts(len(positions)))
        losses[counted] = torch.cat([losses_of(model, hidden[row], target[row]) for row in rows])[: len(counted)]
    return losses


def _unit(size: int) -> int:
    """The number to whose multiple a number of positions is rounded up."""
    return next(unit for unit in (64, 16, 4) if unit <= max(size, 4))


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, start + size)


def _spread(values: Sequence[_Value], is_read: Sequence[bool]) -> list[_Value | None]:
    """Puts the values of read tokens at their places in the line; None elsewhere."""
    remaining = iter(values)
    return [next(remaining) if there else None for there in is_read]
