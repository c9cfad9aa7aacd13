"""Words that differ only by upper and lower case: in hypotheses and vocabulary, in hypotheses and references."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from recurlm.rescoring.nbest import NBestFile
from recurlm.rescoring.report import References
from recurlm.rescoring.rescorer import RescoredList
from recurlm.rescoring.word_errors import WordErrors, word_errors
from recurlm.text.codec import Codec

Case = Literal["lower", "upper", "mixed"]

MOSTLY = 0.9
"""Share of the words with letters of a case from which a text is in that case."""
COMMANDS = {"lower": r"perl -CSD -pe 's/\s.*/\L$&/' FILE > NEW", "upper": r"perl -CSD -pe 's/\s.*/\U$&/' FILE > NEW"}
"""Write a text list or references in one case, and keep the id at the start of each line."""


@dataclass(frozen=True)
class UnknownByCase:
    """Words of the hypotheses that the vocabulary has in another case only.

    count: of them · unknown: all unknown words · words: all words · example: a word as written, and as the vocabulary
    has it · case: of the words in the vocabulary.
    """

    count: int
    unknown: int
    words: int
    example: tuple[str, str]
    case: Case


@dataclass(frozen=True)
class ErrorsByCase:
    """Word errors of the new best hypotheses that vanish where case does not count.

    count: of them · folded: the errors that remain · example: a word of a hypothesis and of its reference.
    """

    count: int
    folded: WordErrors
    example: tuple[str, str]


def unknown_by_case(file: NBestFile, codec: Codec) -> UnknownByCase | None:
    """Counts unknown words of all hypotheses that the vocabulary has in another case; None where there are none."""
    words: Counter[str] = Counter()
    for hypothesis in file.hypotheses:
        words.update(codec.tokenization.split(hypothesis.text))
    ids = codec.vocabulary.ids
    by_folded = {token.casefold(): token for token in codec.vocabulary.tokens}
    unknown = {word: count for word, count in words.items() if word not in ids}
    other = {word: by_folded[word.casefold()] for word in unknown if word.casefold() in by_folded}
    if not other:
        return None
    count = sum(unknown[word] for word in other)
    often = max(other, key=lambda word: unknown[word])
    return UnknownByCase(count, sum(unknown.values()), words.total(), (often, other[often]), case_of(other.values()))


def errors_by_case(rescored: Sequence[RescoredList], references: References) -> ErrorsByCase | None:
    """Counts the errors of the best hypotheses with and without case; None where case makes no difference."""
    count, remaining, example = 0, WordErrors(), ("", "")
    for each in rescored:
        heard, said = each.best.hypothesis.words, references[each.utterance]
        folded = word_errors(_folded(said), _folded(heard))
        differing = word_errors(said, heard).total - folded.total
        if differing and not count:
            example = _example(heard, said)
        count, remaining = count + differing, remaining + folded
    return ErrorsByCase(count, remaining, example) if count else None


def case_of(words: Iterable[str]) -> Case:
    """The case that nearly all words have; words without letters of a case do not count."""
    cased = [word for word in words if word.lower() != word.upper()]
    for case, written in (("lower", str.lower), ("upper", str.upper)):
        if cased and sum(word == written(word) for word in cased) >= MOSTLY * len(cased):
            return "lower" if case == "lower" else "upper"
    return "mixed"


def _folded(words: Iterable[str]) -> list[str]:
    return [word.casefold() for word in words]


def _example(heard: Sequence[str], said: Sequence[str]) -> tuple[str, str]:
    """A word of the hypothesis and one of the reference that differ only by case; there must be such words."""
    forms: dict[str, list[str]] = {}
    for word in dict.fromkeys(said):
        forms.setdefault(word.casefold(), []).append(word)
    return next((word, form) for word in heard for form in forms.get(word.casefold(), ()) if form != word)
