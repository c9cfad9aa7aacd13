"""A perplexity, with the signature that says what was counted.

Perplexity = exp(total negative natural log-probability / tokens counted). See docs/protocols.md.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.text.codec import EncodedText
from recurlm.version import CODE_VERSION

STATES = {"stream": "carried", "sentence": "zero", "mxnet": "zero"}
"""For each protocol, what happens to the state at the end of a sentence inside a document."""

Tick = Callable[[int], None]
"""Receives the number of tokens done since the last call; it may raise an exception to stop the work."""


@dataclass(frozen=True)
class Perplexity:
    """A perplexity and the contract under which it was measured.

    nats: total negative log-probability · tokens: number of tokens counted · oov: number of the text's tokens that
    the vocabulary lacks · characters: length of the text, or None where not all of its tokens were counted · known:
    nats and number of the tokens in the vocabulary, or None where it was not recorded which tokens these are.
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
        """The perplexity; `inf` where the exponential overflows."""
        return exponential(self.nats, self.tokens)

    @property
    def without_oov(self) -> float | None:
        """The perplexity of the known tokens alone; None where every token is known or none is."""
        if not self.oov or self.known is None or not self.known[1]:
            return None
        return exponential(*self.known)

    @property
    def all_tokens(self) -> int:
        """Number of tokens, known and unknown, counted or not."""
        return self.tokens if self.known is None else self.known[1] + self.oov

    @property
    def bits_per_token(self) -> float:
        """Mean surprisal in bits."""
        return self.nats / self.tokens / math.log(2)

    @property
    def bits_per_character(self) -> float | None:
        """Bits for each character of the text; line feeds count as characters."""
        return None if self.characters is None else self.nats / self.characters / math.log(2)

    def seen_by(self, models: str) -> "Perplexity":
        """A copy whose signature says that these models learned from the text."""
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


def state_of(protocol: str, text: EncodedText) -> str:
    """What signatures say of the state at the end of a sentence, and by which rule further documents restart it."""
    restarts = protocol == "stream" and len(text.further_documents)
    return f"{STATES[protocol]}(document={text.document})" if restarts else STATES[protocol]


def signature_of(measured: str, fields: Mapping[str, object]) -> str:
    """The signature that is printed beside a figure: first what was measured, then what was counted."""
    return "|".join([measured, *(f"{name}={value}" for name, value in fields.items())])


def exponential(nats: float, tokens: int) -> float:
    """The perplexity of a number of tokens that cost `nats` in total; `inf` where the exponential overflows."""
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def finite(value: float | None) -> float | None:
    """The number, or None where JSON cannot hold it."""
    return value if value is not None and math.isfinite(value) else None


class Tally:
    """Sums the losses of a text's tokens; tokens in the vocabulary and unknown tokens are kept apart."""

    def __init__(self, text: EncodedText) -> None:
        self.text = text
        self.known_nats = self.unknown_nats = 0.0
        self.known_tokens = self.unknown_tokens = 0

    def add(self, positions: NDArray[np.int64], losses: NDArray[np.float64], tick: Tick | None = None) -> None:
        """Adds the losses (N,) of the tokens at these positions (N,) of the text."""
        unknown = np.isin(positions, [] if self.text.missing is None else self.text.missing)
        self.known_nats += float(losses[~unknown].sum())
        self.unknown_nats += float(losses[unknown].sum())
        self.unknown_tokens += int(unknown.sum())
        self.known_tokens += len(losses) - int(unknown.sum())
        if tick is not None:
            tick(len(losses))

    def total(self) -> tuple[float, int]:
        """Nats and tokens, where unknown tokens are charged by the text's rule."""
        rule, unknown = self.text.rule, self.unknown_tokens + self.text.left_out
        if rule.kind == "skip":
            return self.known_nats, self.known_tokens
        charged = -rule.logprob * unknown if rule.kind == "floor" else self.unknown_nats - rule.added * unknown
        return self.known_nats + charged, self.known_tokens + unknown

    def result(
        self, protocol: str, extra: Mapping[str, object], *, state: str | None = None, eos_counted: bool = True
    ) -> Perplexity:
        """The perplexity of everything that was added.

        extra: further fields of the signature · state: what the signature says of the state, by default the
        protocol's. Raises InputError where no token is left to count.
        """
        text = self.text
        nats, tokens = self.total()
        if not tokens:
            raise InputError(f"{text.name}: the vocabulary has none of its tokens, so none is left to count")
        oov = text.rule.label(text.oov)
        fields: dict[str, object] = {
            "tokens": tokens,
            "eos": "counted" if eos_counted else "not-counted",
            "state": state or state_of(protocol, text),
            "oov": f"at-most:{oov}" if text.oov_is_bound else oov,
        }
        fields |= extra
        if text.part is not None:
            fields["part"] = f"first:{text.part}"
        fields |= {"text": f"sha256:{text.digest[:8]}", "recurlm": CODE_VERSION}
        if text.cut:
            fields["cut"] = text.cut
        all_counted = eos_counted and text.part is None and not (text.rule.kind == "skip" and text.oov)
        known = None if text.missing is None else (self.known_nats, self.known_tokens)
        signature = signature_of(protocol, fields)
        return Perplexity(nats, tokens, text.oov, text.characters if all_counted else None, protocol, signature, known)


def perplexity_of(
    text: EncodedText, nats: NDArray[np.float64], protocol: str, *, state: str | None = None, **extra: object
) -> Perplexity:
    """The perplexity of a text whose tokens cost these nats (N,); `state` and `extra` go into its signature."""
    tally = Tally(text)
    tally.add(np.arange(len(nats)), nats)
    return tally.result(protocol, extra, state=state)
