"""Reads n-best lists of any supported format."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from recurlm.errors import InputError, UsageError
from recurlm.rescoring.formats.best_paths import best_paths
from recurlm.rescoring.formats.htk import SUFFIXES, LatticeHead, LatticeScales, read_lattice
from recurlm.rescoring.formats.lines import lines_of, name_of
from recurlm.rescoring.formats.text_lists import (
    KALDI_TEXTS,
    NUMBERED,
    CostFiles,
    kaldi_folder,
    read_json_lines,
    read_kaldi,
    read_mikolov,
)
from recurlm.rescoring.nbest import OWN_SCALES, GivenScales, Hypothesis, NBestFile, group
from recurlm.text.corpora import is_read_once
from recurlm.text.lines import first_field

FORMATS = ("auto", "kaldi", "mikolov", "jsonl", "htk")
PATHS = 100
NO_COSTS = CostFiles()

TextReader = Callable[[str | Path, CostFiles], list[Hypothesis]]
TEXT_READERS: dict[str, TextReader] = {"kaldi": read_kaldi, "mikolov": read_mikolov, "jsonl": read_json_lines}


def read_nbest(
    paths: Sequence[str],
    format: str = "auto",
    costs: CostFiles = NO_COSTS,
    *,
    count: int | None = None,
    scales: GivenScales = OWN_SCALES,
) -> NBestFile:
    """Reads one text file, one n-best folder of Kaldi, or any number of lattices and folders of lattices.

    A lattice gives its `count` best word sequences, by default `PATHS`, ranked by `scales`. Raises UsageError for a
    format, files, or options that do not go together, InputError for a file that cannot be read.
    """
    if format not in FORMATS:
        raise UsageError(f"no format named {format!r}; there are {', '.join(FORMATS)}")
    format = recognize_format(paths) if format == "auto" else format
    if format == "htk":
        if costs.given():
            raise UsageError("lattices hold their own scores; leave the files of costs out")
        return _read_lattices(paths, count or PATHS, scales)
    if count is not None:
        raise UsageError(f"--nbest says how many word sequences a lattice gives; the format {format} has its own lists")
    if len(paths) != 1:
        raise UsageError(f"one n-best list at a time, not {len(paths)}; only lattices can be many")
    return _read_text(paths[0], format, costs)


def _read_text(path: str, format: str, costs: CostFiles) -> NBestFile:
    text: str | Path = path
    if Path(path).is_dir():
        if format != "kaldi":
            raise InputError(f"{path} is a folder; the format {format} is one file")
        text, costs = kaldi_folder(Path(path), costs)
    hypotheses = TEXT_READERS[format](text, costs)
    if not hypotheses:
        raise InputError(f"{text}: no hypotheses")
    _check_costs(hypotheses)
    return NBestFile(group(hypotheses), format, path)


def recognize_format(paths: Sequence[str]) -> str:
    """Recognizes the format of files by their names and first lines. Raises InputError where no format fits."""
    first = Path(paths[0])
    if first.is_dir():
        if any((first / name).is_file() for name in KALDI_TEXTS):
            return "kaldi"
        if _lattices_in(first):
            return "htk"
        raise InputError(f"{first}: neither an n-best folder of Kaldi (words_text or text) nor one of lattices (.lat)")
    if first.name.endswith(SUFFIXES):
        return "htk"
    if is_read_once(first):
        raise UsageError(
            f"{name_of(first)} can be read only once, so name its format: --format kaldi, mikolov or jsonl"
        )
    beginning = list(itertools.islice(lines_of(first), 1000))
    if beginning and beginning[0].text.lstrip(" \t").startswith("{"):
        return "jsonl"
    if beginning and beginning[0].text.startswith("VERSION="):
        return "htk"
    keys = [first_field(line.text)[0] for line in beginning]
    return "kaldi" if len(set(keys)) == len(keys) and all(map(NUMBERED.fullmatch, keys)) else "mikolov"


def _check_costs(hypotheses: Sequence[Hypothesis]) -> None:
    for name in ("acoustic", "language", "graph"):
        lacking = [each for each in hypotheses if getattr(each, f"{name}_cost") is None]
        if 0 < len(lacking) < len(hypotheses):
            raise InputError(f"{lacking[0].place}: no {name} score, which other hypotheses have")


def _read_lattices(paths: Sequence[str], count: int, given: GivenScales) -> NBestFile:
    heads: dict[str, LatticeHead] = {}
    hypotheses: list[Hypothesis] = []
    for path in _lattice_paths(paths):
        lattice = read_lattice(path)
        name = lattice.head.utterance
        if name in heads:
            raise InputError(f"{path}: the utterance {name!r} is already that of an earlier lattice")
        heads[name] = lattice.head
        hypotheses += best_paths(lattice, count, _scales([lattice.head], given))
    _check_costs(hypotheses)
    return NBestFile(group(hypotheses), "htk", ", ".join(paths), *_scales(list(heads.values()), given))


def _lattice_paths(paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for path in map(Path, paths):
        inside = _lattices_in(path) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{path}: no lattices in this folder ({', '.join(SUFFIXES)})")
        found += inside
    return found


def _lattices_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.is_file())


def _scales(heads: Sequence[LatticeHead], given: GivenScales) -> LatticeScales:
    """The given scales, and for the others those of all lattices. Raises UsageError where these differ."""
    values = []
    for position, name in enumerate(LatticeScales._fields):
        own = sorted({head.scales[position] for head in heads})
        value = getattr(given, name)
        if value is None and len(own) > 1:
            option = "--" + name.replace("_", "-")
            raise UsageError(f"the lattices' own scales differ ({own[0]:g}, {own[-1]:g}); choose one with {option}")
        values.append(own[0] if value is None else value)
    return LatticeScales(*values)
