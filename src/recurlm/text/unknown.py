"""How tokens count that the vocabulary lacks."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from recurlm.errors import InputError, UsageError

Kind = Literal["unk", "skip", "floor", "share"]

MOST_WORDS = 10**12
LARGE_SHARE, FEW = 0.05, 5
"""Warn from this share of unknown tokens on, unless they are fewer than that number."""


@dataclass(frozen=True)
class UnknownRule:
    """How a token that the vocabulary lacks is counted.

    unk: as ``<unk>``, at the probability that the model gives it · skip: not at all · floor: at a fixed natural
    log-probability `logprob`, as Mikolov's toolkit charges -5 to base 10 · share: at the probability of ``<unk>``
    divided by `words`, the number of words that ``<unk>`` stands for, as IRSTLM's dictionary upper bound does. Under
    skip and floor the model reads ``<unk>`` in place of the token, or skips the token where the vocabulary has no
    ``<unk>``. Raises UsageError for invalid values.
    """

    kind: Kind = "unk"
    logprob: float = 0.0
    words: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or (self.kind == "floor") != (self.logprob != 0.0):
            raise _refusal(f"{self.kind}:{self.logprob}")
        if self.kind != "share" and self.words != 1:
            raise _refusal(f"{self.kind}:{self.words}")
        if not -math.inf < self.logprob <= 0:
            raise UsageError(f"oov floor:{self.logprob}: a natural log-probability is below 0, such as floor:-11.51")
        if not 1 <= self.words <= MOST_WORDS:
            raise UsageError(f"oov share:{self.words}: a whole number of words from 1 to {MOST_WORDS:,}")

    @classmethod
    def parse(cls, text: str) -> "UnknownRule":
        """From ``unk``, ``skip``, ``floor:LOGPROB`` or ``share:N``. Raises UsageError for anything else."""
        kind, _, value = text.partition(":")
        try:
            if kind == "floor":
                return cls("floor", float(value))
            if kind == "share" and value.isascii() and value.isdigit() and len(value) <= len(str(MOST_WORDS)):
                return cls("share", words=int(value))
            if text in ("unk", "skip"):
                return cls("unk" if text == "unk" else "skip")
        except ValueError:
            pass
        raise _refusal(text)

    @property
    def needs_unk(self) -> bool:
        """Whether unknown tokens are an error where the vocabulary has no ``<unk>``."""
        return self.kind in ("unk", "share")

    @property
    def added(self) -> float:
        """Added to the natural log-probability of ``<unk>`` where unknown tokens count as ``<unk>``."""
        return -math.log(self.words)

    def check(self, unknown_id: int | None) -> None:
        """Raises InputError where the rule shares the probability of ``<unk>`` and the vocabulary has none."""
        if self.kind == "share" and unknown_id is None:
            raise InputError(
                f"--oov share:{self.words}: the vocabulary has no <unk> whose probability could be shared\n"
                "use --oov skip or floor:LOGPROB, or train with text.unknown=true"
            )

    def label(self, count: int) -> str:
        """The value of ``oov`` in a signature, for this number of unknown tokens."""
        values = {"skip": "skip", "floor": f"floor({self.logprob:g})", "share": f"share({self.words})"}
        return str(count) if self.kind == "unk" else f"{values[self.kind]}:{count}"

    def warning(self, unknown: int, tokens: int) -> str | None:
        """A warning where a large share of the tokens is unknown, so that figures flatter; else None."""
        if self.kind in ("floor", "share") or not many(unknown, tokens):
            return None
        effect = "count as <unk>, which is easy to predict" if self.kind == "unk" else "are not counted"
        return f"{_amount(unknown, tokens)} and {effect}: texts look more normal than they are\n{ADVICE}"


ADVICE = (
    "--oov share:N divides the probability of <unk> among the N words that it stands for; "
    "`recurlm vocabulary RUN --extend FILE --out NEW` adds words"
)


def many(unknown: int, tokens: int) -> bool:
    """Whether this number of unknown tokens, among all tokens, is worth a warning."""
    return unknown >= FEW and unknown >= LARGE_SHARE * tokens


def _amount(unknown: int, tokens: int) -> str:
    return f"warning: {unknown:,} of {tokens:,} tokens ({unknown / tokens:.1%}) are not in the vocabulary"


def _refusal(text: str) -> UsageError:
    return UsageError(
        f"oov {text!r}: write unk, skip, floor:LOGPROB, a natural log-probability below 0 such as floor:-11.51, or "
        "share:N, a whole number of words such as share:64000"
    )


AS_UNK = UnknownRule()
