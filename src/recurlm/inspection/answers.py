"""The four answers about a memory, as `recurlm inspect --json` prints them and `POST /inspect` sends them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from recurlm.errors import InputError, UsageError
from recurlm.inspection.difference import Distances, Divergence, divergence, remembrance
from recurlm.inspection.reading import read_text
from recurlm.inspection.spans import Holding, Place, other_places, units_that_hold
from recurlm.inspection.subject import Subject, remarks_on
from recurlm.inspection.trace import Trace, Values
from recurlm.inspection.varied import varied_units

DIGITS = 6
"""Decimal places of numbers in JSON."""


@dataclass(frozen=True)
class Choice:
    """What of a memory is told: one layer or all, and of each layer some units, or the `varied` most varied ones.

    Layers and units count from 1.
    """

    layer: int | None = None
    units: tuple[int, ...] | None = None
    varied: int | None = None


class ChosenLayer(NamedTuple):
    """A layer with the values (T, N) of its N chosen units; `units` is None where all are told."""

    number: int
    cell: str
    units: list[int] | None
    values: Values

    def to_json(self) -> dict[str, Any]:
        """The layer as JSON."""
        units = {} if self.units is None else {"units": self.units}
        return {"layer": self.number, "cell": self.cell, **units, "values": rounded(self.values)}


class _OfOnePart:
    """What answers about one part of a memory have in common."""

    subject: Subject
    part: str | None

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about the text."""
        return self.subject.remarks

    @property
    def shown(self) -> str:
        """The part that the answer is about."""
        return chosen_part(self.subject.trace, self.part)


@dataclass(frozen=True)
class MemoryAnswer(_OfOnePart):
    """Surprisal, and one part of every chosen layer's memory, token by token."""

    subject: Subject
    part: str | None = None
    choice: Choice = Choice()

    @cached_property
    def layers(self) -> list[ChosenLayer]:
        """The chosen values. Raises InputError for a layer, units or a part that the model lacks."""
        layers = self.subject.trace.layers_with(self.shown)
        if self.choice.layer is not None:
            layers = [each for each in layers if each[0] == self.choice.layer]
        if not layers:
            raise InputError(f"layer {self.choice.layer}: the model has no such layer with the part {self.shown}")
        return [self._chosen(number, layer.cell, layer.values[self.shown]) for number, layer in layers]

    def _chosen(self, number: int, cell: str, values: Values) -> ChosenLayer:
        units = self.choice.units
        if self.choice.varied is not None:
            units = tuple(unit + 1 for unit in varied_units(values, self.choice.varied))
        if units is None:
            return ChosenLayer(number, cell, None, values)
        if max(units) > values.shape[1]:
            raise InputError(f"units: layer {number} has {values.shape[1]} units, so none is number {max(units)}")
        return ChosenLayer(number, cell, list(units), values[:, np.array(units) - 1])

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON."""
        found, tokens = self.subject.trace, self.subject.codec.vocabulary.tokens
        read = zip(self.subject.reading, self.subject.names, strict=True)
        rows = zip(read, found.surprisal, found.entropy, found.rank, found.guesses, strict=True)
        layers = [layer.to_json() for layer in self.layers]
        return {
            "tokens": [
                {
                    "token": each.token,
                    "name": name,
                    "id": each.id,
                    "oov": each.missing,
                    "surprisal": round(float(bits), DIGITS),
                    "entropy": round(float(entropy), DIGITS),
                    "rank": int(rank),
                    "guesses": [[tokens[index], round(share, DIGITS)] for index, share in guesses],
                }
                for (each, name), bits, entropy, rank, guesses in rows
            ],
            "part": self.shown,
            "parts": list(found.parts),
            "layers": layers,
        }


@dataclass(frozen=True)
class SpanAnswer(_OfOnePart):
    """The units that hold something over exactly a span, such as 3:5, and the other places where they do.

    `values` tells the values of each of these units after every token.
    """

    subject: Subject
    span: str
    part: str | None = None
    values: bool = False

    @cached_property
    def place(self) -> Place:
        """The span, counted from 0. Raises UsageError for a text that is no span, InputError beyond the text."""
        found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", self.span)
        length = len(self.subject.reading)
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(f"span {self.span}: give the first and the last token, such as 3:7")
        start, stop = int(found[1]), int(found[2])
        if start < 1 or stop > length:
            raise InputError(f"span {self.span}: the text has the tokens 1 to {length:,}")
        return Place(start - 1, stop, len(self._units_of(start - 1, stop)))

    def _units_of(self, start: int, stop: int) -> list[Holding]:
        return units_that_hold(self.subject.trace, start, stop, part=self.shown)

    @cached_property
    def units(self) -> list[Holding]:
        """The units that hold the span, largest margin first."""
        return self._units_of(self.place.start, self.place.stop)

    @property
    def others(self) -> list[Place]:
        """The other places where most of the units do."""
        span = self.place
        found = other_places(self.subject.trace, self.units, part=self.shown)
        return [each for each in found if each.stop <= span.start or each.start >= span.stop]

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON."""
        return {
            "part": self.shown,
            "span": self._told(self.place),
            "units": [self._unit(each) for each in self.units],
            "places": [self._told(place) | {"units": place.units} for place in self.others],
        }

    def _unit(self, unit: Holding) -> dict[str, Any]:
        told = {
            "layer": unit.layer,
            "unit": unit.unit,
            "side": "above" if unit.sign > 0 else "below",
            "threshold": round(unit.threshold, DIGITS),
            "margin": round(unit.margin, DIGITS),
        }
        if not self.values:
            return told
        return told | {
            "values": rounded(self.subject.trace.layers[unit.layer - 1].values[self.shown][:, unit.unit - 1])
        }

    def _told(self, place: Place) -> dict[str, Any]:
        tokens = [each.token for each in self.subject.reading[place.start : place.stop]]
        return {"from": place.start + 1, "to": place.stop, "tokens": tokens}


