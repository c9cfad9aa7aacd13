"""A drawing of three time steps side by side: the same layers at every step, connected by the carried state."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.path import Path as Line

from recurlm.config import ModelOptions
from recurlm.plots.figure import COLORS, INK, QUIET, PictureFormat, picture_style, render, wrapped
from recurlm.plots.layers import NetworkLayer, carried_names, network_layers, network_name, parameter_count
from recurlm.plots.network import FILLS, TITLE_LINE, TITLE_SIZE, arrow, draw_title

# lengths in inches
STEPS = ("ₙ₋₁", "ₙ", "ₙ₊₁", "ₙ₊₂")
COLUMN = 2.5
BOX_WIDTH = 1.45
BOX_HEIGHT = 0.46
GAP = 0.36
SIDE = 1.15
MARGIN = 0.3
HEADER = 0.95
FOOTER = 0.7
WORDS_WIDTH = 2 * COLUMN + BOX_WIDTH + 2 * SIDE


def unrolled_picture(options: ModelOptions, vocabulary_size: int, format: PictureFormat) -> bytes:
    """Draws steps n - 1, n, and n + 1 of the network, without dropout, residual sums, and skip sums; SVG or PNG."""
    layers = network_layers(options, vocabulary_size)
    shown = [layer for layer in layers if layer.has_weights or layer.kind == "softmax"]
    title = f"{network_name(options)}, unrolled over time"
    with picture_style():
        lines = wrapped(title, WORDS_WIDTH, TITLE_SIZE, weight="bold")
        axes = _canvas(len(shown), HEADER + TITLE_LINE * (len(lines) - 1))
        for column, step in enumerate(STEPS[:-1]):
            _draw_column(axes, shown, column * COLUMN, step, STEPS[column + 1])
        for row, layer in enumerate(shown):
            _draw_state(axes, layer, row)
        subtitle = f"{parameter_count(layers):,} parameters, the same ones at every step"
        _draw_words(axes, lines, subtitle, carried_names(layers))
        figure = axes.figure
        assert isinstance(figure, Figure)
        return render(figure, format, title)


def _bottom(row: int) -> float:
    return row * (BOX_HEIGHT + GAP)


def _canvas(rows: int, header: float) -> Axes:
    left, right = -BOX_WIDTH / 2 - SIDE - MARGIN, 2 * COLUMN + BOX_WIDTH / 2 + SIDE + MARGIN
    bottom, top = -GAP - FOOTER - MARGIN, _bottom(rows) + header + MARGIN
    figure = Figure(figsize=(right - left, top - bottom))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_axis_off()
    return axes


def _draw_column(axes: Axes, layers: list[NetworkLayer], x: float, step: str, following: str) -> None:
    axes.text(x, -GAP - 0.06, f"x{step}", ha="center", va="top", size=12, style="italic")
    for row, layer in enumerate(layers):
        fill, edge = FILLS[layer.kind]
        axes.add_patch(
            FancyBboxPatch(
                (x - BOX_WIDTH / 2, _bottom(row)),
                BOX_WIDTH,
                BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=fill,
                edgecolor=edge,
            )
        )
        axes.text(x, _bottom(row) + BOX_HEIGHT / 2, layer.name, ha="center", va="center", size=10)
        arrow(axes, Line([(x, _bottom(row) - GAP), (x, _bottom(row))]), INK)
    end = _bottom(len(layers))
    arrow(axes, Line([(x, end - GAP), (x, end)]), INK)
    axes.text(x, end + 0.08, f"p(x{following})", ha="center", va="bottom", size=12, style="italic")


def _draw_state(axes: Axes, layer: NetworkLayer, row: int) -> None:
    """Draws the arrows of a recurrent layer's state between the columns, and into and out of the picture."""
    if not layer.carried:
        return
    height = _bottom(row) + BOX_HEIGHT / 2
    for column in range(-1, len(STEPS) - 1):
        edge = column * COLUMN + BOX_WIDTH / 2
        start, end = edge, edge + COLUMN - BOX_WIDTH
        if column == len(STEPS) - 2:
            end = start + SIDE - 0.1
        arrow(axes, Line([(start, height), (end, height)]), COLORS[1])
        middle = (start + end) / 2
        step = ("ₙ₋₂", *STEPS)[column + 1]
        names = ", ".join(f"{name}{step}" for name in layer.carried)
        axes.text(middle, height + 0.05, names, ha="center", va="bottom", size=9, style="italic", color=COLORS[1])
        shapes = ", ".join(f"(B, {size:,})" for size in dict.fromkeys(layer.carried_sizes))
        axes.text(middle, height - 0.06, shapes, ha="center", va="top", size=7.5, color=QUIET)


def _draw_words(axes: Axes, title: list[str], subtitle: str, carried: list[str]) -> None:
    left, bottom, top = axes.get_xlim()[0] + MARGIN, axes.get_ylim()[0], axes.get_ylim()[1]
    draw_title(axes, (left, top - MARGIN), title, subtitle)
    words = (
        f"x token · p probabilities of the next token · {', '.join(carried)} carried state · "
        "B sequences side by side · dropout and sums of layers are not drawn"
    )
    axes.text(left, bottom + MARGIN, words, va="bottom", size=8, color=QUIET)
