"""Batches of ids: bucketed sentences and contiguous streams.

A seed and an epoch decide each sequence of batches. The position in the data is therefore two numbers,
(epoch, index), and training can stop and resume at any step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.config import SentenceBatches, StreamBatches
from recurlm.errors import InputError
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import EOS_ID
from recurlm.wording import counted

IGNORED = -100
AUTOMATIC_BUCKETS = 8
LARGEST_BUCKET_SEARCH = 256
SHORTEST_RANDOM_LENGTH = 5
MOST_DRAWN_LENGTHS = 5_000_000
"""How many batches draw their random lengths to learn how many steps a run has: a few seconds of work."""
ROTATIONS, RESETS = 1, 2
"""Numbers of the random streams of an epoch; that of the lengths has none."""


@dataclass(frozen=True)
class Batch:
    """Inputs, and the token that follows each.

    input: (T, B) ids · target: (T, B) ids, `IGNORED` at positions without a loss ·
    counted: (T, B), positions that perplexity counts · sentences: number of sentences that end in the batch ·
    carried: whether the batch starts from the state after the batch before · rate: factor for the learning rate ·
    restarts: (T, B), on the host, true where a column's state is set to zero before the input is read; None means
    nowhere · part: None, or which columns of a larger batch these are; `sentences` then counts those of the larger one.
    """

    input: Tensor
    target: Tensor
    counted: Tensor
    sentences: int
    carried: bool
    rate: float = 1.0
    restarts: NDArray[np.bool_] | None = None
    part: "Part | None" = None

    @property
    def columns(self) -> int:
        """B"""
        return self.input.shape[1]

    @property
    def whole(self) -> "Batch":
        """The batch that this is a part of; itself where it is none."""
        return self if self.part is None else self.part.whole

    def cut(self, columns: slice) -> "Batch":
        """The columns that one of several processes reads.

        Where there are none, the first column without targets: a process without work draws random numbers too.
        """
        width = columns.stop - columns.start
        kept = columns if width else slice(0, 1)
        target, counted = self.target[:, kept], self.counted[:, kept]
        if not width:
            target, counted = torch.full_like(target, IGNORED), torch.zeros_like(counted)
        part = Part(self, kept.start, width)
        restarts = None if self.restarts is None else self.restarts[:, kept]
        return replace(self, input=self.input[:, kept], target=target, counted=counted, restarts=restarts, part=part)

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device; the copy to a GPU is asynchronous."""
        if device.type == self.input.device.type:
            return self

        def moved(tensor: Tensor) -> Tensor:
            source = tensor.pin_memory() if device.type == "cuda" else tensor
            return source.to(device, non_blocking=True)

        return replace(self, input=moved(self.input), target=moved(self.target), counted=moved(self.counted))


@dataclass(frozen=True)
class Part:
    """Columns of a batch: `columns` of `whole`, which stays on the host, from number `first` on."""

    whole: Batch
    first: int
    columns: int


