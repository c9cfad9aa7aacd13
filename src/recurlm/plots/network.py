"""A drawing of the network, from the tokens at the bottom to the softmax at the top."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Line

from recurlm.config import ModelOptions
from recurlm.plots.figure import COLORS, HAIRLINE, INK, QUIET, PictureFormat, picture_style, render, wrapped
from recurlm.plots.layers import Kind, NetworkLayer, carried_names, network_layers, network_name, parameter_count

# lengths in inches
BOX_WIDTH = 4.0
BOX_HEIGHT = 0.62
PILL_WIDTH = 3.0
PILL_HEIGHT = 0.3
GAP = 0.4
RESIDUAL_GAP = 0.55
MARGIN = 0.3
HEADER = 0.85
FOOTER = 0.8
SIDE = 1.25
WORDS_WIDTH = BOX_WIDTH + 2 * SIDE
TITLE_SIZE, TITLE_LINE = 15, 0.28
WORDS_SIZE, WORDS_LINE = 8, 0.18
DETAIL_WIDTH, DETAIL_LINE = 2.8, 0.14

FILLS: dict[Kind, tuple[str, str]] = {
    "tokens": ("white", QUIET),
    "embedding": ("#e6f0f7", COLORS[0]),
    "dropout": ("#f4f5f7", HAIRLINE),
    "recurrent": ("#fcede2", COLORS[1]),
    "decoder": ("#e6f0f7", COLORS[0]),
    "softmax": ("white", QUIET),
}


@dataclass(frozen=True)
class Box:
    """A layer at its place in the drawing, with the lines of its detail; x is 0 in the middle of every box."""

    layer: NetworkLayer
    bottom: float
    detail: tuple[str, ...]

    @classmethod
    def at(cls, layer: NetworkLayer, bottom: float) -> "Box":
        """The box of a layer; its detail leaves room for the word at the right. Call it inside `picture_style`."""
        lines = wrapped(layer.detail, DETAIL_WIDTH, WORDS_SIZE) if layer.has_weights else [layer.detail]
        return cls(layer, bottom, tuple(lines))

    @property
    def width(self) -> float:
        """The width in inches; dropout is narrow, because it has no parameters and is absent outside training."""
        return PILL_WIDTH if self.layer.kind == "dropout" else BOX_WIDTH

    @property
    def height(self) -> float:
        """The height in inches."""
        if self.layer.kind == "dropout":
            return PILL_HEIGHT
        return BOX_HEIGHT + DETAIL_LINE * (len(self.detail) - 1)

    @property
    def top(self) -> float:
        """The y of the upper edge."""
        return self.bottom + self.height

    @property
    def middle(self) -> float:
        """The y of the center."""
        return self.bottom + self.height / 2


@dataclass(frozen=True)
class _Words:
    """The title and the explanation below the drawing, as lines that fit its width."""

    title: list[str]
    explanation: list[str]

    @classmethod
    def of(cls, options: ModelOptions, layers: list[NetworkLayer], vocabulary_size: int) -> "_Words":
        """Wraps the words; call it inside `picture_style`."""
        title = wrapped(network_name(options), WORDS_WIDTH, TITLE_SIZE, weight="bold")
        lines = (wrapped(line, WORDS_WIDTH, WORDS_SIZE) for line in _explanation(layers, vocabulary_size))
        return cls(title, [part for line in lines for part in line])

    @property
    def header(self) -> float:
        """Inches above the drawing."""
        return HEADER + TITLE_LINE * (len(self.title) - 1)

    @property
    def footer(self) -> float:
        """Inches below the drawing."""
        return FOOTER + WORDS_LINE * (len(self.explanation) - 2)


def _explanation(layers: list[NetworkLayer], vocabulary_size: int) -> Iterator[str]:
    yield f"T time steps · B sequences side by side · {vocabulary_size:,} tokens in the vocabulary"
    meanings = {"h": "h hidden state", "c": "c cell state", "x": "x last input"}
    states = " · ".join(meanings[name] for name in carried_names(layers))
    residual = " · ⊕ residual sum" if any(layer.residual for layer in layers) else ""
    skip = " · ⊕ sum of all layers" if any(layer.skip for layer in layers) else ""
    yield f"{states}: carried from each step to the next{residual}{skip}"


def network_picture(options: ModelOptions, vocabulary_size: int, format: PictureFormat) -> bytes:
    """Draws the network as boxes with the parameters of each layer, and shapes on the arrows; SVG or PNG."""
    layers = network_layers(options, vocabulary_size)
    title = f"{network_name(options)}, {parameter_count(layers):,} parameters"
    with picture_style():
        boxes = _place(layers)
        words = _Words.of(options, layers, vocabulary_size)
        axes = _canvas(boxes[-1].top + GAP + words.header, words.footer)
        for box in boxes:
            _draw_box(axes, box)
        for below, above in zip(boxes, [*boxes[1:], None], strict=True):
            _draw_connection(axes, below, above)
        for box in boxes:
            if box.layer.residual:
                _draw_residual(axes, box)
        _draw_skip(axes, [box for box in boxes if box.layer.skip])
        if options.tied:
            _draw_tie(axes, boxes)
        _draw_words(axes, words, parameter_count(layers))
        figure = axes.figure
        assert isinstance(figure, Figure)
        return render(figure, format, title)


def _place(layers: list[NetworkLayer]) -> list[Box]:
    boxes: list[Box] = []
    bottom = 0.0
    for layer in layers:
        if boxes:
            below = boxes[-1].layer
            joined = layer.residual or below.residual or below.skip
            bottom = boxes[-1].top + (RESIDUAL_GAP if joined else GAP)
        boxes.append(Box.at(layer, bottom))
    return boxes


def _canvas(top: float, footer: float) -> Axes:
    left, bottom = -BOX_WIDTH / 2 - SIDE - MARGIN, -footer - MARGIN
    width, height = -2 * left, top - bottom
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, -left)
    axes.set_ylim(bottom, top)
    axes.set_axis_off()
    return axes


def _draw_box(axes: Axes, box: Box) -> None:
    fill, edge = FILLS[box.layer.kind]
    rounding = box.height / 2 if box.layer.kind in ("dropout", "tokens", "softmax") else 0.08
    shape = f"round,pad=0,rounding_size={rounding}"
    corner = (-box.width / 2, box.bottom)
    axes.add_patch(
        FancyBboxPatch(corner, box.width, box.height, boxstyle=shape, facecolor=fill, edgecolor=edge, linewidth=1)
    )
    if box.layer.kind == "dropout":
        axes.text(0, box.middle, f"{box.layer.name}  {box.layer.detail}", ha="center", va="center", size=8, color=QUIET)
        return
    if not box.layer.has_weights:
        axes.text(0, box.middle + 0.03, box.layer.name, ha="center", va="bottom", size=11, weight="bold")
        axes.text(0, box.middle - 0.05, box.layer.detail, ha="center", va="top", size=8, color=QUIET)
        return
    left, right, height = -box.width / 2 + 0.2, box.width / 2 - 0.2, box.top - BOX_HEIGHT / 2
    small: dict[str, Any] = {"va": "top", "size": WORDS_SIZE, "color": QUIET}
    axes.text(left, height + 0.03, box.layer.name, va="bottom", size=11, weight="bold")
    axes.text(left, height - 0.05, "\n".join(box.detail), **small)
    axes.text(right, height + 0.03, f"{box.layer.parameters:,}", ha="right", va="bottom", size=11)
    axes.text(right, height - 0.05, "parameters", ha="right", **small)
    if box.layer.carried:
        _draw_loop(axes, box)


def _draw_connection(axes: Axes, below: Box, above: Box | None) -> None:
    end = below.top + GAP if above is None else above.bottom
    arrow(axes, Line([(0, below.top), (0, end)]), INK)
    axes.text(0.14, (below.top + end) / 2, below.layer.shape, va="center", size=9)


def _draw_loop(axes: Axes, box: Box) -> None:
    """Draws the state that the layer carries to the next step."""
    edge, reach, half = box.width / 2, 0.55, box.height * 0.3
    points = [
        (edge, box.middle + half),
        (edge + reach, box.middle + half + 0.1),
        (edge + reach, box.middle - half - 0.1),
        (edge + 0.01, box.middle - half),
    ]
    arrow(axes, Line(points, [Line.MOVETO, Line.CURVE4, Line.CURVE4, Line.CURVE4]), COLORS[1])
    label = ", ".join(box.layer.carried)
    axes.text(edge + reach - 0.05, box.middle, label, va="center", size=11, style="italic", color=COLORS[1])


def _draw_residual(axes: Axes, box: Box) -> None:
    """Draws the layer's input, which goes around the layer and is added to its output."""
    start, end, left = box.bottom - 0.2, box.top + 0.16, -box.width / 2 - 0.3
    axes.add_patch(Circle((0, start), 0.028, color=COLORS[2], zorder=4))
    arrow(axes, _corners([(0, start), (left, start), (left, end), (-0.09, end)]), COLORS[2])
    _draw_sum(axes, end)


