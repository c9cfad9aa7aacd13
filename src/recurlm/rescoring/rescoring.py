"""N-best lists in a new order: the recurrent model's log-probability combined with the recogniser's own costs.

    total = - acoustic_scale acoustic_cost
            + lm_scale [weight ln p + (1 - weight) (- language_cost) - graph_cost]
            + length_bonus words

ln p is the recurrent model's, `<eos>` included; costs are negative natural logs, as Kaldi writes them. The best
hypothesis has the largest total (Mikolov et al. 2010, section 3, with the interpolation between sentences' logs).
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError, UsageError
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import initial_state, read
from recurlm.models.state import LayerStates
from recurlm.rescoring.nbest import Hypothesis, NBestFile, NBestList
from recurlm.rescoring.prefix_trie import Logprobs, sequence_logprobs
from recurlm.rescoring.word_errors import WordErrors, word_errors
from recurlm.text.codec import LEFT_OUT, Codec
from recurlm.text.unknown import AS_UNK, UnknownRule
from recurlm.text.vocabulary import EOS_ID
from recurlm.wording import counted

HYPOTHESES_AT_ONCE = 4096
"""Lists are computed together until they have this many; what more adds to shared prefixes is little."""

Number = TypeVar("Number", float, NDArray[np.float64])

References = Mapping[str, Sequence[str]]
"""Utterance to the words that were said."""


@dataclass(frozen=True)
class Combination:
    """How scores are combined; see the formula above. Raises UsageError for what cannot be combined."""

    weight: float = 0.5
    acoustic_scale: float = 1.0
    lm_scale: float = 1.0
    length_bonus: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise UsageError(f"weight {self.weight:g}: must be from 0, the old model alone, to 1, this model alone")
        if not (0 <= self.acoustic_scale < float("inf") and 0 <= self.lm_scale < float("inf")):
            raise UsageError("the acoustic scale and the lm scale must be 0 or above")
        if not abs(self.length_bonus) < float("inf"):
            raise UsageError("the length bonus must be a number")

    def total(self, hypothesis: Hypothesis, logprob: float) -> float:
        """What a hypothesis is ranked by; a cost that its list lacks counts as 0."""
        costs = hypothesis.acoustic_cost, hypothesis.language_cost, hypothesis.graph_cost
        acoustic, language, graph = (cost or 0.0 for cost in costs)
        return self.combine(logprob, acoustic, language, graph, float(len(hypothesis.words)))

    def combine(self, logprob: Number, acoustic: Number, language: Number, graph: Number, words: Number) -> Number:
        """The formula: ln p, the three costs and the number of words of one hypothesis, or of many as arrays."""
        combined = self.weight * logprob - (1 - self.weight) * language - graph
        return self.lm_scale * combined - self.acoustic_scale * acoustic + self.length_bonus * words

    def options(self) -> str:
        """The same on the command line."""
        return (
            f"--weight {self.weight:.10g} --acoustic-scale {self.acoustic_scale:.10g} "
            f"--lm-scale {self.lm_scale:.10g} --length-bonus {self.length_bonus:.10g}"
        )

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --json` prints."""
        return {
            "weight": self.weight,
            "acoustic_scale": self.acoustic_scale,
            "lm_scale": self.lm_scale,
            "length_bonus": self.length_bonus,
        }


OLD_ALONE = 0.0
"""The weight at which the recurrent model has no say."""


def combination_for(
    file: NBestFile,
    *,
    weight: float | None = None,
    acoustic_scale: float | None = None,
    lm_scale: float | None = None,
    length_bonus: float | None = None,
) -> Combination:
    """What is given, and for the rest what the files say: the scales of a lattice; weight 0.5, or 1 without old costs.

    Raises UsageError for a weight below 1 where there are no costs of an old language model.
    """
    if not file.has_language_costs and weight not in (None, 1):
        raise UsageError(
            f"weight {weight:g}: {file.place} has no costs of an old language model to be weighed against\n"
            "leave --weight out, or name a file with --language-costs"
        )
    usual = 0.5 if file.has_language_costs else 1.0
    return Combination(
        usual if weight is None else weight,
        file.acoustic_scale if acoustic_scale is None else acoustic_scale,
        file.lm_scale if lm_scale is None else lm_scale,
        file.length_bonus if length_bonus is None else length_bonus,
    )


