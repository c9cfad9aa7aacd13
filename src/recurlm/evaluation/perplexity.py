"""Perplexity under a protocol, with the signature that says what was counted.

Perplexity = exp(total negative natural log-probability / tokens counted). See docs/protocols.md.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurlm.config import SentenceBatches, StreamBatches
from recurlm.devices import autocast
from recurlm.errors import InputError, UsageError
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import LayerStates, restart
from recurlm.text.batching import (
    IGNORED,
    given_first_word_batch,
    length_groups,
    padded_rows,
    plain_stream,
    sentence_batch,
)
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import EOS_ID
from recurlm.version import CODE_VERSION

STATES = {"stream": "carried", "sentence": "zero", "mxnet": "zero"}
"""What each protocol does with the state at the end of a sentence."""
PROTOCOLS = tuple(STATES)
SEED_BUCKETS = (10, 20, 40, 60, 80)
STREAM_CHUNK = 512
SENTENCE_BUDGET = 4096
SMALLEST_MXNET_PROBABILITY = 1e-10

Tick = Callable[[int], None]
"""Called with the number of tokens done since the last call; may raise to stop."""

Losses = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Positions (N,) of tokens in a text, and -ln p (N,) of each."""


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and the contract under which it was measured.

    nats: total negative log-probability · tokens: how many were counted · oov: how many of the text's tokens the
    vocabulary lacks · characters: of the text, or None where not all of its tokens were counted · known: nats and
    number of the tokens that the vocabulary has, or None where nobody noted which they are.
    """

    nats: float
    tokens: int
    oov: int
    characters: int | None
    protocol: str
    signature: str
    known: tuple[float, int] | None = None

    @property
    def value(self) -> float:
        """The perplexity; infinite where the exponential is."""
        return exponential(self.nats, self.tokens)

    @property
    def without_oov(self) -> float | None:
        """The perplexity of the known tokens alone, or None where there is no other, or none is known."""
        if not self.oov or self.known is None or not self.known[1]:
            return None
        return exponential(*self.known)

    @property
    def all_tokens(self) -> int:
        """How many tokens there are, known and unknown, counted or not."""
        return self.tokens if self.known is None else self.known[1] + self.oov

    @property
    def bits_per_token(self) -> float:
        """Mean surprisal in bits."""
        return self.nats / self.tokens / math.log(2)

    @property
    def bits_per_character(self) -> float | None:
        """Bits for each character of the text, line feeds included."""
        return None if self.characters is None else self.nats / self.characters / math.log(2)

    def seen_by(self, models: str) -> "Perplexity":
        """The same, saying in its signature that these models learned from the text."""
        return replace(self, signature=f"{self.signature}|seen={models}")

    def to_json(self) -> dict[str, Any]:
        """The object that `eval --json` prints."""
        return {
            "perplexity": finite(self.value),
            "perplexity_without_oov": finite(self.without_oov),
            "bits_per_token": finite(self.bits_per_token),
            "bits_per_character": finite(self.bits_per_character),
            "tokens": self.tokens,
            "oov": self.oov,
            "protocol": self.protocol,
            "signature": self.signature,
        }


def signature_of(measured: str, fields: Mapping[str, object]) -> str:
    """What was measured, then what was counted, as it is printed beside a figure."""
    return "|".join([measured, *(f"{name}={value}" for name, value in fields.items())])


def exponential(nats: float, tokens: int) -> float:
    """The perplexity of so many nats over so many tokens; infinite where the exponential is."""
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def finite(value: float | None) -> float | None:
    """The number where JSON can hold it."""
    return value if value is not None and math.isfinite(value) else None


def perplexity(
    model: LanguageModel,
    text: EncodedText,
    protocol: str = "stream",
    *,
    columns: int = 1,
    warm_up: int = 0,
    buckets: Sequence[int] = SEED_BUCKETS,
    full_batches: int | None = None,
    tick: Tick | None = None,
) -> Perplexity:
    """Measure by a protocol's name; `columns` and `warm_up` belong to stream, the next two to mxnet.

    Raises UsageError for a name that no protocol has.
    """
    check_protocol(protocol)
    if protocol == "stream":
        return stream_perplexity(model, text, columns=columns, warm_up=warm_up, tick=tick)
    if protocol == "sentence":
        return sentence_perplexity(model, text, tick=tick)
    return mxnet_perplexity(model, text, buckets=buckets, full_batches=full_batches, tick=tick)


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
) -> Perplexity:
    """The literature's: one stream, state carried from the first token to the last, every token predicted once.

    With `columns` > 1 the stream is cut into that many pieces, read side by side: faster, slightly worse, and named in
    the signature. Each piece but the first begins with the state after ``<eos>`` and the `warm_up` tokens before it,
    which are read and not counted. The result does not depend on `chunk`, the steps computed at once.
    """
    tally = _Tally(text)
    warm_up = min(warm_up, column_rows(text, columns) - 1) if columns > 1 else 0
    for positions, losses in _stream_losses(model, text, columns, chunk, warm_up):
        tally.add(positions, losses, tick)
    extra = {"columns": columns} if columns > 1 else {}
    extra |= {"warm-up": warm_up} if warm_up else {}
    return _result(tally, "stream", text.characters, "counted", STATES["stream"], extra)


def sentence_perplexity(
    model: LanguageModel, text: EncodedText, *, budget: int = SENTENCE_BUDGET, tick: Tick | None = None
) -> Perplexity:
    """Every line alone from a zero state; its words and its ``<eos>`` are counted.

    `budget` is how many padded positions are computed at once; the result does not depend on it.
    """
    tally = _Tally(text)
    for positions, losses in _sentence_losses(model, text, budget):
        tally.add(positions, losses, tick)
    return _result(tally, "sentence", text.characters, "counted", STATES["sentence"], {})


def token_nats(
    model: LanguageModel, text: EncodedText, protocol: str = "stream", *, tick: Tick | None = None
) -> NDArray[np.float64]:
    """-ln p of every id of the text (N,), in its order, under stream or sentence; OOV as ``<unk>``."""
    nats = np.zeros(len(text.ids))
    pieces = _stream_losses(model, text) if protocol == "stream" else _sentence_losses(model, text)
    for positions, losses in pieces:
        nats[positions] = losses
        if tick is not None:
            tick(len(positions))
    return nats


def perplexity_of(
    text: EncodedText, nats: NDArray[np.float64], protocol: str, *, state: str | None = None, **extra: object
) -> Perplexity:
    """The perplexity that the nats of all tokens of a text make; `state` and `extra` stand in its signature."""
    tally = _Tally(text)
    tally.add(np.arange(len(nats)), nats)
    return _result(tally, protocol, text.characters, "counted", state or STATES[protocol], extra)


def mxnet_perplexity(
    model: LanguageModel,
    text: EncodedText,
    *,
    buckets: Sequence[int] = SEED_BUCKETS,
    full_batches: int | None = None,
    tick: Tick | None = None,
) -> Perplexity:
    """The seed document's: buckets, first word given, ``<eos>`` and padding not counted, zero state each sentence.

    Sentences longer than the largest bucket are left out, and with `full_batches` also the last rows of each bucket
    that do not fill a batch of that size; the signature counts both. Raises UsageError for a rule of unknown tokens
    that MXNet does not have.
    """
    if text.rule.kind != "unk":
        raise UsageError("the protocol mxnet counts unknown words as <unk> only; leave --oov out")
    starts, lengths = _sentences(text)
    bucket_of = np.searchsorted(np.asarray(buckets), lengths)
    tally = _Tally(text)
    kept = 0
    for index, bucket in enumerate(buckets):
        members = np.flatnonzero(bucket_of == index)
        if full_batches is not None:
            members = members[: len(members) // full_batches * full_batches]
        kept += len(members)
        for rows in _pieces(members, max(1, SENTENCE_BUDGET // bucket)):
            input_, target = given_first_word_batch(padded_rows(text.ids, starts[rows], lengths[rows], bucket))
            counted = (target != IGNORED) & (target != EOS_ID)
            losses = _row_losses(model, input_, target).clip(max=-math.log(SMALLEST_MXNET_PROBABILITY))
            positions = starts[rows][:, None] + 1 + np.arange(bucket)
            tally.add(positions[counted], losses[counted])
            if tick is not None:
                tick(int(lengths[rows].sum()))
    extra: dict[str, object] = {"first-word": "given", "buckets": ",".join(map(str, buckets))}
    if full_batches is not None:
        extra["full-batches"] = full_batches
    extra["dropped"] = len(lengths) - kept
    if not tally.known_tokens + tally.unknown_tokens:
        raise InputError(f"{text.name}: no token is left to count; the buckets or full batches drop every sentence")
    return _result(tally, "mxnet", None, "not-counted", STATES["mxnet"], extra)


def given_buckets(batches: StreamBatches | SentenceBatches) -> Sequence[int]:
    """The buckets that a recipe names; the seed document's where it names none."""
    if isinstance(batches, SentenceBatches) and batches.buckets != "auto":
        return batches.buckets
    return SEED_BUCKETS


