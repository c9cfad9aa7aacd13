"""The four answers of `recurlm inspect`, each as a table, as JSON, as a picture and as a page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from recurlm.cli.console import readable
from recurlm.cli.inspection_subjects import MOST_ON_A_PAGE, Subject
from recurlm.errors import InputError, UsageError
from recurlm.inspection.difference import Divergence, divergence, remembrance
from recurlm.inspection.reading import ids_of, read_text
from recurlm.inspection.spans import Holding, Place, other_places, units_that_hold
from recurlm.inspection.trace import Trace
from recurlm.plots.figure import PictureFormat, format_of
from recurlm.plots.memory import MOST_DRAWN, memory_picture, shown_part, span_picture
from recurlm.plots.memory_curves import Curve, divergence_picture, remembrance_picture
from recurlm.plots.memory_page import memory_page

DIGITS = 6
"""Decimal places of numbers in JSON."""


class View(Protocol):
    """An answer."""

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about the text."""

    def table(self) -> Iterator[str]:
        """Lines for a terminal."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON."""

    def picture(self, format: PictureFormat) -> bytes:
        """The content of a picture's file."""

    def page(self) -> bytes:
        """The content of a page's file."""


def content_for(view: View, out: Path) -> bytes:
    """A picture or a page, by the name of the file. Raises UsageError for a name that says neither."""
    if out.suffix.lower() == ".html":
        return view.page()
    return view.picture(format_of(out))


def check_name(out: Path) -> None:
    """Raises UsageError for a file name that says neither picture nor page."""
    if out.suffix.lower() not in (".svg", ".png", ".html"):
        raise UsageError(f"--out {out}: end the name with .svg or .png for a picture, or with .html for a page")


@dataclass(frozen=True)
class Memory:
    """Surprisal, and one part of every layer's memory, token by token."""

    subject: Subject
    part: str | None = None

    @property
    def remarks(self) -> list[str]:
        return self.subject.remarks

    @property
    def shown(self) -> str:
        return chosen_part(self.subject.trace, self.part)

    def table(self) -> Iterator[str]:
        found, names, tokens = self.subject.trace, self.subject.names, self.subject.model.codec.vocabulary.tokens
        self.subject.trace.layers_with(self.shown)
        width = max(5, *map(len, names))
        yield f"{'':>6}  {'token':<{width}}   bits  entropy    rank  likeliest before it"
        for place, name in enumerate(names):
            guesses = "  ".join(f"{readable(tokens[index])} {share:.2f}" for index, share in found.guesses[place])
            yield (
                f"{place + 1:>6}  {name:<{width}}  {found.surprisal[place]:>5.1f}  {found.entropy[place]:>7.1f}  "
                f"{found.rank[place]:>6,}  {guesses}"
            )

    def to_json(self) -> dict[str, Any]:
        found, tokens = self.subject.trace, self.subject.model.codec.vocabulary.tokens
        rows = zip(self.subject.reading, found.surprisal, found.entropy, found.rank, found.guesses, strict=True)
        layers = found.layers_with(self.shown)
        return {
            "tokens": [
                {
                    "token": each.token,
                    "id": each.id,
                    "oov": each.missing,
                    "surprisal": round(float(bits), DIGITS),
                    "entropy": round(float(entropy), DIGITS),
                    "rank": int(rank),
                    "guesses": [[tokens[index], round(share, DIGITS)] for index, share in guesses],
                }
                for each, bits, entropy, rank, guesses in rows
            ],
            "part": self.shown,
            "parts": list(found.parts),
            "layers": [
                {"layer": number, "cell": layer.cell, "values": _rounded(layer.values[self.shown])}
                for number, layer in layers
            ],
        }

    def picture(self, format: PictureFormat, *, part: str | None = None, most: int = MOST_DRAWN) -> bytes:
        return memory_picture(self.subject.trace, self.subject.names, part or self.shown, format, most=most)

    def page(self) -> bytes:
        maps = [("Surprisal", self.subject.heat_map())]
        parts = self.subject.trace.parts if self.part is None else [self.shown]
        pictures = [self.picture("svg", part=part, most=MOST_ON_A_PAGE) for part in parts]
        return memory_page(f"The memory of {self.subject.name} over a text", self.remarks, maps, pictures)