@dataclass(frozen=True)
class Rescored:
    """A hypothesis, the recurrent model's natural log-probability of it, ``<eos>`` included, what it is ranked by, and
    how many of its tokens the vocabulary lacks."""

    hypothesis: Hypothesis
    logprob: float
    total: float
    oov: int

    def to_json(self, rank: int) -> dict[str, Any]:
        """One line of the format `jsonl`: as it can be read again, and what was found."""
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
    """An utterance's hypotheses as they were scored, in the order of the file."""

    utterance: str
    scored: tuple[Rescored, ...]

    @property
    def ranked(self) -> list[Rescored]:
        """Best first; what is equally good keeps the order of the file."""
        return sorted(self.scored, key=lambda each: -each.total)

    @property
    def best(self) -> Rescored:
        """The one with the largest total."""
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
    """Each list with its scores, in order.

    With `carry` a list is read in the state that the best hypothesis of the list before left behind, all lists as one
    text; without, each from a zero state. `rule` says what unknown tokens count. Raises InputError naming file and
    line of a token that the vocabulary lacks where the rule needs an ``<unk>`` that is not there.
    """
    rule.check(codec.vocabulary.unknown_id)
    encoder = _Encoder(codec, rule)
    if carry:
        return _carried(model, encoder, lists, combination)
    return _independent(model, encoder, lists, combination)


def recombined(rescored: Iterable[RescoredList], combination: Combination) -> list[RescoredList]:
    """The same scores combined anew."""
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
    """The ids that the model reads, the positions of unknown tokens among them, and how many tokens are unknown."""

    hypothesis: Hypothesis
    ids: list[int]
    unknown: list[int]
    oov: int


@dataclass(frozen=True)
class _Encoder:
    """Hypotheses to ids, and the log-probabilities of ids to those of hypotheses."""

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
        """Of a whole hypothesis, from those (n) of its ids and of ``<eos>``."""
        if self.rule.needs_unk:
            return float(logprobs.sum()) + encoded.oov * self.rule.added
        return float(np.delete(logprobs, encoded.unknown).sum()) + encoded.oov * self.rule.logprob

    def score(
        self,
        model: LanguageModel,
        encoded: Sequence[_Encoded],
        combination: Combination,
        state: LayerStates | None = None,
    ) -> list[Rescored]:
        """Hypotheses that begin with the same state."""
        scored = []
        for each, logprobs in zip(
            encoded, sequence_logprobs(model, [each.ids for each in encoded], state), strict=True
        ):
            logprob = self.logprob(each, logprobs)
            scored.append(Rescored(each.hypothesis, logprob, combination.total(each.hypothesis, logprob), each.oov))
        return scored


def _independent(
    model: LanguageModel, encoder: _Encoder, lists: Iterable[NBestList], combination: Combination
) -> Iterator[RescoredList]:
    for block in _blocks(lists):
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
        rescored = RescoredList(each.utterance, tuple(encoder.score(model, encoded, combination, state.layers)))
        best = encoded[rescored.scored.index(rescored.best)]
        state = read(model, [*best.ids, EOS_ID], state)
        yield rescored


def _blocks(lists: Iterable[NBestList]) -> Iterator[list[NBestList]]:
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