class BatchSource(Protocol):
    """The batches of a text, for each epoch in a fixed order."""

    def length(self, epoch: int) -> int:
        """Batches in this epoch."""

    def total_length(self, epochs: int) -> int:
        """Batches in the first `epochs` epochs together."""

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on."""

    def report(self) -> list[str]:
        """Lines for the user: sizes, and what was left out, with count and reason."""


class Streams:
    """The text as `batch_size` contiguous columns, cut into pieces of `bptt` steps.

    Every token is predicted exactly once, from the token before it in the text; ``<eos>`` precedes the first token.
    The last column is shorter when the text does not divide evenly; the loss ignores its missing positions. Where a
    document of the text begins, the state restarts: it is zero before the ``<eos>`` that precedes the document's first
    token is read.

    A partial shuffle (Press 2019) rotates each column: c_r+1 ... c_n c_1 ... c_r. Each epoch draws another r, so it
    cuts the text at other places and combines other parts of the columns in a batch.
    """

    def __init__(self, text: EncodedText, options: StreamBatches, seed: int) -> None:
        self.options, self.seed = options, seed
        self.text, self.ids = text, text.ids
        self.rows = -(-len(text.ids) // options.batch_size)
        starts = np.arange(options.batch_size) * self.rows
        self.column_lengths = np.clip(len(text.ids) - starts, 0, self.rows)

    def length(self, epoch: int) -> int:
        return len(self._lengths(epoch))

    def total_length(self, epochs: int) -> int:
        """Exact, except that random lengths are drawn only for the first `MOST_DRAWN_LENGTHS` batches; later epochs
        count with the average length of the epochs before."""
        if not self.options.random_lengths:
            return self.length(0) * epochs
        total = epoch = 0
        while epoch < epochs and total < MOST_DRAWN_LENGTHS:
            total += self.length(epoch)
            epoch += 1
        return total * epochs // max(epoch, 1)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        lengths, rotations = self._lengths(epoch), self._rotations(epoch)
        resets = self._resets(epoch, start)
        first = sum(lengths[:start])
        for index, length in enumerate(lengths[start:], start):
            batch = self._batch(first, length, rotations)
            restarts = _with_resets(batch.restarts, next(resets), length)
            yield replace(batch, carried=index > 0, restarts=restarts)
            first += length

    def report(self) -> list[str]:
        columns = self.options.batch_size
        return [f"{counted(len(self.ids), 'token')} in {counted(columns, 'column')} of {self.rows:,}"]

    def _lengths(self, epoch: int) -> list[int]:
        if not self.options.random_lengths:
            full, rest = divmod(self.rows, self.options.bptt)
            return [self.options.bptt] * full + ([rest] if rest else [])
        generator = np.random.default_rng([self.seed, epoch])
        lengths: list[int] = []
        left = self.rows
        while left:
            mean = self.options.bptt if generator.random() < 0.95 else self.options.bptt / 2
            length = min(left, max(SHORTEST_RANDOM_LENGTH, int(generator.normal(mean, 5))))
            lengths.append(length)
            left -= length
        return lengths

    def _rotations(self, epoch: int) -> NDArray[np.int64]:
        """The position in its text at which each column begins."""
        if not self.options.partial_shuffle:
            return np.zeros(len(self.column_lengths), np.int64)
        return np.random.default_rng([self.seed, epoch, ROTATIONS]).integers(np.maximum(self.column_lengths, 1))

    def _resets(self, epoch: int, start: int) -> Iterator[NDArray[np.bool_]]:
        """(B,) for each batch from number `start` on: where a column's state starts from zeros by chance."""
        numbers, columns = np.random.PCG64([self.seed, epoch, RESETS]), len(self.column_lengths)
        generator = np.random.Generator(numbers.advance(start * columns))  # one draw for each column of each batch
        while True:
            yield generator.random(columns) < self.options.reset_probability

    def _batch(self, first: int, length: int, rotations: NDArray[np.int64]) -> Batch:
        columns = self.column_lengths
        steps = np.arange(first, first + length)[:, None]
        inside = steps < columns
        offsets = (steps + rotations) % np.maximum(columns, 1)
        positions = np.where(inside, np.arange(len(columns)) * self.rows + offsets, 0)
        target = np.where(inside, self.ids[positions].astype(np.int64), IGNORED)
        input_ = np.where(positions > 0, self.ids[positions - 1].astype(np.int64), EOS_ID)
        rate = length / self.options.bptt if self.options.random_lengths else 1.0
        targets = torch.from_numpy(target)
        sentences = int((target == EOS_ID).sum())
        begins = self.text.begin_documents(positions)
        restarts = None if begins is None or not (begins & inside).any() else begins & inside
        return Batch(
            torch.from_numpy(input_), targets, targets != IGNORED, sentences, carried=True, rate=rate, restarts=restarts
        )


