"""The models and the text of `recurlm inspect`: what each model reads, and its memory."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from recurlm.cli.choices import Device
from recurlm.cli.console import readable
from recurlm.devices import resolve_device
from recurlm.errors import InputError
from recurlm.inspection.reading import Reading, ids_of, names_of, read_text
from recurlm.inspection.trace import MOST_TOKENS, Trace, trace
from recurlm.interface.model import Model, load
from recurlm.plots.memory import check_length
from recurlm.scoring.heat_map import heat_map
from recurlm.scoring.scores import LineScore, Prediction
from recurlm.text.corpora import open_lines
from recurlm.text.lines import STANDARD_INPUT
from recurlm.text.places import DataPlaces
from recurlm.text.vocabulary import EOS_ID
from recurlm.wording import counted

MOST_ON_A_PAGE = 600
"""Tokens of a page at most; its pictures scroll."""


@dataclass(frozen=True)
class Subject:
    """A model, the text that it reads, and the names of the text's tokens."""

    name: str
    model: Model
    reading: Reading

    @property
    def names(self) -> list[str]:
        return names_of(self.reading, self.model.codec.tokenization)

    @cached_property
    def trace(self) -> Trace:
        return trace(self.model.network, ids_of(self.reading))

    @property
    def remarks(self) -> list[str]:
        missing = list(dict.fromkeys(each.token for each in self.reading if each.missing))
        if not missing:
            return []
        shown = ", ".join(map(readable, missing[:5])) + (", …" if len(missing) > 5 else "")
        return [f"{counted(len(missing), 'token')} unknown to {self.name}, read as <unk>: {shown}"]

    def heat_map(self) -> str:
        """The surprisal of each token as HTML."""
        check_length(len(self.reading), MOST_ON_A_PAGE)
        lines, starts = [], [0, *(place + 1 for place, each in enumerate(self.reading) if each.id == EOS_ID)]
        for number, (start, stop) in enumerate(itertools.pairwise([*starts, len(self.reading)]), 1):
            lines.append(self._line(number, slice(start, stop)))
        return heat_map([line for line in lines if line.words])

    def _line(self, number: int, span: slice) -> LineScore:
        found, bits = self.trace, math.log(2)
        return LineScore(
            number,
            "",
            self.names[span],
            ids_of(self.reading[span]),
            (-bits * found.surprisal[span]).tolist(),
            [each.missing for each in self.reading[span]],
            predictions=[
                Prediction(float(entropy) * bits, int(rank))
                for entropy, rank in zip(found.entropy[span], found.rank[span], strict=True)
            ],
        )


def open_subjects(runs: Sequence[Path], text: str, device: Device, cache_directory: Path | None) -> list[Subject]:
    """The models of runs with one text. Raises InputError where they cut it into different tokens."""
    lines, _ = open_lines(text, DataPlaces(cache_directory=cache_directory))
    name = STANDARD_INPUT if text == "-" else text
    # every line has a token at least, its end
    read = list(itertools.islice(lines, MOST_TOKENS + 2))
    subjects = []
    for run in runs:
        model = load(run, device=resolve_device(device).type)
        subjects.append(Subject(str(run), model, read_text(model.codec, read, name)))
    first = [each.token for each in subjects[0].reading]
    for other in subjects[1:]:
        if [each.token for each in other.reading] != first:
            raise InputError(
                f"{subjects[0].name} and {other.name} cut the text into different tokens, so a number of tokens means "
                "different lengths; compare models of the same unit"
            )
    return subjects