@dataclass(frozen=True)
class ErrorReport:
    """Word errors of what was chosen, of what the recogniser would have chosen, and of the best choice there is.

    old: the hypothesis with the best total without the recurrent model; the list's first where the list has no costs ·
    oracle: in each list the hypothesis with the fewest errors.
    """

    new: WordErrors
    old: WordErrors
    oracle: WordErrors

    def lines(self) -> list[str]:
        """One line each."""
        return [f"word error rate  {self.new}", f"old 1-best       {self.old}", f"oracle           {self.oracle}"]

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --json` prints."""
        return {"new": self.new.to_json(), "old": self.old.to_json(), "oracle": self.oracle.to_json()}


def error_report(
    rescored: Sequence[RescoredList], file: NBestFile, references: References, combination: Combination
) -> ErrorReport:
    """Word errors over all lists. Raises InputError for an utterance without a reference."""
    check_references(file, references)
    old = old_combination(file, combination)
    new_errors, old_errors, oracle = WordErrors(), WordErrors(), WordErrors()
    for each, before in zip(rescored, file.lists, strict=True):
        reference = references[each.utterance]
        new_errors += word_errors(reference, each.best.hypothesis.words)
        old_errors += word_errors(reference, _old_best(before, old).words)
        errors = (word_errors(reference, hypothesis.words) for hypothesis in before.hypotheses)
        oracle += min(errors, key=lambda each: each.total)
    return ErrorReport(new_errors, old_errors, oracle)


def old_combination(file: NBestFile, combination: Combination) -> Combination | None:
    """The recogniser's own: the same without the recurrent model, or None where the list's order is all there is."""
    if not file.has_language_costs and not file.has_acoustic_costs:
        return None
    return Combination(OLD_ALONE, combination.acoustic_scale, combination.lm_scale, combination.length_bonus)


def _old_best(each: NBestList, combination: Combination | None) -> Hypothesis:
    if combination is None:
        return each.hypotheses[0]
    return max(each.hypotheses, key=lambda hypothesis: combination.total(hypothesis, 0.0))


def check_references(file: NBestFile, references: References) -> None:
    """Raises InputError for an utterance without a reference."""
    for each in file.lists:
        if each.utterance not in references:
            raise InputError(
                f"{each.hypotheses[0].place}: no reference for the utterance {each.utterance!r}; "
                "add it to the file of references, or leave its list out"
            )


def unused_references(file: NBestFile, references: References) -> int:
    """How many references have no list; they are not counted."""
    return len(references.keys() - {each.utterance for each in file.lists})


@dataclass(frozen=True)
class Report:
    """What was done: the file, the options, how many tokens the vocabulary lacks, and word errors with references.

    missing: references that have no list and are not counted.
    """

    file: NBestFile
    combination: Combination
    carry: bool
    oov: str
    errors: ErrorReport | None = None
    missing: int = 0

    def lines(self) -> list[str]:
        """For people: each a line."""
        lists = counted(len(self.file.lists), "list")
        hypotheses = counted(sum(1 for _ in self.file.hypotheses), "hypothesis", "hypotheses")
        state = "carried" if self.carry else "zero"
        lines = [f"{lists}, {hypotheses}, read as {self.file.format}, oov={self.oov}"]
        lines.append(f"{self.combination.options()}, state {state}")
        if self.missing:
            lines.append(f"references without a list, not counted: {self.missing}")
        return lines + ([] if self.errors is None else self.errors.lines())

    def to_json(self) -> dict[str, Any]:
        """The object that `rescore --json` prints."""
        return {
            "format": self.file.format,
            "lists": len(self.file.lists),
            "hypotheses": sum(1 for _ in self.file.hypotheses),
            "oov": self.oov,
            "state": "carried" if self.carry else "zero",
            **self.combination.to_json(),
            "references_without_list": self.missing,
            "word_errors": None if self.errors is None else self.errors.to_json(),
        }


def unknown_tokens(rescored: Iterable[RescoredList]) -> tuple[int, int]:
    """How many words of all hypotheses the vocabulary lacks, and how many there are."""
    scored = [each for one in rescored for each in one.scored]
    return sum(each.oov for each in scored), sum(len(each.hypothesis.words) for each in scored)


def report(
    rescored: Sequence[RescoredList],
    file: NBestFile,
    combination: Combination,
    references: References | None = None,
    *,
    carry: bool = False,
    rule: UnknownRule = AS_UNK,
) -> Report:
    """What `rescore` says beside the list. Raises InputError for an utterance without a reference."""
    oov = rule.label(sum(scored.oov for each in rescored for scored in each.scored))
    if references is None:
        return Report(file, combination, carry, oov)
    errors = error_report(rescored, file, references, combination)
    return Report(file, combination, carry, oov, errors, unused_references(file, references))