@torch.no_grad()
def token_losses(
    model: LanguageModel, input: Tensor, target: Tensor, state: LayerStates, precision: str = "fp32"
) -> tuple[Tensor, LayerStates]:
    """-ln p of each target, without dropout, and the state after them.

    input and target (T, B), losses (T, B) in float64 on the CPU, zero where the target is ignored. precision is that
    of matrix products, fp32 or bf16.
    """
    device = model.device
    with evaluating(model), autocast(precision, device):
        hidden, state = model.hidden(input.to(device), state)
        losses = losses_of(model, hidden.flatten(0, 1), target.to(device).flatten())
    return losses.cpu().view(input.shape), state


def losses_of(model: LanguageModel, hidden: Tensor, target: Tensor) -> Tensor:
    """-ln p (...) in float64 of each target (...) by the last layer's outputs (..., H), zero where it is ignored."""
    _, losses = model.decoder.losses(hidden, target)
    return losses.double()


def column_rows(text: EncodedText, columns: int) -> int:
    """Tokens in each column of a text cut into `columns`; the last column may have fewer."""
    return -(-len(text.ids) // columns)


def _stream_losses(
    model: LanguageModel, text: EncodedText, columns: int = 1, chunk: int = STREAM_CHUNK, warm_up: int = 0
) -> Iterator[Losses]:
    streams = plain_stream(text, chunk, columns)
    state = _warm_state(model, text, columns, warm_up)
    first = 0
    for batch in streams.batches(0):
        losses, state = token_losses(model, batch.input, batch.target, state)
        steps = first + np.arange(len(batch.input))
        positions = steps[:, None] + streams.rows * np.arange(columns)
        counted = batch.counted.numpy()
        yield positions[counted], losses.numpy()[counted]
        first += len(batch.input)


@torch.no_grad()
def _warm_state(model: LanguageModel, text: EncodedText, columns: int, warm_up: int) -> LayerStates:
    """The state in which each column begins: zeros for the first, for the others that after the tokens before it.

    They read `warm_up` tokens, fewer than a column has. Each begins as the whole stream does, with ``<eos>`` after
    zeros: after zeros, other tokens can lead to states from which a model does not come back for hundreds of tokens.
    """
    state = model.initial_state(columns)
    if not warm_up:
        return state
    starts = np.arange(columns) * column_rows(text, columns)
    positions = np.clip(starts + np.arange(-1 - warm_up, -1)[:, None], 0, len(text.ids) - 1)
    input_ = np.concatenate([np.full((1, columns), EOS_ID), text.ids[positions].astype(np.int64)])
    with evaluating(model), autocast("fp32", model.device):
        _, state = model.hidden(torch.from_numpy(input_).to(model.device), state)
    return restart(state, torch.from_numpy(starts == 0))


def _sentence_losses(model: LanguageModel, text: EncodedText, budget: int = SENTENCE_BUDGET) -> Iterator[Losses]:
    starts, lengths = _sentences(text)
    for group in length_groups(lengths.tolist(), budget):
        width = int(lengths[group].max())
        input_, target = sentence_batch(padded_rows(text.ids, starts[group], lengths[group], width))
        positions = starts[group][:, None] + np.arange(width)
        counted = target != IGNORED
        yield positions[counted], _row_losses(model, input_, target, budget)[counted]


def _row_losses(
    model: LanguageModel, input_: NDArray[Any], target: NDArray[Any], budget: int = SENTENCE_BUDGET
) -> NDArray[np.float64]:
    """Losses (B, T) of sentences that start from a zero state, `budget` positions at once; input and target (B, T)."""
    steps = max(1, budget // len(input_))
    state = model.initial_state(len(input_))
    pieces = []
    rows = (torch.split(torch.from_numpy(each).t(), steps) for each in (input_, target))
    for inputs, targets in zip(*rows, strict=True):
        losses, state = token_losses(model, inputs, targets, state)
        pieces.append(losses)
    return torch.cat(pieces).t().numpy()


class _Tally:
    """Sums of what the tokens cost, those that the vocabulary has and those that it lacks."""

    def __init__(self, text: EncodedText) -> None:
        self.text = text
        self.known_nats = self.unknown_nats = 0.0
        self.known_tokens = self.unknown_tokens = 0

    def add(self, positions: NDArray[np.int64], losses: NDArray[np.float64], tick: Tick | None = None) -> None:
        """Losses (N,) of the tokens at these positions (N,) of the text."""
        unknown = np.isin(positions, [] if self.text.missing is None else self.text.missing)
        self.known_nats += float(losses[~unknown].sum())
        self.unknown_nats += float(losses[unknown].sum())
        self.unknown_tokens += int(unknown.sum())
        self.known_tokens += len(losses) - int(unknown.sum())
        if tick is not None:
            tick(len(losses))

    def total(self) -> tuple[float, int]:
        """Nats and tokens by the text's rule for unknown ones."""
        rule, unknown = self.text.rule, self.unknown_tokens + self.text.left_out
        if rule.kind == "skip":
            return self.known_nats, self.known_tokens
        charged = -rule.logprob * unknown if rule.kind == "floor" else self.unknown_nats - rule.added * unknown
        return self.known_nats + charged, self.known_tokens + unknown


def _sentences(text: EncodedText) -> tuple[NDArray[Any], NDArray[Any]]:
    ends = text.ends
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends - starts


def _pieces(rows: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _result(
    tally: _Tally, protocol: str, characters: int | None, eos: str, state: str, extra: dict[str, Any]
) -> Perplexity:
    text = tally.text
    nats, tokens = tally.total()
    if not tokens:
        raise InputError(f"{text.name}: the vocabulary has none of its tokens, so none is left to count")
    oov = text.rule.label(text.oov)
    fields = {"tokens": tokens, "eos": eos, "state": state, "oov": f"at-most:{oov}" if text.oov_is_bound else oov}
    if text.part is not None:
        extra = extra | {"part": f"first:{text.part}"}
    fields |= extra | {"text": f"sha256:{text.digest[:8]}", "recurlm": CODE_VERSION}
    if text.part is not None or (text.rule.kind == "skip" and text.oov):
        characters = None
    known = None if text.missing is None else (tally.known_nats, tally.known_tokens)
    return Perplexity(nats, tokens, text.oov, characters, protocol, signature_of(protocol, fields), known)
