"""What a user should know about a rescoring beside its figures: each remark is said once, with what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recurlm.rescoring.combination import Combination
from recurlm.rescoring.letter_case import (
    COMMANDS,
    Case,
    UnknownByCase,
    case_of,
    errors_by_case,
    unknown_by_case,
)
from recurlm.rescoring.nbest import OWN_SCALES, GivenScales, NBestFile
from recurlm.rescoring.report import ErrorReport, References, Report, unknown_tokens
from recurlm.rescoring.rescorer import RescoredList
from recurlm.rescoring.tuning import Edge, TunedCombination
from recurlm.rescoring.word_errors import WordErrors
from recurlm.text.codec import Codec
from recurlm.text.unknown import AS_UNK, UnknownRule, many
from recurlm.wording import counted

LARGE_SHARE = 0.1
"""Case is worth a remark from this share of the word errors on."""
TUNE = "--tune finds better options, on development lists with --references"
MORE = "ask the recognizer for more hypotheses"
COSTS = "name files with --acoustic-costs and --language-costs"
KEEP = "; --weight 0 keeps the old language model alone"
OLD_ALONE = "the model does not help on these lists\ntrain it on text like these utterances"
NEW_ALONE = "the old language model adds nothing on these lists"
AROUND = "add the printed options to the command and tune again: the values tried lie around the given ones"


@dataclass(frozen=True)
class Given:
    """What the user chose: weight and scales, None where left out; the rule for unknown words; references, if any.

    ranks: whether the options change what is printed.
    """

    weight: float | None = None
    scales: GivenScales = OWN_SCALES
    rule: UnknownRule = AS_UNK
    references: References | None = None
    ranks: bool = True


def remarks(
    report: Report, rescored: Sequence[RescoredList], codec: Codec, given: Given, tuned: TunedCombination | None = None
) -> list[str]:
    """All remarks about a rescoring, the most likely mistakes first; tuned: the options that `--tune` found."""
    by_case = _case_of_unknown(report.file, rescored, codec)
    found = [*_about_unknown(by_case, rescored, given)]
    if given.references is not None:
        found += _about_case(report, rescored, given.references, by_case)
    if not _has_choice(report.file):
        return [*found, f"every list has one hypothesis, so rescoring changes nothing\n{MORE}"]
    errors = report.errors
    lost = errors is not None and errors.new.total > _first_pass(errors, tuned).total
    if errors is not None:
        found += _about_loss(report.file, errors, tuned) if lost else _about_oracle(errors)
    if tuned is not None:
        found += _about_edges(tuned.edges)
    elif given.ranks and not lost:
        found += _about_guesses(report.file, report.combination, given)
    return found


def _case_of_unknown(file: NBestFile, rescored: Sequence[RescoredList], codec: Codec) -> UnknownByCase | None:
    """The unknown words, where there are many and most of them are unknown by their case alone."""
    found = unknown_by_case(file, codec) if many(*unknown_tokens(rescored)) else None
    return found if found is not None and 2 * found.count >= found.unknown else None


def _about_unknown(found: UnknownByCase | None, rescored: Sequence[RescoredList], given: Given) -> Iterator[str]:
    if found is None:
        warning = given.rule.warning(*unknown_tokens(rescored))
        if warning is not None:
            yield warning.removeprefix("warning: ")
        return
    written, known = found.example
    share = f"{found.count:,} of {found.words:,} words of the hypotheses ({found.count / found.words:.1%})"
    too = given.references is not None and found.case not in ("mixed", _case_of_references(given.references))
    yield (
        f"{share} are unknown only by their case: the vocabulary has {known!r}, not {written!r}\n"
        f"{_write('hypotheses and references' if too else 'hypotheses', found.case)}"
    )


def _about_case(
    report: Report, rescored: Sequence[RescoredList], references: References, unknown: UnknownByCase | None
) -> Iterator[str]:
    found = errors_by_case(rescored, references)
    errors = report.errors.new.total if report.errors is not None else 0
    if found is None or found.count < LARGE_SHARE * errors:
        return
    heard, said = found.example
    yield (
        f"{found.count:,} of {counted(errors, 'word error')} are differences of case alone, such as {heard!r} for the "
        f"reference's {said!r}; without them the word error rate is {_rate(found.folded)}\n"
        f"{_way_out(rescored, references, unknown)}"
    )


def _way_out(rescored: Sequence[RescoredList], references: References, unknown: UnknownByCase | None) -> str:
    """Which file to write in another case: the vocabulary decides, where it knows one case only."""
    heard = case_of(word for each in rescored for word in each.best.hypothesis.words)
    said = _case_of_references(references)
    if unknown is not None and said == unknown.case:
        return "hypotheses in the case of the vocabulary remove these errors too"
    aim = heard if unknown is None else unknown.case
    return "write references and hypotheses in one case" if aim == "mixed" else _write("references", aim)


def _case_of_references(references: References) -> Case:
    return case_of(word for words in references.values() for word in words)


def _write(what: str, case: Case) -> str:
    if case == "mixed":
        return f"write the {what} in the case of the text that the model learned from"
    return f"write the {what} in {case} case; for lines that begin with an id: {COMMANDS[case]}"


def _first_pass(errors: ErrorReport, tuned: TunedCombination | None) -> WordErrors:
    """The errors without the recurrent model; where options were tuned, under the scales that were given."""
    return errors.old if tuned is None else tuned.first_pass


def _about_loss(file: NBestFile, errors: ErrorReport, tuned: TunedCombination | None) -> Iterator[str]:
    said = f"rescoring raised the word error rate from {_rate(_first_pass(errors, tuned))} to {_rate(errors.new)}"
    if not file.has_acoustic_costs and not file.has_language_costs:
        yield f"{said}: the lists have no costs of the recognizer, so this model chose alone\n{COSTS}"
    elif tuned is not None:
        yield f"{said}, under the best options tried\ntrain the model on text like these utterances"
    else:
        yield f"{said}\n{TUNE}{KEEP if file.has_language_costs else ''}"


def _about_oracle(errors: ErrorReport) -> Iterator[str]:
    if errors.old.total and errors.oracle.total == errors.old.total:
        yield (
            f"rescoring cannot lower the word error rate of {_rate(errors.old)}: no list holds a hypothesis with fewer "
            f"errors than its old best one\n{MORE}"
        )


def _has_choice(file: NBestFile) -> bool:
    return any(len(each.hypotheses) > 1 for each in file.lists)


def _about_edges(edges: Sequence[Edge]) -> Iterator[str]:
    """Says what an edge of the weight means, and how to go on from an edge of the other options."""
    for edge in edges:
        if edge.name == "weight":
            yield f"the tuned {edge.option} is the {edge.side} there is: {OLD_ALONE if edge.value == 0 else NEW_ALONE}"
    scales = [f"{edge.option} ({edge.side})" for edge in edges if edge.name != "weight"]
    if scales:
        yield f"tuning ended at the edge of the values tried: {_listed(scales)}; better ones may lie beyond\n{AROUND}"


def _about_guesses(file: NBestFile, combination: Combination, given: Given) -> Iterator[str]:
    """Says which options are guesses, unless the user chose the one that matters most."""
    scales = given.scales
    own = file.format == "htk"
    scaled = scales.acoustic_scale is not None or scales.lm_scale is not None
    free = {
        f"--weight {combination.weight:g}": file.has_language_costs and given.weight is None,
        f"--lm-scale {combination.lm_scale:g}": file.has_acoustic_costs and not scaled and not own,
        f"--length-bonus {combination.length_bonus:g}": scales.length_bonus is None and not own,
    }
    guesses = [option for option, is_free in free.items() if is_free]
    chosen = given.weight is not None if file.has_language_costs else scaled or scales.length_bonus is not None
    if guesses and not chosen:
        yield f"{_listed(guesses)} {'is a guess' if len(guesses) == 1 else 'are guesses'}\n{TUNE}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _rate(errors: WordErrors) -> str:
    return "undefined" if errors.rate is None else f"{100 * errors.rate:.2f} %"