def _with_resets(
    restarts: NDArray[np.bool_] | None, resets: NDArray[np.bool_], length: int
) -> NDArray[np.bool_] | None:
    """Restarts (T, B) of a batch of `length` rows, where the columns of `resets` (B,) restart in the first row too."""
    if not resets.any():
        return restarts
    merged = np.zeros((length, len(resets)), np.bool_) if restarts is None else restarts
    merged[0] |= resets
    return merged


def plain_stream(text: EncodedText, length: int, columns: int = 1) -> Streams:
    """The text as the protocol `stream` reads it, `length` steps at once, every token once and in order."""
    return Streams(text, StreamBatches(batch_size=columns, bptt=length), seed=0)


class BucketedSentences:
    """Sentences padded to the smallest bucket that holds them, `batch_size` of one bucket at a time.

    Each epoch shuffles which rows share a batch, and the order of the batches.
    """

    def __init__(self, text: EncodedText, options: SentenceBatches, seed: int) -> None:
        self.options, self.seed = options, seed
        self.ids = text.ids
        ends = text.ends
        starts = np.concatenate([[0], ends[:-1]])
        lengths = ends - starts
        self.buckets = _all_buckets(options, lengths)
        bucket_of = np.searchsorted(self.buckets, lengths)
        self.sentences = len(lengths)
        self.discarded = int((bucket_of == len(self.buckets)).sum())
        self.starts, self.lengths = starts, lengths
        self.members = [np.flatnonzero(bucket_of == index) for index in range(len(self.buckets))]
        if self.discarded == self.sentences:
            raise InputError(
                f"{text.name}: all {self.sentences:,} sentences are longer than the largest bucket; "
                'use larger batches.buckets or batches.longer = "keep"'
            )
        if not self.length(0):
            raise InputError(
                f"{text.name}: no bucket holds a full batch of {options.batch_size}; "
                'use a smaller batches.batch_size or batches.remainder = "keep"'
            )

    def length(self, epoch: int) -> int:
        return sum(len(self._cuts(len(rows))) for rows in self.members)

    def total_length(self, epochs: int) -> int:
        return self.length(0) * epochs

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        generator = np.random.default_rng([self.seed, epoch])
        plan = []
        for bucket, rows in zip(self.buckets, self.members, strict=True):
            shuffled = generator.permutation(rows)
            plan += [(bucket, shuffled[cut : cut + self.options.batch_size]) for cut in self._cuts(len(rows))]
        order = generator.permutation(len(plan))
        for index in order[start:]:
            bucket, rows = plan[index]
            yield self._batch(rows, bucket)

    def report(self) -> list[str]:
        kept = self.sentences - self.discarded
        positions = sum(bucket * len(rows) for bucket, rows in zip(self.buckets, self.members, strict=True))
        tokens = int(sum(self.lengths[rows].sum() for rows in self.members))
        lines = [
            f"{counted(self.sentences, 'sentence')} in buckets {list(self.buckets)}, "
            f"{1 - tokens / max(positions, 1):.0%} of positions are padding"
        ]
        if self.discarded:
            lines.append(
                f"{counted(self.discarded, 'sentence')} longer than the largest bucket discarded, "
                'as batches.longer = "discard" asks'
            )
        remainder = kept - sum(len(self._cuts(len(rows))) for rows in self.members) * self.options.batch_size
        if self.options.remainder == "drop" and remainder:
            lines.append(
                f"{counted(remainder, 'sentence')} an epoch left over by the batches and dropped, others each time, "
                'as batches.remainder = "drop" asks'
            )
        return lines

    def _cuts(self, rows: int) -> range:
        size = self.options.batch_size
        return range(0, rows - size + 1 if self.options.remainder == "drop" else rows, size)

    def _batch(self, rows: NDArray[np.int64], bucket: int) -> Batch:
        padded = padded_rows(self.ids, self.starts[rows], self.lengths[rows], bucket)
        if self.options.first_word == "predicted":
            input_, target = sentence_batch(padded)
        else:
            input_, target = given_first_word_batch(padded)
        if self.options.padding == "trained":
            # MXNet: padding and <eos> share id 0; both train, neither is counted
            target = np.where(target == IGNORED, EOS_ID, target)
            counted = target != EOS_ID
        else:
            counted = target != IGNORED
        return Batch(_time_major(input_), _time_major(target), _time_major(counted), len(rows), carried=False)