@dataclass(frozen=True)
class Span:
    """The units that hold something over exactly a span, and the other places where they do."""

    subject: Subject
    span: str
    part: str | None = None

    @property
    def remarks(self) -> list[str]:
        return self.subject.remarks

    @property
    def shown(self) -> str:
        return chosen_part(self.subject.trace, self.part)

    @cached_property
    def place(self) -> Place:
        found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", self.span)
        length = len(self.subject.reading)
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(f"--span {self.span}: give the first and the last token, such as 3:7")
        start, stop = int(found[1]), int(found[2])
        if start < 1 or stop > length:
            raise InputError(f"--span {self.span}: the text has the tokens 1 to {length:,}; see them without --span")
        return Place(start - 1, stop, len(self.units_of(start - 1, stop)))

    def units_of(self, start: int, stop: int) -> list[Holding]:
        return units_that_hold(self.subject.trace, start, stop, part=self.shown)

    @cached_property
    def units(self) -> list[Holding]:
        return self.units_of(self.place.start, self.place.stop)

    @property
    def others(self) -> list[Place]:
        span = self.place
        found = other_places(self.subject.trace, self.units, part=self.shown)
        return [each for each in found if each.stop <= span.start or each.start >= span.stop]

    def table(self) -> Iterator[str]:
        span, part = self.place, shown_part(self.shown)
        yield f"tokens {self._shown(span)}"
        if not self.units:
            yield f"no unit's {part} holds exactly this span; try a shorter one, or another --part"
            return
        yield ""
        yield f" layer   unit  {part:<14} margin"
        for each in self.units:
            side = f"{'above' if each.sign > 0 else 'below'} {each.threshold:.2f}"
            yield f"{each.layer:>6}  {each.unit:>5}  {side:<14} {each.margin:>6.2f}"
        yield ""
        yield "other places where most of these units do" if self.others else "no other place where most of them do"
        for place in self.others:
            yield f"{place.units:>6} of {len(self.units)}  tokens {self._shown(place)}"

    def _shown(self, place: Place) -> str:
        return f"{place.start + 1} to {place.stop}: {' '.join(self.subject.names[place.start : place.stop])}"

    def to_json(self) -> dict[str, Any]:
        return {
            "part": self.shown,
            "span": self._place(self.place),
            "units": [
                {
                    "layer": each.layer,
                    "unit": each.unit,
                    "side": "above" if each.sign > 0 else "below",
                    "threshold": round(each.threshold, DIGITS),
                    "margin": round(each.margin, DIGITS),
                }
                for each in self.units
            ],
            "places": [self._place(place) | {"units": place.units} for place in self.others],
        }

    def _place(self, place: Place) -> dict[str, Any]:
        tokens = [each.token for each in self.subject.reading[place.start : place.stop]]
        return {"from": place.start + 1, "to": place.stop, "tokens": tokens}

    def picture(self, format: PictureFormat, *, most: int = MOST_DRAWN) -> bytes:
        found, names = self.subject.trace, self.subject.names
        return span_picture(
            found, names, self.shown, format, span=self.place, units=self.units, places=self.others, most=most
        )

    def page(self) -> bytes:
        title = f"Units of {self.subject.name} that hold tokens {self._shown(self.place)}"
        maps = [("Surprisal", self.subject.heat_map())]
        return memory_page(title, self.remarks, maps, [self.picture("svg", most=MOST_ON_A_PAGE)])