@dataclass(frozen=True)
class ReplacementAnswer:
    """Two memories that differ in one token, such as plum@3, token by token."""

    subject: Subject
    instead: str

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about the texts."""
        return self.other.remarks or self.subject.remarks

    @cached_property
    def place(self) -> int:
        """The replaced token, counted from 0. Raises UsageError for another form, InputError beyond the text."""
        word, at, number = self.instead.rpartition("@")
        if not (word and at and re.fullmatch(r"[1-9]\d{0,8}", number)):
            raise UsageError(f"instead {self.instead}: give a word and the number of a token, such as plum@3")
        last = len(self.subject.reading) - 1
        if int(number) > last:
            raise InputError(
                f"instead {self.instead}: give a token from 1 to {last:,}; "
                "at least one token must follow, for two memories to be compared after it"
            )
        return int(number) - 1

    @cached_property
    def other(self) -> Subject:
        """The model with the other text. Raises InputError where it reads the same."""
        subject, place = self.subject, self.place
        word = read_text(subject.codec, [self.instead.rpartition("@")[0]], f"instead {self.instead}")
        other = replace(subject, known=None, reading=(*subject.reading[:place], *word, *subject.reading[place + 1 :]))
        if other.ids == subject.ids:
            known = (
                "the model knows neither word, so it reads the same" if word[0].missing else "the same word is there"
            )
            raise InputError(f"instead {self.instead}: {known}; give another word")
        return other

    @cached_property
    def found(self) -> Divergence:
        """How far the memories are apart."""
        return divergence(self.subject.network, self.subject.ids, self.other.ids, tick=self.subject.tick)

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON."""
        distances = rounded(self.found.distances)
        tokens = [each.token for each in self.subject.reading]
        return {
            "instead": self.instead,
            "first": self.found.first,
            "tokens": tokens[self.found.first - 1 :] if self.found.first else ["", *tokens],
            "layers": distances[:-1],
            "prediction": distances[-1],
        }


class Remembered(NamedTuple):
    """What one model remembers of a word after 0, 1, 2 … further tokens: distances as those of `remembrance`."""

    name: str
    distances: Distances


@dataclass(frozen=True)
class RemembranceAnswer:
    """How much of a word is left in the memories of several models, on average."""

    subjects: Sequence[Subject]
    steps: int

    @property
    def remarks(self) -> list[str]:
        """What a reader should know about the text."""
        return remarks_on(self.subjects)

    @cached_property
    def curves(self) -> list[Remembered]:
        """The curve of each model."""
        return [remembered(each, self.steps) for each in self.subjects]

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON."""
        return remembered_json(self.steps, self.curves)


def remembered(subject: Subject, steps: int) -> Remembered:
    """The curve of one model."""
    return Remembered(subject.name, remembrance(subject.network, subject.ids, steps=steps, tick=subject.tick))


def remembered_json(steps: int, curves: Sequence[Remembered]) -> dict[str, Any]:
    """The curves of several models as JSON."""
    models = []
    for curve in curves:
        *layers, prediction = rounded(curve.distances)
        models.append({"name": curve.name, "layers": layers, "prediction": prediction})
    return {"steps": steps, "models": models}


def chosen_part(found: Trace, part: str | None) -> str:
    """The part that a reader asks for; without one the cell state, or where the model has none the hidden state."""
    return found.parts[0] if part is None else part.replace("-", "_")


def rounded(values: np.ndarray[Any, Any]) -> list[Any]:
    """Values as nested lists of numbers with `DIGITS` decimal places."""
    told: list[Any] = np.round(values.astype(np.float64), DIGITS).tolist()
    return told
