"""Perplexity under a protocol, with the signature that says what was counted.

Perplexity = exp(total negative natural log-probability / tokens counted). See docs/protocols.md.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurlm.config import SentenceBatches, StreamBatches
from recurlm.devices import autocast
from recurlm.errors import InputError
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy
from recurlm.models.language_model import LanguageModel, evaluating
from recurlm.models.state import State
from recurlm.text.batching import IGNORED, Streams, given_first_word_batch, length_groups, padded_rows, sentence_batch
from recurlm.text.codec import EncodedText
from recurlm.text.vocabulary import EOS_ID
from recurlm.version import VERSION

PROTOCOLS = ("stream", "sentence", "mxnet")
SEED_BUCKETS = (10, 20, 40, 60, 80)
STREAM_CHUNK = 512
SENTENCE_BUDGET = 4096
SMALLEST_MXNET_PROBABILITY = 1e-10

Tick = Callable[[int], None]
"""Called with the number of tokens done since the last call; may raise to stop."""


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and the contract under which it was measured.

    nats: total negative log-probability · tokens: how many were counted · oov: how many of the text's tokens the
    vocabulary lacks · characters: of the text, or None where not all of its tokens were counted.
    """

    nats: float
    tokens: int
    oov: int
    characters: int | None
    protocol: str
    signature: str

    @property
    def value(self) -> float:
        """The perplexity; infinite where the exponential is."""
        try:
            return math.exp(self.nats / self.tokens)
        except OverflowError:
            return math.inf

    @property
    def bits_per_token(self) -> float:
        """Mean surprisal in bits."""
        return self.nats / self.tokens / math.log(2)

    @property
    def bits_per_character(self) -> float | None:
        """Bits for each character of the text, line feeds included."""
        return None if self.characters is None else self.nats / self.characters / math.log(2)

    def to_json(self) -> dict[str, Any]:
        """The object that `eval --json` prints."""
        return {
            "perplexity": self.value if math.isfinite(self.value) else None,
            "bits_per_token": self.bits_per_token,
            "bits_per_character": self.bits_per_character,
            "tokens": self.tokens,
            "oov": self.oov,
            "protocol": self.protocol,
            "signature": self.signature,
        }


def perplexity(
    model: LanguageModel,
    text: EncodedText,
    protocol: str = "stream",
    *,
    columns: int = 1,
    buckets: Sequence[int] = SEED_BUCKETS,
    full_batches: int | None = None,
    tick: Tick | None = None,
) -> Perplexity:
    """Measure by a protocol's name; `columns` belongs to stream, `buckets` and `full_batches` to mxnet."""
    if protocol == "stream":
        return stream_perplexity(model, text, columns=columns, tick=tick)
    if protocol == "sentence":
        return sentence_perplexity(model, text, tick=tick)
    if protocol == "mxnet":
        return mxnet_perplexity(model, text, buckets=buckets, full_batches=full_batches, tick=tick)
    raise InputError(f"no protocol named {protocol!r}; there are {', '.join(PROTOCOLS)}")


def stream_perplexity(
    model: LanguageModel,
    text: EncodedText,
    *,
    columns: int = 1,
    chunk: int = STREAM_CHUNK,
    tick: Tick | None = None,
) -> Perplexity:
    """The literature's: one stream, state carried from the first token to the last, every token predicted once.

    With `columns` > 1 the stream is cut into that many pieces read side by side, each from a zero state: quicker,
    slightly worse, and named in the signature. The result does not depend on `chunk`, the steps computed at once.
    """
    total = 0.0
    state = model.initial_state(columns)
    for batch in Streams(text, StreamBatches(batch_size=columns, bptt=chunk), seed=0).batches(0):
        losses, state = token_losses(model, batch.input, batch.target, state)
        total += losses.sum().item()
        if tick is not None:
            tick(int(batch.counted.sum()))
    extra = {"columns": columns} if columns > 1 else {}
    return _result(text, "stream", total, len(text.ids), text.characters, "counted", "carried", extra)


