"""Reads HTK lattices (Standard Lattice Format).

The HTK book, chapter "HTK Standard Lattice Format", defines nodes `I=` and arcs `J=`, words on nodes or on arcs, scores
`a=`, `l=` and `r=` of arcs as logs to the lattice's `base`, and scales and a word penalty in the head.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from recurlm.errors import InputError
from recurlm.files.limits import how_to_raise, raised
from recurlm.rescoring.formats.lines import Line, lines_of, number, shortened

NO_WORDS = frozenset({"", "!NULL", "<s>", "</s>", "!SENT_START", "!SENT_END", "!ENTER", "!EXIT", "<eps>"})
"""Labels that are not words: the empty label, and the ends of a sentence."""

SUFFIXES = (".lat", ".slf", ".lat.gz", ".slf.gz")
FIELD = re.compile(
    r"""[ \t]*([^ \t=]+)=(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|((?:\\.|[^ \t\\])*))(?![^ \t])""",
    re.DOTALL,
)
"""A name and its value, in double quotes, in single quotes, or bare; a backslash escapes the next character."""
ESCAPE = re.compile(rb"\\(?:([0-3][0-7]{2})|([^0-9]))", re.DOTALL)
"""An escape in a value: a byte in three octal digits, or a character as it is."""
SHORT = {"NODES": "N", "LINKS": "L", "START": "S", "END": "E", "WORD": "W", "acoustic": "a", "language": "l"}
"""Long names of fields, and the equivalent short names."""

SCALES = ("acscale", "lmscale", "prscale", "wdpenalty")

MOST_ARCS = 2_000_000
"""Most arcs, and most nodes, of a lattice."""

Fields = dict[str, str]


@dataclass(frozen=True)
class Arc:
    """An arc between two nodes: its word, possibly empty, and natural log-probabilities.

    The acoustic one includes that of the pronunciation, in the proportion of their scales.
    """

    start: str
    end: str
    word: str
    acoustic: float
    language: float


class LatticeScales(NamedTuple):
    """The weights of arcs: acoustic_scale acoustic + lm_scale language + length_bonus for each word."""

    acoustic_scale: float
    lm_scale: float
    length_bonus: float

    def total(self, arc: Arc) -> float:
        """The amount that an arc adds to the total of a path."""
        bonus = self.length_bonus if arc.word else 0.0
        return self.acoustic_scale * arc.acoustic + self.lm_scale * arc.language + bonus


@dataclass(frozen=True)
class LatticeHead:
    """The head of a lattice: how to convert a score to natural logs, and the lattice's own scales."""

    utterance: str
    to_nats: Callable[[float, str], float]
    scales: LatticeScales
    pronunciation_scale: float = 1.0


@dataclass(frozen=True)
class Lattice:
    """A graph of words from `start` to any of `ends`; `first` is the word on the start node, usually empty.

    has_acoustic, has_language: whether any arc has such scores.
    """

    path: str
    head: LatticeHead
    arcs: tuple[Arc, ...]
    start: str
    ends: frozenset[str]
    first: str = ""
    has_acoustic: bool = True
    has_language: bool = True


def read_lattice(path: Path) -> Lattice:
    """Reads a `.lat` or `.lat.gz` file. Raises InputError with file and line for anything it cannot use."""
    head: Fields = {}
    words: dict[str, str] = {}
    arcs: list[tuple[Line, Fields]] = []
    places: dict[str, str] = {}
    most = raised(MOST_ARCS)
    for line in lines_of(path):
        if line.text.lstrip(" \t").startswith("#"):
            continue
        found = _fields(line)
        if "I" in found:
            _refuse_parts(found, line)
            if found["I"] in words:
                raise InputError(f"{line.place}: a second node I={shortened(found['I'])}")
            words[found["I"]] = _word(found, line)
        elif "J" in found:
            arcs.append((line, found))
        elif words or arcs:
            raise InputError(f"{line.place}: neither a node (I=) nor an arc (J=)")
        else:
            head |= found
            places |= dict.fromkeys(found, line.place)
        if len(words) > most or len(arcs) > most:
            raise InputError(f"{line.place}: more than {most:,} nodes or arcs, the limit{how_to_raise()}")
    _check_counts(path, head, words, arcs)
    settled = _head(path, head, places)
    made = tuple(_arc(line, found, words, settled) for line, found in arcs)
    start, ends = _boundaries(path, head, words, made)
    scored = {name for _, found in arcs for name in found}
    has_acoustic, has_language = not scored.isdisjoint("ar"), "l" in scored
    return Lattice(str(path), settled, made, start, ends, words[start], has_acoustic, has_language)


def _fields(line: Line) -> Fields:
    """All fields of a line. Raises InputError for text that is not a field, and for a field that occurs twice."""
    found: Fields = {}
    text = line.text.rstrip(" \t")
    place = 0
    while place < len(text):
        match = FIELD.match(text, place)
        if match is None or _is_quoted_in_part(match[4] or ""):
            raise InputError(_no_field(line, text[place:].lstrip(" \t")))
        name = SHORT.get(match[1], match[1])
        if name in found:
            raise InputError(f"{line.place}: the field {shortened(match[1])}= occurs twice")
        found[name] = _unescaped(match[2] or match[3] or match[4] or "", line)
        place = match.end()
    return found


