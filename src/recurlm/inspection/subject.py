"""A model with the text that it reads: what the questions about a memory are asked of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from recurlm.errors import InputError
from recurlm.inspection.difference import Tick
from recurlm.inspection.reading import Reading, ids_of, names_of
from recurlm.inspection.trace import Trace, trace
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import Codec
from recurlm.wording import counted, readable


@dataclass(frozen=True)
class Subject:
    """A model, the text that it reads, and the names of the text's tokens; `known` is its trace where one is kept."""

    name: str
    network: LanguageModel
    codec: Codec
    reading: Reading
    known: Trace | None = None
    tick: Tick | None = None

    @property
    def ids(self) -> list[int]:
        """What the model reads."""
        return ids_of(self.reading)

    @property
    def names(self) -> list[str]:
        """How pictures and tables name the tokens."""
        return names_of(self.reading, self.codec.tokenization)

    @cached_property
    def trace(self) -> Trace:
        """The memory over the text."""
        return trace(self.network, self.ids, tick=self.tick) if self.known is None else self.known

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about the text."""
        missing = list(dict.fromkeys(each.token for each in self.reading if each.missing))
        if not missing:
            return []
        shown = ", ".join(map(readable, missing[:5])) + (", …" if len(missing) > 5 else "")
        return [f"{counted(len(missing), 'token')} unknown to {self.name}, read as <unk>: {shown}"]


def remarks_on(subjects: Iterable[Subject]) -> list[str]:
    """The remarks of several subjects, one after another."""
    return [remark for subject in subjects for remark in subject.remarks]


def check_alike(subjects: Sequence[Subject]) -> None:
    """Raises InputError where the models cut the text into different tokens."""
    tokens = [[each.token for each in subject.reading] for subject in subjects]
    for subject, own in zip(subjects, tokens, strict=True):
        if own != tokens[0]:
            raise InputError(
                f"{subjects[0].name} and {subject.name} cut the text into different tokens, so a number of tokens "
                "means different lengths; compare models of the same unit"
            )