def sentence_perplexity(
    model: LanguageModel, text: EncodedText, *, budget: int = SENTENCE_BUDGET, tick: Tick | None = None
) -> Perplexity:
    """Every line alone from a zero state; its words and its ``<eos>`` are counted.

    `budget` is how many padded positions are computed at once; the result does not depend on it.
    """
    starts, lengths = _sentences(text)
    total = 0.0
    for group in length_groups(lengths.tolist(), budget):
        padded = padded_rows(text.ids, starts[group], lengths[group], int(lengths[group].max()))
        losses = _row_losses(model, *sentence_batch(padded))
        total += losses.sum().item()
        if tick is not None:
            tick(int(lengths[group].sum()))
    return _result(text, "sentence", total, len(text.ids), text.characters, "counted", "zero", {})


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
    that do not fill a batch of that size; the signature counts both.
    """
    starts, lengths = _sentences(text)
    bucket_of = np.searchsorted(np.asarray(buckets), lengths)
    total, tokens, kept = 0.0, 0, 0
    for index, bucket in enumerate(buckets):
        members = np.flatnonzero(bucket_of == index)
        if full_batches is not None:
            members = members[: len(members) // full_batches * full_batches]
        kept += len(members)
        for rows in _pieces(members, max(1, SENTENCE_BUDGET // bucket)):
            input_, target = given_first_word_batch(padded_rows(text.ids, starts[rows], lengths[rows], bucket))
            counted = torch.from_numpy((target != IGNORED) & (target != EOS_ID))
            losses = _row_losses(model, input_, target).clamp(max=-math.log(SMALLEST_MXNET_PROBABILITY))
            total += losses[counted].sum().item()
            tokens += int(counted.sum())
            if tick is not None:
                tick(int(lengths[rows].sum()))
    extra: dict[str, object] = {"first-word": "given", "buckets": ",".join(map(str, buckets))}
    if full_batches is not None:
        extra["full-batches"] = full_batches
    extra["dropped"] = len(lengths) - kept
    if not tokens:
        raise InputError(f"{text.name}: no token is left to count; the buckets or full batches drop every sentence")
    return _result(text, "mxnet", total, tokens, None, "not-counted", "zero", extra)


def given_buckets(batches: StreamBatches | SentenceBatches) -> Sequence[int]:
    """The buckets that a recipe names; the seed document's where it names none."""
    if isinstance(batches, SentenceBatches) and batches.buckets != "auto":
        return batches.buckets
    return SEED_BUCKETS


@torch.no_grad()
def token_losses(
    model: LanguageModel, input: Tensor, target: Tensor, state: State, precision: str = "fp32"
) -> tuple[Tensor, State]:
    """-ln p of each target, without dropout, and the state after them.

    input and target (T, B), losses (T, B) in float64 on the CPU, zero where the target is ignored. precision is that
    of matrix products, fp32 or bf16.
    """
    device = model.device
    with evaluating(model), autocast(precision, device):
        hidden, state = model.hidden(input.to(device), state)
        _, losses = linear_cross_entropy(
            hidden.flatten(0, 1), model.decoder.weight, model.decoder.bias, target.to(device).flatten()
        )
    return losses.double().cpu().view(input.shape), state


def _row_losses(model: LanguageModel, input_: "np.ndarray[Any, Any]", target: "np.ndarray[Any, Any]") -> Tensor:
    """Losses (B, T) of sentences that start from a zero state; input and target are (B, T)."""
    inputs, targets = torch.from_numpy(input_).t(), torch.from_numpy(target).t()
    losses, _ = token_losses(model, inputs, targets, model.initial_state(len(input_)))
    return losses.t()


def _sentences(text: EncodedText) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    ends = text.ends
    starts = np.concatenate([[0], ends[:-1]])
    return starts, ends - starts


def _pieces(rows: "np.ndarray[Any, Any]", size: int) -> Iterator["np.ndarray[Any, Any]"]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _result(
    text: EncodedText,
    protocol: str,
    nats: float,
    tokens: int,
    characters: int | None,
    eos: str,
    state: str,
    extra: dict[str, Any],
) -> Perplexity:
    fields = {"tokens": tokens, "eos": eos, "state": state, "oov": text.oov}
    fields |= extra | {"text": f"sha256:{text.digest[:8]}", "recurlm": VERSION}
    signature = "|".join([protocol, *(f"{name}={value}" for name, value in fields.items())])
    return Perplexity(nats, tokens, text.oov, characters, protocol, signature)
