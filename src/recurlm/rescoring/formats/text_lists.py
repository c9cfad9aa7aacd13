"""Reads n-best lists as text: Kaldi's (`utt-1 words`), Mikolov's (`utt words`, one id for all hypotheses), JSON."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recurlm.documents import parse_json_object
from recurlm.errors import InputError, UsageError
from recurlm.rescoring.formats.lines import Line, lines_of, number, shortened
from recurlm.rescoring.nbest import Hypothesis
from recurlm.text.lines import fields_of, first_field, words_of
from recurlm.wording import counted

NUMBERED = re.compile(r"(.+)-([0-9]{1,18})")
KALDI_TEXTS = ("words_text", "text")


@dataclass(frozen=True)
class CostFiles:
    """Files with the costs of hypotheses as negative natural logs, one per line; None where there is no file."""

    acoustic: Path | None = None
    language: Path | None = None
    graph: Path | None = None

    def given(self) -> list[Path]:
        """The files that are given."""
        values = (getattr(self, field.name) for field in fields(self))
        return [value for value in values if value is not None]


def kaldi_folder(folder: Path, costs: CostFiles) -> tuple[Path, CostFiles]:
    """The text and the cost files of an n-best folder, by Kaldi's names; given cost files take precedence.

    `lmwt.lmonly` is the cost of the language model alone, `lmwt.nolm` that of the rest of the graph, and `lm_cost`
    that of the language model. Raises InputError where there is no text.
    """
    present = {path.name: path for path in folder.iterdir() if path.is_file()}
    text = next((present[name] for name in KALDI_TEXTS if name in present), None)
    if text is None:
        raise InputError(f"{folder}: an n-best folder of Kaldi needs a file words_text or text, and this one has none")

    def found(*names: str) -> Path | None:
        return next((present[name] for name in names if name in present), None)

    usual = CostFiles(found("ac_cost", "acwt"), found("lm_cost", "lmwt.lmonly"), found("lmwt.nolm"))
    return text, CostFiles(
        costs.acoustic or usual.acoustic, costs.language or usual.language, costs.graph or usual.graph
    )


def read_kaldi(text: str | Path, costs: CostFiles) -> list[Hypothesis]:
    """Reads lines `utt-1 words`, with cost lines `utt-1 cost` in any order; the utterance ends at the last hyphen."""
    found: dict[str, Hypothesis] = {}
    for line in lines_of(text):
        key, words = first_field(line.text)
        matched = NUMBERED.fullmatch(key)
        if matched is None:
            raise InputError(
                f"{line.place}: the id {shortened(key)!r} does not end with the number of a hypothesis, "
                f"such as {shortened(key)}-1\n"
                "where each hypothesis repeats the id of its utterance, use --format mikolov"
            )
        if key in found:
            raise InputError(f"{line.place}: {shortened(key)!r} occurs a second time (first: {found[key].place})")
        found[key] = Hypothesis(matched[1], int(matched[2]), _spaced(words), place=line.place)
    return _with_costs(list(found.values()), list(found), costs, _keyed_costs)


def read_mikolov(text: str | Path, costs: CostFiles) -> list[Hypothesis]:
    """Reads lines `utt words`, grouped by utterance, with one cost per line in the same order."""
    hypotheses: list[Hypothesis] = []
    counts: Counter[str] = Counter()
    for line in lines_of(text):
        utterance, words = first_field(line.text)
        if utterance in counts and hypotheses[-1].utterance != utterance:
            raise InputError(
                f"{line.place}: {shortened(utterance)!r} appears again after another utterance; "
                "the hypotheses of an utterance must follow one another"
            )
        counts[utterance] += 1
        hypotheses.append(Hypothesis(utterance, counts[utterance], _spaced(words), place=line.place))
    return _with_costs(hypotheses, [each.utterance for each in hypotheses], costs, _costs_in_order)


def read_json_lines(text: str | Path, costs: CostFiles) -> list[Hypothesis]:
    """Reads one JSON object per line.

    Keys: `utterance`, `text` (or `words`, a list or a text), and the natural log-probabilities `acoustic`, `language`,
    and `graph`, all optional.
    """
    if costs.given():
        raise UsageError("JSON lines hold their own scores; leave the files of costs out")
    hypotheses: list[Hypothesis] = []
    counts: Counter[str] = Counter()
    for line in lines_of(text):
        value = parse_json_object(line.text, line.place, error=InputError)
        utterance = value.get("utterance")
        words = value.get("text", value.get("words"))
        if not isinstance(utterance, str) or not isinstance(words, str | list):
            raise InputError(f'{line.place}: needs "utterance", a text, and "text" or "words"')
        written = _spaced(words) if isinstance(words, str) else _joined(words, line.place)
        if "\n" in written:
            raise InputError(f"{line.place}: the words contain a line feed; a hypothesis is one line")
        counts[utterance] += 1
        scores = {f"{name}_cost": _json_cost(value, name, line.place) for name in ("acoustic", "language", "graph")}
        hypotheses.append(Hypothesis(utterance, counts[utterance], written, **scores, place=line.place))
    return hypotheses


def read_references(path: Path) -> dict[str, tuple[str, ...]]:
    """Reads references in Kaldi's format: a line `utt words` for each utterance."""
    references: dict[str, tuple[str, ...]] = {}
    for line in lines_of(path):
        utterance, words = first_field(line.text)
        if utterance in references:
            raise InputError(f"{line.place}: a second reference for the utterance {shortened(utterance)!r}")
        references[utterance] = tuple(words_of(words))
    if not references:
        raise InputError(f"{path}: no references")
    return references


