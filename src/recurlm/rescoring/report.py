"""What `rescore` reports beside the new lists: word errors, unknown tokens, and the options used."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recurlm.errors import InputError
from recurlm.rescoring.combination import Combination, old_combination
from recurlm.rescoring.formats.lines import shortened
from recurlm.rescoring.formats.text_lists import NUMBERED
from recurlm.rescoring.nbest import Hypothesis, NBestFile, NBestList
from recurlm.rescoring.rescorer import RescoredList
from recurlm.rescoring.word_errors import WordErrors, word_errors
from recurlm.text.unknown import AS_UNK, UnknownRule
from recurlm.wording import counted

References = Mapping[str, Sequence[str]]
"""For each utterance, the words that were said."""


@dataclass(frozen=True)
class ErrorReport:
    """Word errors over all lists, by how the hypothesis of each list is chosen.

    new: by the largest total · old: by the largest total without the recurrent model, or the first of its list where
    the lists have no costs · oracle: by the fewest errors.
    """

    new: WordErrors
    old: WordErrors
    oracle: WordErrors

    def lines(self) -> list[str]:
        """One line for each of the three."""
        return [f"word error rate  {self.new}", f"old 1-best       {self.old}", f"oracle           {self.oracle}"]

    def to_json(self) -> dict[str, Any]:
        """Part of the object that `rescore --json` prints."""
        return {"new": self.new.to_json(), "old": self.old.to_json(), "oracle": self.oracle.to_json()}


def error_report(
    rescored: Sequence[RescoredList], file: NBestFile, references: References, combination: Combination
) -> ErrorReport:
    """Counts word errors over all lists. Raises InputError for an utterance without a reference."""
    check_references(file, references)
    new_errors, oracle = WordErrors(), WordErrors()
    for each, before in zip(rescored, file.lists, strict=True):
        reference = references[each.utterance]
        new_errors += word_errors(reference, each.best.hypothesis.words)
        errors = (word_errors(reference, hypothesis.words) for hypothesis in before.hypotheses)
        oracle += min(errors, key=lambda each: each.total)
    return ErrorReport(new_errors, first_pass_errors(file, references, combination), oracle)


def first_pass_errors(file: NBestFile, references: References, combination: Combination) -> WordErrors:
    """Word errors of the recognizer's own best hypotheses, under these scales and without the recurrent model."""
    old = old_combination(file, combination)
    errors = (word_errors(references[each.utterance], _old_best(each, old).words) for each in file.lists)
    return sum(errors, start=WordErrors())


def _old_best(each: NBestList, combination: Combination | None) -> Hypothesis:
    if combination is None:
        return each.hypotheses[0]
    return max(each.hypotheses, key=lambda hypothesis: combination.total(hypothesis, 0.0))


def check_references(file: NBestFile, references: References) -> None:
    """Raises InputError for utterances without a reference, with what the ids of both files look like."""
    lacking = [each for each in file.lists if each.utterance not in references]
    if not lacking:
        return
    first = lacking[0]
    said = f"{first.hypotheses[0].place}: no reference for the utterance {shortened(first.utterance)!r}"
    if len(lacking) < len(file.lists):
        more = f", nor for {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        raise InputError(
            f"{said}{more}, of {len(file.lists):,} utterances; "
            "add them to the file of references, or leave their lists out"
        )
    begun = shortened(next(iter(references), ""))
    raise InputError(f"{said}, nor for any other; the references begin with {begun!r}\n{_about_ids(first, references)}")


def _about_ids(each: NBestList, references: References) -> str:
    """What to do where no utterance has a reference."""
    matches = map(NUMBERED.fullmatch, references)
    if any(found is not None and found[1] == each.utterance for found in matches):
        return "each hypothesis seems to begin with the id of its utterance, without a number: use --format mikolov"
    numbered = NUMBERED.fullmatch(each.utterance)
    if numbered is not None and numbered[1] in references:
        return "the ids of the hypotheses seem to end with their numbers: use --format kaldi"
    return "a line of references is `utt words`, and its id is written as in the lists, upper and lower case too"


def unused_references(file: NBestFile, references: References) -> int:
    """Number of references without a list; no error is counted for them."""
    return len(references.keys() - {each.utterance for each in file.lists})


@dataclass(frozen=True)
class Report:
    """What was rescored and how, and with references the word errors.

    oov: number of unknown tokens and the rule for them, as signatures have it · missing: number of references without
    a list.
    """

    file: NBestFile
    combination: Combination
    carry: bool
    oov: str
    errors: ErrorReport | None = None
    missing: int = 0

    def lines(self) -> list[str]:
        """The report as lines to read."""
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
    """Number of tokens that the vocabulary lacks, and number of words, in all hypotheses."""
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
    """The report of one rescoring. Raises InputError for an utterance without a reference."""
    oov = rule.label(sum(scored.oov for each in rescored for scored in each.scored))
    if references is None:
        return Report(file, combination, carry, oov)
    errors = error_report(rescored, file, references, combination)
    return Report(file, combination, carry, oov, errors, unused_references(file, references))