def _is_quoted_in_part(bare: str) -> bool:
    """Whether a quotation ends inside a value; a bare word may start with a quote, such as 'tis."""
    return bare[:1] in ("'", '"') and bare[0] in bare[1:]


def _no_field(line: Line, rest: str) -> str:
    return (
        f"{line.place}: {shortened(rest)!r} is not a field of a lattice, such as I=0 or W=word; "
        "put a value with spaces in quotes"
    )


def _unescaped(value: str, line: Line) -> str:
    if "\\" not in value:
        return value
    content = value.encode()
    if b"\\" in ESCAPE.sub(b"", content):
        raise InputError(
            f"{line.place}: a backslash must be followed by three octal digits from 000 to 377 or by a non-digit"
        )
    try:
        return ESCAPE.sub(_byte, content).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{line.place}: the bytes of {shortened(value)!r} are not UTF-8") from error


def _byte(match: re.Match[bytes]) -> bytes:
    return match[2] if match[1] is None else bytes([int(match[1], 8)])


def _word(found: Mapping[str, str], line: Line) -> str:
    word = found.get("W", "")
    if "\n" in word:
        raise InputError(f"{line.place}: the word {shortened(word)!r} contains a line feed")
    return "" if word in NO_WORDS else word


def _refuse_parts(found: Fields, line: Line) -> None:
    if "L" in found:
        raise InputError(f"{line.place}: a lattice inside a lattice (L=) cannot be read; expand it first with HTK")


def _check_counts(path: Path, head: Fields, words: Mapping[str, str], arcs: list[tuple[Line, Fields]]) -> None:
    for name, what, present in (("N", "nodes", len(words)), ("L", "arcs", len(arcs))):
        if name in head and head[name] != str(present):
            raise InputError(
                f"{path}: announces {shortened(head[name])} {what} ({name}=) but has {present}; is the file complete?"
            )
    if not words or not arcs:
        raise InputError(f"{path}: a lattice needs nodes (I=) and arcs (J=), and this file has none")


def _head(path: Path, head: Fields, places: Mapping[str, str]) -> LatticeHead:
    values = {name: number(head[name], f"{name}=", places[name]) for name in SCALES if name in head}
    to_nats = _nats(number(head["base"], "base=", places["base"]), places["base"]) if "base" in head else _as_it_is
    name = head.get("UTTERANCE") or path.name.removesuffix(".gz").removesuffix(".lat").removesuffix(".slf")
    penalty = to_nats(values["wdpenalty"], places["wdpenalty"]) if "wdpenalty" in values else 0.0
    return LatticeHead(
        name,
        to_nats,
        LatticeScales(values.get("acscale", 1.0), values.get("lmscale", 1.0), penalty),
        values.get("prscale", 1.0),
    )


def _nats(base: float, place: str) -> Callable[[float, str], float]:
    """The conversion of a score to its natural log; base 0 means that scores are probabilities."""
    if base == 0:
        return _log
    if base < 0 or base == 1:
        raise InputError(f"{place}: base={base:g} is not a base of logarithms; 0 means that scores are not logarithms")
    return lambda score, place: _finite(score * math.log(base), place)


def _finite(score: float, place: str) -> float:
    if not math.isfinite(score):
        raise InputError(f"{place}: a score is too large")
    return score


def _as_it_is(score: float, _: str) -> float:
    return score


def _log(probability: float, place: str) -> float:
    if probability <= 0:
        raise InputError(f"{place}: the probability {probability:g} must be above 0 (base=0: no logarithms)")
    return math.log(probability)


def _arc(line: Line, found: Fields, words: Mapping[str, str], head: LatticeHead) -> Arc:
    for name in ("S", "E"):
        if found.get(name) not in words:
            raise InputError(
                f"{line.place}: the arc needs {name}= with the number of a node, not {shortened(found.get(name, ''))!r}"
            )
    scores = {
        name: head.to_nats(number(found[name], f"{name}=", line.place), line.place)
        for name in ("a", "l", "r")
        if name in found
    }
    acoustic = scores.get("a", 0.0)
    if "r" in scores and head.scales.acoustic_scale:
        acoustic += head.pronunciation_scale / head.scales.acoustic_scale * scores["r"]
    _finite(acoustic, line.place)
    word = _word(found, line) if "W" in found else words[found["E"]]
    return Arc(found["S"], found["E"], word, acoustic, scores.get("l", 0.0))


def _boundaries(
    path: Path, head: Fields, words: Mapping[str, str], arcs: tuple[Arc, ...]
) -> tuple[str, frozenset[str]]:
    """The first node and the last nodes of paths: from the head, or else the nodes that no arc enters or leaves."""
    starts = {head["start"]} if "start" in head else {arc.start for arc in arcs} - {arc.end for arc in arcs}
    ends = {head["end"]} if "end" in head else {arc.end for arc in arcs} - {arc.start for arc in arcs}
    if not starts or not ends:
        raise InputError(
            f"{path}: the lattice has a cycle, so no first or no last node; only acyclic lattices can be read"
        )
    if len(starts) > 1 or not (starts | ends) <= words.keys():
        names = ", ".join(sorted(starts)[:5])
        raise InputError(
            f"{path}: a lattice starts at one node, but this one at {names}; name the node with start= in the head"
        )
    return starts.pop(), frozenset(ends)