@dataclass(frozen=True)
class Replacement:
    """Two memories that differ in one token, token by token."""

    subject: Subject
    instead: str

    @property
    def remarks(self) -> list[str]:
        return self.other.remarks or self.subject.remarks

    @cached_property
    def place(self) -> int:
        word, at, number = self.instead.rpartition("@")
        if not (word and at and re.fullmatch(r"[1-9]\d{0,8}", number)):
            raise UsageError(f"--instead {self.instead}: give a word and the number of a token, such as plum@3")
        last = len(self.subject.reading) - 1
        if int(number) > last:
            raise InputError(
                f"--instead {self.instead}: give a token from 1 to {last:,}; "
                "at least one token must follow, for two memories to be compared after it"
            )
        return int(number) - 1

    @cached_property
    def other(self) -> Subject:
        subject, place = self.subject, self.place
        word = read_text(subject.model.codec, [self.instead.rpartition("@")[0]], f"--instead {self.instead}")
        reading = (*subject.reading[:place], *word, *subject.reading[place + 1 :])
        if ids_of(reading) == ids_of(subject.reading):
            known = (
                "the model knows neither word, so it reads the same" if word[0].missing else "the same word is there"
            )
            raise InputError(f"--instead {self.instead}: {known}; give another word")
        return Subject(subject.name, subject.model, reading)

    @cached_property
    def found(self) -> Divergence:
        return divergence(self.subject.model.network, ids_of(self.subject.reading), ids_of(self.other.reading))

    @property
    def names(self) -> list[str]:
        """What differs, and the names of the tokens that follow."""
        first, second = self.found.first, self.found.second
        ends = self.subject.names[self.place : first], self.other.names[self.place : second]
        return [" / ".join(" ".join(each) or "–" for each in ends), *self.subject.names[first:]]

    def table(self) -> Iterator[str]:
        layers = len(self.found.distances) - 1
        width = max(5, *map(len, self.names))
        heads = "".join(f"  layer {number + 1}" for number in range(layers))
        yield f"distance of the two memories after each token\n{'':>6}  {'token':<{width}}{heads}  prediction"
        for step, name in enumerate(self.names):
            figures = "".join(f"  {value:>7.3f}" for value in self.found.distances[:-1, step])
            yield f"{self.found.first + step:>6}  {name:<{width}}{figures}  {self.found.distances[-1, step]:>10.3f}"

    def to_json(self) -> dict[str, Any]:
        distances = _rounded(self.found.distances)
        tokens = [each.token for each in self.subject.reading]
        return {
            "instead": self.instead,
            "first": self.found.first,
            "tokens": tokens[self.found.first - 1 :] if self.found.first else ["", *tokens],
            "layers": distances[:-1],
            "prediction": distances[-1],
        }

    def picture(self, format: PictureFormat) -> bytes:
        return divergence_picture(self.names, self.found.distances, format)

    def page(self) -> bytes:
        title = f"The memory of {self.subject.name} with {self.names[0]}"
        maps = [("As written", self.subject.heat_map()), (f"With {self.instead}", self.other.heat_map())]
        return memory_page(title, self.remarks, maps, [self.picture("svg")])


@dataclass(frozen=True)
class Remembrance:
    """How much of a word is left in the memories of several models, on average."""

    subjects: Sequence[Subject]
    steps: int

    @property
    def remarks(self) -> list[str]:
        return [remark for subject in self.subjects for remark in subject.remarks]

    @cached_property
    def curves(self) -> list[Curve]:
        return [
            Curve(each.name, remembrance(each.model.network, ids_of(each.reading), steps=self.steps))
            for each in self.subjects
        ]

    def table(self) -> Iterator[str]:
        numbers = range(1, len(self.curves) + 1)
        for number, curve in zip(numbers, self.curves, strict=True):
            yield f"{number}  {curve.name}"
        yield ""
        yield "tokens since  " + "".join(f"   states {n}  prediction {n}" for n in numbers)
        for step in range(self.steps + 1):
            figures = "".join(f"  {c.distances[-2, step]:>9.3f}  {c.distances[-1, step]:>12.3f}" for c in self.curves)
            yield f"{step:>12}  {figures}"

    def to_json(self) -> dict[str, Any]:
        models = []
        for curve in self.curves:
            *layers, prediction = _rounded(curve.distances)
            models.append({"name": curve.name, "layers": layers, "prediction": prediction})
        return {"steps": self.steps, "models": models}

    def picture(self, format: PictureFormat) -> bytes:
        return remembrance_picture(self.curves, format)

    def page(self) -> bytes:
        return memory_page("How long a word is remembered", self.remarks, [], [self.picture("svg")])


def chosen_part(found: Trace, part: str | None) -> str:
    """The part that a reader asks for; without one the cell state, or where the model has none the hidden state."""
    return found.parts[0] if part is None else part.replace("-", "_")


def _rounded(values: np.ndarray[Any, Any]) -> list[Any]:
    rounded: list[Any] = np.round(values.astype(np.float64), DIGITS).tolist()
    return rounded
