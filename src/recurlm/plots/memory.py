"""Pictures of a memory over a text: surprisal above, states or gates of units below, token by token."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.inspection.spans import Holding, Place
from recurlm.inspection.trace import Trace
from recurlm.inspection.varied import varied_units
from recurlm.plots.figure import COLORS, INK, QUIET, PictureFormat, drawable, picture_style, render

PAPER = "#f7f7f5"
DIVERGING = LinearSegmentedColormap.from_list("memory", [COLORS[0], PAPER, COLORS[1]])
SIGNED = {"hidden", "cell", "candidate"}
"""The parts whose values have a sign; gates go from 0 to 1."""
MOST_DRAWN = 120
"""Tokens of a picture at most; more would not be readable."""
MOST_ROWS = 48
"""Units drawn of a layer at most: those that vary most over the text."""
LONGEST_NAME = 16

# lengths in inches
TOKEN, UNIT, NAMED_UNIT = 0.19, 0.06, 0.17
LEFT, RIGHT, TOP, GAP, BARS = 1.35, 0.9, 0.55, 0.16, 0.75
LETTER = 0.078
WIDTH = 7.2


class _Panel(NamedTuple):
    """Rows (U, T) of one colored panel, with the name of the panel or of each row."""

    rows: NDArray[np.float32]
    label: str
    names: Sequence[str] = ()

    @property
    def height(self) -> float:
        return max(len(self.rows) * (NAMED_UNIT if self.names else UNIT), 0.35)


def check_length(tokens: int, most: int = MOST_DRAWN) -> None:
    """Raises InputError for more tokens than a picture can show."""
    if tokens > most:
        raise InputError(f"the text has {tokens:,} tokens, and a picture shows at most {most:,}; give fewer lines")


def memory_picture(
    trace: Trace, names: Sequence[str], part: str, format: PictureFormat, *, most: int = MOST_DRAWN
) -> bytes:
    """Draws the surprisal of each token and, below it, one part of every layer's memory after it.

    names: those of the tokens · part: cell, hidden, or a gate. A layer shows its `MOST_ROWS` most varied units, those
    that behave alike side by side. Raises InputError where no layer has the part, and for more than `most` tokens.
    """
    check_length(len(names), most)
    panels = []
    for number, layer in trace.layers_with(part):
        chosen = varied_units(layer.values[part], MOST_ROWS)
        shown = f"{layer.size} units" if len(chosen) == layer.size else f"{len(chosen)} of {layer.size} units"
        panels.append(_Panel(layer.values[part][:, chosen].T, f"layer {number}\n{layer.cell}\n{shown}"))
    with picture_style():
        title = f"{shown_part(part)} after each token"
        figure, _ = _draw(trace, names, panels, part, title)
        return render(figure, format, title)


def span_picture(
    trace: Trace,
    names: Sequence[str],
    part: str,
    format: PictureFormat,
    *,
    span: Place,
    units: Sequence[Holding],
    places: Sequence[Place],
    most: int = MOST_DRAWN,
) -> bytes:
    """Draws the units that hold a span, the span in a dark frame and the other places in grey ones.

    The keywords `units` and `places` are what `inspection.spans` finds for the span. Raises InputError where there are
    no units, and for more than `most` tokens.
    """
    check_length(len(names), most)
    if not units:
        raise InputError("no unit holds exactly this span; try a shorter one, or another --part")
    rows = np.stack([trace.layers[each.layer - 1].values[part][:, each.unit - 1] for each in units])
    labels = [f"layer {each.layer} · unit {each.unit}" for each in units]
    with picture_style():
        held = f"token {span.stop}" if span.stop == span.start + 1 else f"tokens {span.start + 1} to {span.stop}"
        title = f"units whose {shown_part(part)} holds {held} (dark frame)" + ", and other places" * bool(places)
        figure, axes = _draw(trace, names, [_Panel(rows, "", labels)], part, title)
        for place in places:
            _frame(axes[1], place, len(units), QUIET)
        _frame(axes[1], span, len(units), INK)
        return render(figure, format, title)


def shown_part(part: str) -> str:
    """A part of a memory as readers call it."""
    return {"cell": "cell state", "hidden": "hidden state", "forget": "forget gate"}.get(part, _with_gate(part))


def _with_gate(part: str) -> str:
    return f"{part} gate" if part in ("reset", "update") else part.replace("_", " ")


def _draw(
    trace: Trace, names: Sequence[str], panels: Sequence[_Panel], part: str, title: str
) -> tuple[Figure, list[Axes]]:
    """A panel of surprisals, the colored panels below it, and the names of the tokens at the bottom."""
    shown = [_shortened(name) for name in map(drawable, names)]
    figure, axes = _axes([BARS, *(panel.height for panel in panels)], shown)
    _draw_surprisal(axes[0], trace)
    norm = _norm([panel.rows for panel in panels], part)
    for place, panel in zip(axes[1:], panels, strict=True):
        _draw_panel(place, panel, norm)
    axes[-1].set_xticks(range(len(shown)), shown, rotation=rotation(shown), size=7.5, color=INK)
    _draw_color_bar(axes[1], norm, part)
    height = figure.get_figheight()
    figure.text(LEFT / figure.get_figwidth(), 1 - 0.2 / height, title, va="center", size=11)
    return figure, axes


def _axes(heights: Sequence[float], names: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Axes of these heights below each other, with a column for each name."""
    columns = len(names) * TOKEN
    bottom = 0.25 + LETTER * max(map(len, names))
    width, height = max(LEFT + columns + RIGHT, WIDTH), TOP + sum(heights) + GAP * (len(heights) - 1) + bottom
    figure = Figure(figsize=(width, height))
    found, top = [], height - TOP
    for own in heights:
        top -= own
        found.append(figure.add_axes((LEFT / width, top / height, columns / width, own / height)))
        top -= GAP
    for axes in found:
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_xticks([])
        axes.tick_params(length=0)
    return figure, found


