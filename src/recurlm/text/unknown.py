"""What a token that the vocabulary lacks counts."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from recurlm.errors import UsageError

Kind = Literal["unk", "skip", "floor"]


@dataclass(frozen=True)
class UnknownRule:
    """How a token that the vocabulary lacks is counted.

    unk: as ``<unk>``, at the probability that the model gives it · skip: not at all · floor: at a fixed natural
    log-probability `logprob`, as Mikolov's toolkit charges -5 to base 10. Under skip and floor the model still reads
    ``<unk>`` in its place where the vocabulary has it; where it has none, the token is left out of what the model
    reads. Raises UsageError for a log-probability that cannot be one.
    """

    kind: Kind = "unk"
    logprob: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or (self.kind == "floor") != (self.logprob != 0.0):
            raise _refusal(f"{self.kind}:{self.logprob}")
        if not -math.inf < self.logprob <= 0:
            raise UsageError(f"oov floor:{self.logprob}: a natural log-probability is below 0, such as floor:-11.51")

    @classmethod
    def parse(cls, text: str) -> "UnknownRule":
        """From ``unk``, ``skip`` or ``floor:LOGPROB``. Raises UsageError for anything else."""
        kind, _, value = text.partition(":")
        try:
            if kind == "floor":
                return cls("floor", float(value))
            if text in ("unk", "skip"):
                return cls("unk" if text == "unk" else "skip")
        except ValueError:
            pass
        raise _refusal(text)

    @property
    def needs_unk(self) -> bool:
        """Whether a vocabulary without ``<unk>`` must refuse unknown tokens."""
        return self.kind == "unk"

    def label(self, count: int) -> str:
        """What a signature says under ``oov`` of so many unknown tokens."""
        if self.kind == "unk":
            return str(count)
        return f"skip:{count}" if self.kind == "skip" else f"floor({self.logprob:g}):{count}"


def _refusal(text: str) -> UsageError:
    return UsageError(
        f"oov {text!r}: write unk, skip or floor:LOGPROB, a natural log-probability below 0 such as floor:-11.51"
    )


AS_UNK = UnknownRule()