def _time_major(rows: NDArray[Any]) -> Tensor:
    """(B, T) as a tensor (T, B)."""
    return torch.from_numpy(np.ascontiguousarray(rows.T))


def padded_rows(
    ids: NDArray[np.unsignedinteger], starts: NDArray[np.int64], lengths: NDArray[np.int64], width: int
) -> NDArray[np.int64]:
    """(B, width) ids of sentences, `IGNORED` to the right of each."""
    steps = np.arange(width)
    inside = steps < lengths[:, None]
    positions = np.where(inside, starts[:, None] + steps, 0)
    return np.where(inside, ids[positions].astype(np.int64), IGNORED)


def sentence_batch(padded: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs ``<eos> w1 ... wn`` and targets ``w1 ... wn <eos>``, both (B, T)."""
    first = np.full((len(padded), 1), EOS_ID, np.int64)
    input_ = np.concatenate([first, padded[:, :-1]], axis=1)
    return np.where(input_ == IGNORED, EOS_ID, input_), padded


def given_first_word_batch(padded: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Inputs ``w1 ... wn <eos>`` and targets ``w2 ... wn <eos>`` and one ignored, as `mx.rnn.BucketSentenceIter`."""
    last = np.full((len(padded), 1), IGNORED, np.int64)
    target = np.concatenate([padded[:, 1:], last], axis=1)
    return np.where(padded == IGNORED, EOS_ID, padded), target


def choose_buckets(lengths: NDArray[np.int64], count: int = AUTOMATIC_BUCKETS) -> tuple[int, ...]:
    """The bucket lengths, at most `count`, that pad these sentences least, by dynamic programming."""
    values, frequencies = np.unique(lengths, return_counts=True)
    if len(values) > LARGEST_BUCKET_SEARCH:
        grid = np.unique(np.quantile(lengths, np.linspace(0, 1, LARGEST_BUCKET_SEARCH), method="higher"))
        frequencies = np.histogram(lengths, np.concatenate([[0], grid + 1]))[0]
        values = grid.astype(np.int64)
    sentences = np.concatenate([[0], np.cumsum(frequencies)])
    best = sentences[1:] * values
    cuts: list[NDArray[np.int64]] = []
    for _ in range(min(count, len(values)) - 1):
        # total[row, column]: positions computed where the last bucket ends at column and the one before at row
        total = best[:, None] + (sentences[1:] - sentences[1:, None]) * values
        total = np.where(np.tri(len(values), k=-1, dtype=bool), np.iinfo(np.int64).max, total)
        cuts.append(total.argmin(axis=0))
        best = total.min(axis=0)
    ends = [len(values) - 1]
    for cut in reversed(cuts):
        ends.append(int(cut[ends[-1]]))
    return tuple(sorted({int(values[end]) for end in ends}))


def _all_buckets(options: SentenceBatches, lengths: NDArray[np.int64]) -> tuple[int, ...]:
    if options.buckets == "auto":
        return choose_buckets(lengths)
    longest = int(lengths.max())
    if options.longer == "keep" and longest > options.buckets[-1]:
        return (*options.buckets, longest)
    return options.buckets


def open_batches(text: EncodedText, options: StreamBatches | SentenceBatches, seed: int) -> Streams | BucketedSentences:
    """The batches that a recipe asks for."""
    if isinstance(options, StreamBatches):
        return Streams(text, options, seed)
    return BucketedSentences(text, options, seed)


def length_groups(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of sequences in groups of similar length, each at most `budget` positions when padded."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    group: list[int] = []
    for index in order:
        if group and lengths[index] * (len(group) + 1) > budget:
            yield group
            group = []
        group.append(index)
    if group:
        yield group
