"""The models and the text of `recurlm inspect`."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from recurlm.cli.choices import Device
from recurlm.devices import resolve_device
from recurlm.inspection.reading import ids_of, read_text
from recurlm.inspection.subject import Subject, check_alike
from recurlm.inspection.trace import MOST_TOKENS
from recurlm.interface.model import load
from recurlm.plots.memory import check_length
from recurlm.scoring.heat_map import heat_map
from recurlm.scoring.scores import LineScore, Prediction
from recurlm.text.corpora import open_lines
from recurlm.text.lines import STANDARD_INPUT
from recurlm.text.places import DataPlaces
from recurlm.text.vocabulary import EOS_ID

MOST_ON_A_PAGE = 600
"""Tokens of a page at most; its pictures scroll."""


def surprisal_map(subject: Subject) -> str:
    """The surprisal of each token as HTML."""
    check_length(len(subject.reading), MOST_ON_A_PAGE)
    lines, starts = [], [0, *(place + 1 for place, each in enumerate(subject.reading) if each.id == EOS_ID)]
    for number, (start, stop) in enumerate(itertools.pairwise([*starts, len(subject.reading)]), 1):
        lines.append(_line(subject, number, slice(start, stop)))
    return heat_map([line for line in lines if line.words])


def _line(subject: Subject, number: int, span: slice) -> LineScore:
    found, bits = subject.trace, math.log(2)
    return LineScore(
        number,
        "",
        subject.names[span],
        ids_of(subject.reading[span]),
        (-bits * found.surprisal[span]).tolist(),
        [each.missing for each in subject.reading[span]],
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
        subjects.append(Subject(str(run), model.network, model.codec, read_text(model.codec, read, name)))
    check_alike(subjects)
    return subjects