def _draw_skip(axes: Axes, layers: list[Box]) -> None:
    """Draws the outputs of the lower layers, which go around the layers above and are added to the last output."""
    if not layers:
        return
    end, left = layers[-1].top + 0.16, -BOX_WIDTH / 2 - 0.3
    for box in layers[:-1]:
        start = box.top + 0.16
        axes.add_patch(Circle((0, start), 0.028, color=COLORS[2], zorder=4))
        arrow(axes, _corners([(0, start), (left, start), (left, end), (-0.09, end)]), COLORS[2])
    _draw_sum(axes, end)


def _draw_sum(axes: Axes, height: float) -> None:
    axes.add_patch(Circle((0, height), 0.09, facecolor="white", edgecolor=COLORS[2], linewidth=1, zorder=4))
    axes.plot([-0.05, 0.05], [height, height], color=COLORS[2], linewidth=1, zorder=5)
    axes.plot([0, 0], [height - 0.05, height + 0.05], color=COLORS[2], linewidth=1, zorder=5)


def _draw_tie(axes: Axes, boxes: list[Box]) -> None:
    """Draws the matrix that embedding and decoder share."""
    embedding = next(box for box in boxes if box.layer.kind == "embedding")
    decoder = next(box for box in boxes if box.layer.kind == "decoder")
    edge, left = -embedding.width / 2, -embedding.width / 2 - 0.7
    points = [(edge, embedding.middle), (left, embedding.middle), (left, decoder.middle), (edge, decoder.middle)]
    axes.add_patch(
        FancyArrowPatch(path=_corners(points), arrowstyle="-", color=COLORS[0], linewidth=1.2, linestyle=(0, (4, 3)))
    )
    middle = (embedding.middle + decoder.middle) / 2
    axes.text(left - 0.1, middle, "tied: one matrix", rotation=90, ha="right", va="center", size=9, color=COLORS[0])


