"""Log-probability of every token of every line, each line alone from a zero state."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from recurlm.errors import InputError
from recurlm.evaluation.perplexity import SENTENCE_BUDGET, token_losses
from recurlm.models.language_model import LanguageModel
from recurlm.text.batching import IGNORED, length_groups, sentence_batch
from recurlm.text.codec import Codec
from recurlm.text.vocabulary import EOS, EOS_ID

LINES_AT_ONCE = 2048


class TokenScore(NamedTuple):
    """One token: as written, its id, its natural log-probability, whether the vocabulary lacks it."""

    token: str
    id: int
    logprob: float
    oov: bool


@dataclass(frozen=True)
class LineScore:
    """One line, numbered from 1, and what belongs to each of its tokens, the last of which is ``<eos>``."""

    line: int
    text: str
    words: Sequence[str]
    ids: Sequence[int]
    logprobs: Sequence[float]
    missing: Sequence[bool]

    @property
    def tokens(self) -> tuple[TokenScore, ...]:
        """The same token by token."""
        return tuple(map(TokenScore, self.words, self.ids, self.logprobs, self.missing))

    @property
    def logprob(self) -> float:
        """Natural log-probability of the whole line, ``<eos>`` included."""
        return sum(self.logprobs)

    def to_json(self) -> dict[str, Any]:
        """The object that `score --json` prints."""
        tokens = [{"token": t.token, "id": t.id, "logprob": t.logprob, "oov": t.oov} for t in self.tokens]
        return {"line": self.line, "text": self.text, "logprob": self.logprob, "tokens": tokens}


def score_lines(
    model: LanguageModel,
    codec: Codec,
    lines: Iterable[str],
    *,
    budget: int = SENTENCE_BUDGET,
    precision: str = "fp32",
) -> Iterator[LineScore]:
    """Score lines in order; lines of similar length are computed together, `budget` padded positions at once.

    precision is that of matrix products: in fp32 the result does not depend on what is computed together; bf16 is
    quicker where the processor has it, and off by some hundredths of a nat at most tokens.
    Raises InputError with the line's number for a token that the vocabulary lacks where it has no ``<unk>``.
    """
    numbered = enumerate(lines, 1)
    while block := list(itertools.islice(numbered, LINES_AT_ONCE)):
        yield from _score_block(model, codec, block, budget, precision)


def _score_block(
    model: LanguageModel, codec: Codec, block: list[tuple[int, str]], budget: int, precision: str
) -> Iterator[LineScore]:
    encoded = [_encode(codec, number, line) for number, line in block]
    lengths = [len(ids) for ids, _, _ in encoded]
    logprobs: list[list[float]] = [[] for _ in block]
    for group in length_groups(lengths, budget):
        padded = np.full((len(group), max(lengths[index] for index in group)), IGNORED, np.int64)
        for row, index in enumerate(group):
            padded[row, : lengths[index]] = encoded[index][0]
        input_, target = (torch.from_numpy(array).t() for array in sentence_batch(padded))
        losses, _ = token_losses(model, input_, target, model.initial_state(len(group)), precision)
        by_line = (-losses.t()).numpy()
        for row, index in enumerate(group):
            logprobs[index] = by_line[row, : lengths[index]].tolist()
    for (number, line), (ids, tokens, missing), scores in zip(block, encoded, logprobs, strict=True):
        yield LineScore(number, line, tokens, ids, scores, missing)


def _encode(codec: Codec, number: int, line: str) -> tuple[list[int], list[str], list[bool]]:
    try:
        ids, tokens, missing = codec.line(line)
    except InputError as error:
        raise InputError(f"line {number}: {error}") from error
    return [*ids, EOS_ID], [*tokens, EOS], [*missing, False]
