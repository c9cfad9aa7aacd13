"""Rescores n-best lists: every hypothesis gets the recurrent model's log-probability and a new total."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recurlm.errors import InputError
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State, begin, initial_state, state_after
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import Hypothesis, NBestList
from recurlm.rescoring.prefix_trie import Logprobs, sequence_logprobs
from recurlm.text.codec import LEFT_OUT, Codec
from recurlm.text.unknown import AS_UNK, UnknownRule
from recurlm.text.vocabulary import EOS_ID

HYPOTHESES_AT_ONCE = 4096
"""Lists are scored together until they hold this many hypotheses; larger batches share few more prefixes."""


@dataclass(frozen=True)
class RescoredHypothesis:
    """A hypothesis with its scores.

    logprob: the recurrent model's natural log-probability, ``<eos>`` included · total: the number by which it is
    ranked · oov: number of its tokens that the vocabulary lacks.
    """

    hypothesis: Hypothesis
    logprob: float
    total: float
    oov: int

    def to_json(self, rank: int) -> dict[str, Any]:
        """The object on one line of the format `jsonl`, which `read_nbest` can read again."""
        costs = {
            "acoustic": self.hypothesis.acoustic_cost,
            "language": self.hypothesis.language_cost,
            "graph": self.hypothesis.graph_cost,
        }
        return {
            "utterance": self.hypothesis.utterance,
            "rank": rank,
            "number": self.hypothesis.number,
            "text": self.hypothesis.text,
            "total": self.total,
            "logprob": self.logprob,
            **{name: -cost for name, cost in costs.items() if cost is not None},
            "oov": self.oov,
        }


@dataclass(frozen=True)
class RescoredList:
    """The scored hypotheses of one utterance, in the order of the file."""

    utterance: str
    scored: tuple[RescoredHypothesis, ...]

    @property
    def ranked(self) -> list[RescoredHypothesis]:
        """The hypotheses, best first; equal totals keep the order of the file."""
        return sorted(self.scored, key=lambda each: -each.total)

    @property
    def best(self) -> RescoredHypothesis:
        """The hypothesis with the largest total."""
        return self.ranked[0]


def rescore(
    model: LanguageModel,
    codec: Codec,
    lists: Iterable[NBestList],
    combination: Combination,
    *,
    carry: bool = False,
    rule: UnknownRule = AS_UNK,
) -> Iterator[RescoredList]:
    """Scores the lists, in their order.

    With `carry`, all lists are one text: each starts from the state after the best hypothesis of the list before.
    Otherwise each starts from a zero state. `rule` says how unknown tokens are charged. Raises InputError with file
    and line for an unknown token where the rule needs ``<unk>`` and the vocabulary has none.
    """
    rule.check(codec.vocabulary.unknown_id)
    encoder = _Encoder(codec, rule)
    if carry:
        return _carried(model, encoder, lists, combination)
    return _independent(model, encoder, lists, combination)


def rescore_after(
    model: LanguageModel,
    codec: Codec,
    nbest: NBestList,
    combination: Combination,
    state: State,
    *,
    rule: UnknownRule = AS_UNK,
) -> RescoredList:
    """Scores a list whose hypotheses all continue from a state. Raises InputError as `rescore` does.

    After a state that read the best hypotheses before, each with its ``<eos>``, the scores are those of `rescore` with
    `carry`.
    """
    rule.check(codec.vocabulary.unknown_id)
    encoder = _Encoder(codec, rule)
    encoded = [encoder.encode(hypothesis) for hypothesis in nbest.hypotheses]
    return RescoredList(nbest.utterance, tuple(encoder.score(model, encoded, combination, state)))


def hypothesis_ids(codec: Codec, text: str, rule: UnknownRule = AS_UNK) -> list[int]:
    """The ids, ``<eos>`` included, that are read before the next list with `carry`. Raises as `rescore` does."""
    rule.check(codec.vocabulary.unknown_id)
    return [*(index for index in codec.line(text, rule)[0] if index != LEFT_OUT), EOS_ID]


def recombined(rescored: Iterable[RescoredList], combination: Combination) -> list[RescoredList]:
    """The same scores under another combination."""
    return [
        RescoredList(
            each.utterance,
            tuple(
                replace(scored, total=combination.total(scored.hypothesis, scored.logprob)) for scored in each.scored
            ),
        )
        for each in rescored
    ]


@dataclass(frozen=True)
class _Encoded:
    """A hypothesis as ids; `unknown` are the positions of unknown tokens in them, `oov` counts those left out too."""

    hypothesis: Hypothesis
    ids: list[int]
    unknown: list[int]
    oov: int


@dataclass(frozen=True)
class _Encoder:
    """Turns hypotheses into ids, and log-probabilities of ids into those of hypotheses."""

    codec: Codec
    rule: UnknownRule

    def encode(self, hypothesis: Hypothesis) -> _Encoded:
        try:
            ids, _, missing = self.codec.line(hypothesis.text, self.rule)
        except InputError as error:
            raise InputError(f"{hypothesis.place}: {error}") from error
        read = [(index, absent) for index, absent in zip(ids, missing, strict=True) if index != LEFT_OUT]
        unknown = [position for position, (_, absent) in enumerate(read) if absent]
        return _Encoded(hypothesis, [index for index, _ in read], unknown, sum(missing))

    def logprob(self, encoded: _Encoded, logprobs: Logprobs) -> float:
        """The log-probability of a hypothesis, from those (n,) of its ids and of ``<eos>``."""
        if self.rule.needs_unk:
            return float(logprobs.sum()) + encoded.oov * self.rule.added
        return float(np.delete(logprobs, encoded.unknown).sum()) + encoded.oov * self.rule.logprob

    def score(
        self,
        model: LanguageModel,
        encoded: Sequence[_Encoded],
        combination: Combination,
        state: State | None = None,
    ) -> list[RescoredHypothesis]:
        """Scores hypotheses that start from the same state."""
        scored = []
        first, layers = begin(model, state, 1)
        found = sequence_logprobs(model, [each.ids for each in encoded], layers, first)
        for each, logprobs in zip(encoded, found, strict=True):
            logprob = self.logprob(each, logprobs)
            total = combination.total(each.hypothesis, logprob)
            scored.append(RescoredHypothesis(each.hypothesis, logprob, total, each.oov))
        return scored


def _independent(
    model: LanguageModel, encoder: _Encoder, lists: Iterable[NBestList], combination: Combination
) -> Iterator[RescoredList]:
    for block in _lists_at_once(lists):
        encoded = [encoder.encode(hypothesis) for each in block for hypothesis in each.hypotheses]
        scored = iter(encoder.score(model, encoded, combination))
        for each in block:
            yield RescoredList(each.utterance, tuple(itertools.islice(scored, len(each.hypotheses))))


def _carried(
    model: LanguageModel, encoder: _Encoder, lists: Iterable[NBestList], combination: Combination
) -> Iterator[RescoredList]:
    state = initial_state(model, "")
    for each in lists:
        encoded = [encoder.encode(hypothesis) for hypothesis in each.hypotheses]
        rescored = RescoredList(each.utterance, tuple(encoder.score(model, encoded, combination, state)))
        best = encoded[rescored.scored.index(rescored.best)]
        state = state_after(model, [*best.ids, EOS_ID], state)
        yield rescored


def _lists_at_once(lists: Iterable[NBestList]) -> Iterator[list[NBestList]]:
    """Consecutive lists with at least `HYPOTHESES_AT_ONCE` hypotheses together; the last group may have fewer."""
    block: list[NBestList] = []
    size = 0
    for each in lists:
        block.append(each)
        size += len(each.hypotheses)
        if size >= HYPOTHESES_AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block
