"""N-best lists: the hypotheses of a speech recognizer for each utterance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recurlm.text.lines import words_of


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One hypothesis of an utterance, numbered from 1 in the order of its list.

    acoustic_cost, language_cost, graph_cost: negative natural log-probabilities from the recognizer, None where the
    list has none. The graph cost is the cost of the recognizer's graph without the old language model: pronunciations
    and transitions · place: file and line, for messages.
    """

    utterance: str
    number: int
    text: str
    acoustic_cost: float | None = None
    language_cost: float | None = None
    graph_cost: float | None = None
    place: str = ""

    @property
    def key(self) -> str:
        """The key in Kaldi's files: the utterance and the number."""
        return f"{self.utterance}-{self.number}"

    @property
    def words(self) -> tuple[str, ...]:
        """The words, as the word error rate counts them."""
        return tuple(words_of(self.text))


@dataclass(frozen=True)
class NBestList:
    """The hypotheses of one utterance, at least one, in the order of the file."""

    utterance: str
    hypotheses: tuple[Hypothesis, ...]


@dataclass(frozen=True)
class GivenScales:
    """Scales that a user gives; None leaves the file's own."""

    acoustic_scale: float | None = None
    lm_scale: float | None = None
    length_bonus: float | None = None


OWN_SCALES = GivenScales()


@dataclass(frozen=True)
class NBestFile:
    """All lists of a file in order, its format, and the scales that the file itself gives.

    place: the name of the file, for messages.
    """

    lists: tuple[NBestList, ...]
    format: str
    place: str
    acoustic_scale: float = 1.0
    lm_scale: float = 1.0
    length_bonus: float = 0.0

    @property
    def hypotheses(self) -> Iterator[Hypothesis]:
        """All hypotheses, list after list."""
        return (hypothesis for each in self.lists for hypothesis in each.hypotheses)

    @property
    def has_acoustic_costs(self) -> bool:
        """Whether hypotheses have acoustic costs; reading refuses a file in which only some have them."""
        return all(hypothesis.acoustic_cost is not None for hypothesis in self.hypotheses)

    @property
    def has_language_costs(self) -> bool:
        """Whether hypotheses have costs of an old language model."""
        return all(hypothesis.language_cost is not None for hypothesis in self.hypotheses)


def group(hypotheses: Sequence[Hypothesis]) -> tuple[NBestList, ...]:
    """Groups hypotheses into lists, in the order in which their utterances first appear."""
    lists: dict[str, list[Hypothesis]] = {}
    for hypothesis in hypotheses:
        lists.setdefault(hypothesis.utterance, []).append(hypothesis)
    return tuple(NBestList(utterance, tuple(members)) for utterance, members in lists.items())
