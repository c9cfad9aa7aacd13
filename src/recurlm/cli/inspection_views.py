"""The four answers of `recurlm inspect`, each as a table, as a picture and as a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from recurlm.cli.inspection_subjects import MOST_ON_A_PAGE, surprisal_map
from recurlm.errors import UsageError
from recurlm.inspection.answers import MemoryAnswer, RemembranceAnswer, ReplacementAnswer, SpanAnswer
from recurlm.inspection.spans import Place
from recurlm.plots.figure import PictureFormat, format_of
from recurlm.plots.memory import MOST_DRAWN, memory_picture, shown_part, span_picture
from recurlm.plots.memory_curves import divergence_picture, remembrance_picture
from recurlm.plots.memory_page import memory_page
from recurlm.wording import readable


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


class Memory(MemoryAnswer):
    """Surprisal, and one part of every layer's memory, token by token."""

    def table(self) -> Iterator[str]:
        """Lines for a terminal."""
        found, names, tokens = self.subject.trace, self.subject.names, self.subject.codec.vocabulary.tokens
        self.subject.trace.layers_with(self.shown)
        width = max(5, *map(len, names))
        yield f"{'':>6}  {'token':<{width}}   bits  entropy    rank  likeliest before it"
        for place, name in enumerate(names):
            guesses = "  ".join(f"{readable(tokens[index])} {share:.2f}" for index, share in found.guesses[place])
            yield (
                f"{place + 1:>6}  {name:<{width}}  {found.surprisal[place]:>5.1f}  {found.entropy[place]:>7.1f}  "
                f"{found.rank[place]:>6,}  {guesses}"
            )

    def picture(self, format: PictureFormat, *, part: str | None = None, most: int = MOST_DRAWN) -> bytes:
        """The content of a picture's file."""
        return memory_picture(self.subject.trace, self.subject.names, part or self.shown, format, most=most)

    def page(self) -> bytes:
        """The content of a page's file."""
        maps = [("Surprisal", surprisal_map(self.subject))]
        parts = self.subject.trace.parts if self.part is None else [self.shown]
        pictures = [self.picture("svg", part=part, most=MOST_ON_A_PAGE) for part in parts]
        return memory_page(f"The memory of {self.subject.name} over a text", self.remarks, maps, pictures)


class Span(SpanAnswer):
    """The units that hold something over exactly a span, and the other places where they do."""

    def table(self) -> Iterator[str]:
        """Lines for a terminal."""
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

    def picture(self, format: PictureFormat, *, most: int = MOST_DRAWN) -> bytes:
        """The content of a picture's file."""
        found, names = self.subject.trace, self.subject.names
        return span_picture(
            found, names, self.shown, format, span=self.place, units=self.units, places=self.others, most=most
        )

    def page(self) -> bytes:
        """The content of a page's file."""
        title = f"Units of {self.subject.name} that hold tokens {self._shown(self.place)}"
        maps = [("Surprisal", surprisal_map(self.subject))]
        return memory_page(title, self.remarks, maps, [self.picture("svg", most=MOST_ON_A_PAGE)])


class Replacement(ReplacementAnswer):
    """Two memories that differ in one token, token by token."""

    @property
    def names(self) -> list[str]:
        """What differs, and the names of the tokens that follow."""
        first, second = self.found.first, self.found.second
        ends = self.subject.names[self.place : first], self.other.names[self.place : second]
        return [" / ".join(" ".join(each) or "–" for each in ends), *self.subject.names[first:]]

    def table(self) -> Iterator[str]:
        """Lines for a terminal."""
        layers = len(self.found.distances) - 1
        width = max(5, *map(len, self.names))
        heads = "".join(f"  layer {number + 1}" for number in range(layers))
        yield f"distance of the two memories after each token\n{'':>6}  {'token':<{width}}{heads}  prediction"
        for step, name in enumerate(self.names):
            figures = "".join(f"  {value:>7.3f}" for value in self.found.distances[:-1, step])
            yield f"{self.found.first + step:>6}  {name:<{width}}{figures}  {self.found.distances[-1, step]:>10.3f}"

    def picture(self, format: PictureFormat) -> bytes:
        """The content of a picture's file."""
        return divergence_picture(self.names, self.found.distances, format)

    def page(self) -> bytes:
        """The content of a page's file."""
        title = f"The memory of {self.subject.name} with {self.names[0]}"
        maps = [("As written", surprisal_map(self.subject)), (f"With {self.instead}", surprisal_map(self.other))]
        return memory_page(title, self.remarks, maps, [self.picture("svg")])


class Remembrance(RemembranceAnswer):
    """How much of a word is left in the memories of several models, on average."""

    def table(self) -> Iterator[str]:
        """Lines for a terminal."""
        numbers = range(1, len(self.curves) + 1)
        for number, curve in zip(numbers, self.curves, strict=True):
            yield f"{number}  {curve.name}"
        yield ""
        yield "tokens since  " + "".join(f"   states {n}  prediction {n}" for n in numbers)
        for step in range(self.steps + 1):
            figures = "".join(f"  {c.distances[-2, step]:>9.3f}  {c.distances[-1, step]:>12.3f}" for c in self.curves)
            yield f"{step:>12}  {figures}"

    def picture(self, format: PictureFormat) -> bytes:
        """The content of a picture's file."""
        return remembrance_picture(self.curves, format)

    def page(self) -> bytes:
        """The content of a page's file."""
        return memory_page("How long a word is remembered", self.remarks, [], [self.picture("svg")])