def _spaced(words: str) -> str:
    """The words with one space between them."""
    return " ".join(words_of(words))


def _joined(words: list[Any], place: str) -> str:
    """Joins a list of words. Raises InputError for an element that is not a word."""
    for word in words:
        if not isinstance(word, str):
            raise InputError(f'{place}: "words" contains something that is not a text')
        if not word or " " in word:
            raise InputError(
                f'{place}: {shortened(word)!r} in "words" is not one word, because spaces separate words; '
                'split it, or give all words as "text"'
            )
    return " ".join(words)


def _json_cost(value: dict[str, Any], name: str, place: str) -> float | None:
    score = value.get(name)
    return None if score is None else -number(str(score), f'"{name}"', place)


CostReader = Callable[[Path, Sequence[str]], list[float]]


def _with_costs(
    hypotheses: list[Hypothesis], keys: Sequence[str], files: CostFiles, read: CostReader
) -> list[Hypothesis]:
    costs = [
        [None] * len(keys) if path is None else read(path, keys)
        for path in (files.acoustic, files.language, files.graph)
    ]
    return [
        Hypothesis(each.utterance, each.number, each.text, acoustic, language, graph, each.place)
        for each, acoustic, language, graph in zip(hypotheses, *costs, strict=True)
    ]


def _keyed_costs(path: Path, keys: Sequence[str]) -> list[float]:
    """The costs from lines `utt-1 cost`. Raises InputError for a hypothesis without a cost."""
    costs: dict[str, float] = {}
    for line in lines_of(path):
        key, cost = _fields(line, {2})
        costs[key] = number(cost, "the cost", line.place)
    for key in keys:
        if key not in costs:
            raise InputError(f"{path}: no cost for {key!r}, which is in the text")
    return [costs[key] for key in keys]


def _costs_in_order(path: Path, keys: Sequence[str]) -> list[float]:
    """The costs from lines `cost` or `utt cost`. Raises InputError where their number or an id does not match."""
    lines = list(lines_of(path))
    if len(lines) != len(keys):
        raise InputError(
            f"{path}: has {counted(len(lines), 'cost')} where the text has "
            f"{counted(len(keys), 'hypothesis', 'hypotheses')}"
        )
    costs = []
    for line, key in zip(lines, keys, strict=True):
        *names, cost = _fields(line, {1, 2})
        if names and names[0] != key:
            raise InputError(f"{line.place}: a cost of {names[0]!r}, where the text has {key!r}")
        costs.append(number(cost, "the cost", line.place))
    return costs


def _fields(line: Line, counts: Iterable[int]) -> list[str]:
    parts = fields_of(line.text)
    if len(parts) not in counts:
        raise InputError(f"{line.place}: should be an id and a cost, not {shortened(line.text)!r}")
    return parts
