"""Perplexity under a protocol: `stream`, `sentence`, or `mxnet`. See docs/protocols.md."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recurlm.config import SentenceBatches, StreamBatches
from recurlm.distributed import ALONE, Team
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import STATES, Perplexity, Tally, Tick
from recurlm.evaluation.token_losses import (
    SENTENCE_BUDGET,
    STREAM_CHUNK,
    SentenceGroup,
    column_rows,
    group_losses,
    sentence_bounds,
    sentence_losses,
    stream_losses,
)
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import IGNORED, given_first_word_batch, padded_rows
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import EOS_ID

PROTOCOLS = tuple(STATES)
SEED_BUCKETS = (10, 20, 40, 60, 80)
"""The buckets of the tutorial."""
SMALLEST_MXNET_PROBABILITY = 1e-10
"""MXNet's metric raises smaller probabilities to this one."""


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of single protocols; the others ignore them.

    columns, warm_up: see `stream_perplexity` · buckets, full_batches: see `mxnet_perplexity` · team: the processes that
    share the work, under every protocol.
    """

    columns: int = 1
    warm_up: int = 0
    buckets: Sequence[int] = SEED_BUCKETS
    full_batches: int | None = None
    team: Team = ALONE


USUAL_OPTIONS = ProtocolOptions()


def perplexity(
    model: LanguageModel,
    text: EncodedText,
    protocol: str = "stream",
    options: ProtocolOptions = USUAL_OPTIONS,
    *,
    tick: Tick | None = None,
) -> Perplexity:
    """The perplexity of a text under the protocol of this name. Raises UsageError for an unknown name."""
    check_protocol(protocol)
    if protocol == "stream":
        columns, warm_up = options.columns, options.warm_up
        return stream_perplexity(model, text, columns=columns, warm_up=warm_up, tick=tick, team=options.team)
    if protocol == "sentence":
        return sentence_perplexity(model, text, tick=tick, team=options.team)
    buckets, full_batches = options.buckets, options.full_batches
    return mxnet_perplexity(model, text, buckets=buckets, full_batches=full_batches, tick=tick, team=options.team)


def check_protocol(protocol: str) -> None:
    """Raises UsageError for a name that no protocol has."""
    if protocol not in PROTOCOLS:
        raise UsageError(f"no protocol named {protocol!r}; there are {', '.join(PROTOCOLS)}")


def stream_perplexity(
    model: LanguageModel,
    text: EncodedText,
    *,
    columns: int = 1,
    warm_up: int = 0,
    chunk: int = STREAM_CHUNK,
    tick: Tick | None = None,
    team: Team = ALONE,
) -> Perplexity:
    """The protocol of the literature: one stream, the state carried throughout, every token predicted once.

    With `columns` > 1 the stream is cut into that many columns, which are read side by side: this is faster, gives a
    slightly higher perplexity, and the signature names it. Each column but the first starts with the state after
    ``<eos>`` and the `warm_up` tokens before it; these are read and not counted. `chunk` is the number of time steps
    computed at once; the result does not depend on it. The keyword `team` names the processes that share the columns.
    """
    tally = Tally(text)
    warm_up = min(warm_up, column_rows(text, columns) - 1) if columns > 1 else 0
    for positions, losses in stream_losses(model, text, columns, chunk, warm_up, team):
        tally.add(positions, losses, tick)
    extra = {"columns": columns} if columns > 1 else {}
    extra |= {"warm-up": warm_up} if warm_up else {}
    return tally.result("stream", extra)


def sentence_perplexity(
    model: LanguageModel,
    text: EncodedText,
    *,
    budget: int = SENTENCE_BUDGET,
    tick: Tick | None = None,
    team: Team = ALONE,
) -> Perplexity:
    """Every line starts from a zero state; its words and its ``<eos>`` are counted.

    `budget` is the number of padded positions computed at once; the result does not depend on it.
    """
    tally = Tally(text)
    for positions, losses in sentence_losses(model, text, budget, team):
        tally.add(positions, losses, tick)
    return tally.result("sentence", {})


def token_nats(
    model: LanguageModel, text: EncodedText, protocol: str = "stream", *, tick: Tick | None = None
) -> NDArray[np.float64]:
    """-ln p of every id of the text (N,), in its order, under stream or sentence; unknown tokens as ``<unk>``."""
    nats = np.zeros(len(text.ids))
    found = stream_losses(model, text) if protocol == "stream" else sentence_losses(model, text)
    for positions, losses in found:
        nats[positions] = losses
        if tick is not None:
            tick(len(positions))
    return nats


def mxnet_perplexity(
    model: LanguageModel,
    text: EncodedText,
    *,
    buckets: Sequence[int] = SEED_BUCKETS,
    full_batches: int | None = None,
    tick: Tick | None = None,
    team: Team = ALONE,
) -> Perplexity:
    """The protocol of the tutorial: sentences in buckets, each from a zero state, its first word given.

    ``<eos>`` and padding are not counted. Sentences longer than the largest bucket are left out; with `full_batches`
    so are the last rows of each bucket that do not fill a batch of that size. The signature counts all of them.
    Raises UsageError for a rule of unknown tokens that MXNet does not have, InputError where no token is left.
    """
    if text.rule.kind != "unk":
        raise UsageError("the protocol mxnet counts unknown words as <unk> only; leave --oov out")
    bounds = sentence_bounds(text)
    members = _bucket_members(bounds[1], buckets, full_batches)
    tally = Tally(text)
    for group, losses in group_losses(model, _bucket_groups(text, bounds, buckets, members), team=team):
        counted = (group.target != IGNORED) & (group.target != EOS_ID)
        tally.add(group.positions[counted], losses[counted].clip(max=-math.log(SMALLEST_MXNET_PROBABILITY)))
        if tick is not None:
            tick(len(group.target) + int((group.target != IGNORED).sum()))  # the first words are no targets
    extra: dict[str, object] = {"first-word": "given", "buckets": ",".join(map(str, buckets))}
    if full_batches is not None:
        extra["full-batches"] = full_batches
    extra["dropped"] = len(bounds[1]) - sum(map(len, members))
    if not tally.known_tokens + tally.unknown_tokens:
        raise InputError(f"{text.name}: no token is left to count; the buckets or full batches drop every sentence")
    return tally.result("mxnet", extra, eos_counted=False)


def _bucket_members(
    lengths: NDArray[np.int64], buckets: Sequence[int], full_batches: int | None
) -> list[NDArray[np.int64]]:
    """For each bucket, the numbers of the sentences in it that are kept."""
    bucket_of = np.searchsorted(np.asarray(buckets), lengths)
    members = [np.flatnonzero(bucket_of == index) for index in range(len(buckets))]
    if full_batches is None:
        return members
    return [each[: len(each) // full_batches * full_batches] for each in members]


def _bucket_groups(
    text: EncodedText,
    bounds: tuple[NDArray[np.int64], NDArray[np.int64]],
    buckets: Sequence[int],
    members: Sequence[NDArray[np.int64]],
) -> Iterator[SentenceGroup]:
    """The sentences of each bucket, in groups that are computed at once."""
    starts, lengths = bounds
    for bucket, sentences in zip(buckets, members, strict=True):
        for rows in _row_groups(sentences, max(1, SENTENCE_BUDGET // bucket)):
            input_, target = given_first_word_batch(padded_rows(text.ids, starts[rows], lengths[rows], bucket))
            yield SentenceGroup(input_, target, starts[rows][:, None] + 1 + np.arange(bucket))


def _row_groups(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def given_buckets(batches: StreamBatches | SentenceBatches) -> Sequence[int]:
    """The buckets that a recipe names, or the tutorial's where it names none."""
    if isinstance(batches, SentenceBatches) and batches.buckets != "auto":
        return batches.buckets
    return SEED_BUCKETS