def _draw_words(axes: Axes, words: _Words, parameters: int) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    draw_title(axes, (left + MARGIN, top - MARGIN), words.title, f"recurrent language model, {parameters:,} parameters")
    axes.plot([left + MARGIN, right - MARGIN], [-0.25, -0.25], color=HAIRLINE, linewidth=0.8)
    text = "\n".join(words.explanation)
    axes.text(left + MARGIN, bottom + MARGIN, text, va="bottom", size=WORDS_SIZE, color=QUIET, linespacing=1.6)


def draw_title(axes: Axes, place: tuple[float, float], title: list[str], subtitle: str) -> None:
    """Writes the lines of the title and below them the subtitle; the place is that of the upper left corner."""
    left, top = place
    for line in title:
        axes.text(left, top, line, va="top", size=TITLE_SIZE, weight="bold")
        top -= TITLE_LINE
    axes.text(left, top - 0.04, subtitle, va="top", size=11, color=QUIET)


def arrow(axes: Axes, line: Line, color: str) -> None:
    """Draws a line with a filled head at its end."""
    axes.add_patch(
        FancyArrowPatch(
            path=line,
            arrowstyle="-|>,head_length=4.5,head_width=2.2",
            color=color,
            linewidth=1.2,
            capstyle="butt",
            joinstyle="miter",
            zorder=3,
        )
    )


def _corners(points: list[tuple[float, float]], radius: float = 0.1) -> Line:
    """Draws a line through the points with rounded corners; every segment is parallel to an axis."""
    vertices, codes = [points[0]], [int(Line.MOVETO)]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        vertices += [_toward(corner, before, radius), corner, _toward(corner, after, radius)]
        codes += [int(Line.LINETO), int(Line.CURVE3), int(Line.CURVE3)]
    return Line([*vertices, points[-1]], [*codes, int(Line.LINETO)])


def _toward(start: tuple[float, float], end: tuple[float, float], length: float) -> tuple[float, float]:
    across, up = end[0] - start[0], end[1] - start[1]
    share = length / max(abs(across), abs(up))
    return start[0] + across * share, start[1] + up * share
