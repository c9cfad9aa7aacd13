"""Beam search: the likeliest continuations of a prompt instead of random ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurlm.capacity import check_fits
from recurlm.errors import UsageError
from recurlm.generation.sampling import after_prompt, check_banned, summed_logprobs
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State
from recurlm.models.state import LayerStates, map_state
from recurlm.text.vocabulary import EOS_ID

BYTES_A_SCORE = 12
"""One logit in float32 and one log-probability in float64."""


@dataclass(frozen=True)
class BeamOptions:
    """Options of a beam search.

    width: number of unfinished continuations kept at each step · length_penalty: the exponent of `length_normalized`;
    0 compares plain log-probabilities, which favors short texts · banned: ids that are never taken.
    """

    width: int
    length_penalty: float = 0.0
    banned: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError(f"beam {self.width}: must be at least 1; 1 always takes the likeliest token")
        if not 0 <= self.length_penalty <= 10:
            raise UsageError(
                f"length penalty {self.length_penalty}: must be from 0 to 10; 0 means none, "
                "larger values favor longer texts"
            )


@dataclass(frozen=True)
class Continuation:
    """A continuation of a prompt.

    ids: with ``<eos>`` where it ended there · logprob: natural log-probability, as `score` gives it · score: the
    number by which continuations are ranked.
    """

    ids: tuple[int, ...]
    logprob: float
    score: float


def length_normalized(logprob: float, length: int, penalty: float) -> float:
    """logprob / ((5 + length) / 6)^penalty: Wu et al. 2016 (GNMT), equation 14, without coverage."""
    return float(logprob / ((5 + length) / 6) ** penalty)


@torch.no_grad()
def beam_search(
    model: LanguageModel,
    prompt: Sequence[int],
    options: BeamOptions,
    *,
    tokens: int,
    count: int = 1,
    start: State | None = None,
) -> list[Continuation]:
    """Returns the `count` best continuations found, best first; fewer only where no more exist.

    The model starts after ``<eos>``, or from the state `start`, and reads the prompt. A continuation ends with
    ``<eos>`` or after `tokens` tokens; both kinds compete. The result is exact if the beam is as wide as the number of
    possible continuations. Nothing is random.
    Raises UsageError where `count` exceeds the width of the beam, or where every token is banned.
    """
    if count > options.width:
        raise UsageError(f"{count} continuations from a beam of {options.width}: widen the beam or ask for fewer")
    check_banned(options.banned, model.vocabulary_size)
    check_beam_fits(options.width, model.vocabulary_size, tokens)
    beam = _Beam(model, after_prompt(model, prompt, start, 1), options, tokens)
    while not beam.is_done():
        beam.advance()
    found = [list(ids) for _, ids in beam.best()]
    logprobs = summed_logprobs(model, prompt, found, start)
    exact = [
        Continuation(tuple(ids), logprob, length_normalized(logprob, len(ids), options.length_penalty))
        for ids, logprob in zip(found, logprobs, strict=True)
    ]
    return sorted(exact, key=lambda hypothesis: -hypothesis.score)[:count]


def check_beam_fits(width: int, vocabulary_size: int, tokens: int) -> None:
    """Raises UsageError where the scores of all continuations of a beam do not fit in memory."""
    rows = min(width, vocabulary_size ** min(tokens - 1, 20)) if vocabulary_size > 1 else 1
    check_fits(rows * vocabulary_size * BYTES_A_SCORE, f"a beam of {width:,}", "ask for a narrower one with --beam")


class _Beam:
    """The unfinished continuations as one batch, and the best finished ones as (score, ids).

    ids (N, n), logprobs (N,), and logits (N, V) of the next token; the state has the same N rows.
    """

    def __init__(
        self, model: LanguageModel, after: tuple[Tensor, LayerStates], options: BeamOptions, tokens: int
    ) -> None:
        self.model, self.options, self.tokens = model, options, tokens
        self.logits, self.state = after
        self.ids = torch.empty(1, 0, dtype=torch.int64, device=model.device)
        self.logprobs = torch.zeros(1, dtype=torch.float64, device=model.device)
        self.finished: list[tuple[float, list[int]]] = []

    @property
    def length(self) -> int:
        return self.ids.shape[1]

    def is_done(self) -> bool:
        """Whether all tokens are used, or no unfinished continuation can become one of the best."""
        if self.length == self.tokens or not len(self.ids):
            return True
        # log-probabilities only fall, and the longest text has the largest divisor
        reachable = self._score(self.logprobs.max().item(), self.tokens)
        return len(self.finished) == self.options.width and reachable <= self.finished[-1][0]

    def advance(self) -> None:
        """Advances one token: every ``<eos>`` finishes a continuation, and the best with another token continue."""
        logprobs = self.logprobs[:, None] + self.logits.double().log_softmax(-1)
        logprobs[:, list(self.options.banned)] = -torch.inf
        self._finish(torch.cat([self.ids, self.ids.new_full((len(self.ids), 1), EOS_ID)], 1), logprobs[:, EOS_ID])
        logprobs[:, EOS_ID] = -torch.inf
        self._keep(logprobs)

    def best(self) -> list[tuple[float, list[int]]]:
        """The best continuations, including those cut off after the last token."""
        if self.length == self.tokens:
            self._finish(self.ids, self.logprobs)
        return self.finished

    def _finish(self, ids: Tensor, logprobs: Tensor) -> None:
        width, length = self.options.width, ids.shape[1]
        # only the best are converted to lists of ids; converting all would cost the square of the length
        worst = self.finished[-1][0] if len(self.finished) == width else -torch.inf
        scores = [self._score(logprob, length) for logprob in logprobs.tolist()]
        new = [(score, ids[row].tolist()) for row, score in enumerate(scores) if score > worst]
        self.finished = sorted(self.finished + new, key=lambda each: -each[0])[:width]

    def _keep(self, logprobs: Tensor) -> None:
        """Keeps the likeliest of all continuations by one token; logprobs (N, V)."""
        flat = logprobs.flatten()
        likeliest = flat.topk(min(self.options.width, len(flat)))
        places = likeliest.indices[likeliest.values > -torch.inf]
        parents, words = places // logprobs.shape[1], places % logprobs.shape[1]
        self.ids = torch.cat([self.ids[parents], words[:, None]], 1)
        self.logprobs = flat[places]
        self.logits, self.state = self.model.step(words, map_state(lambda tensor: tensor[parents], self.state))

    def _score(self, logprob: float, length: int) -> float:
        return length_normalized(logprob, length, self.options.length_penalty)