def _draw_surprisal(axes: Axes, trace: Trace) -> None:
    axes.bar(range(len(trace.ids)), trace.surprisal, width=0.7, color=COLORS[4])
    axes.set_ylabel("surprisal\nin bits", rotation=0, ha="right", va="center", labelpad=22)
    axes.locator_params(axis="y", nbins=3)


def _draw_panel(axes: Axes, panel: _Panel, norm: Normalize) -> None:
    axes.imshow(panel.rows, aspect="auto", cmap=DIVERGING, norm=norm, interpolation="nearest")
    axes.set_ylabel(panel.label, rotation=0, ha="right", va="center")
    axes.set_yticks(range(len(panel.names)), panel.names, size=8)
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _draw_color_bar(axes: Axes, norm: Normalize, part: str) -> None:
    """What the colors mean, to the right of the first colored panel."""
    figure, box = axes.figure, axes.get_position()
    assert isinstance(figure, Figure)
    width, height = figure.get_figwidth(), figure.get_figheight()
    tall = min(box.height, 1.2 / height)
    bar = figure.add_axes((box.x1 + 0.15 / width, box.y1 - tall, 0.09 / width, tall))
    low, high = norm.vmin or 0.0, norm.vmax or 1.0
    ends = ("≤ ", "≥ ") if part == "cell" else ("", "")
    bar.imshow(np.linspace(1, 0, 64)[:, None], aspect="auto", cmap=DIVERGING, extent=(0, 1, low, high))
    bar.set_xticks([])
    middle = (low + high) / 2
    labels = [f"{ends[0]}{low:g}".replace("-", "−"), f"{middle:g}", f"{ends[1]}{high:g}"]
    bar.set_yticks([low, middle, high], labels, size=8)
    bar.yaxis.tick_right()
    bar.grid(False)
    bar.spines[:].set_visible(False)


def _norm(rows: Sequence[NDArray[np.float32]], part: str) -> Normalize:
    """From -1 to 1, or as far as all but the strongest hundredth of the values go; gates go from 0 to 1."""
    if part not in SIGNED:
        return Normalize(0, 1)
    strongest = float(np.quantile(np.abs(np.concatenate([each.ravel() for each in rows])), 0.99))
    limit = max(1.0, float(np.ceil(strongest * 2) / 2))
    return Normalize(-limit, limit)


def _frame(axes: Axes, place: Place, rows: int, color: str) -> None:
    corner = (place.start - 0.5, -0.5)
    axes.add_patch(Rectangle(corner, place.stop - place.start, rows, fill=False, ec=color, lw=1.3, clip_on=False))


def rotation(names: Sequence[str]) -> int:
    """Degrees by which names below narrow columns are turned: none where each is a character."""
    return 90 if max(map(len, names)) > 1 else 0


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
