"""Curves of two memories: how far apart they are after each token, and how long a word is remembered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recurlm.inspection.answers import Remembered
from recurlm.inspection.difference import Distances
from recurlm.plots.figure import COLORS, INK, PictureFormat, drawable, picture_style, render
from recurlm.plots.memory import LETTER, LONGEST_NAME, TOKEN, check_length


def divergence_picture(names: Sequence[str], distances: Distances, format: PictureFormat) -> bytes:
    """Draws how far two memories are apart after each of these tokens: each layer, and the prediction below.

    names: those of the tokens, the first one being what differs. Raises InputError for more than `MOST_DRAWN`.
    """
    check_length(len(names))
    title = "two memories that differ in one place"
    shown = [name if len(name) <= 2 * LONGEST_NAME else f"{name[: 2 * LONGEST_NAME]}…" for name in map(drawable, names)]
    with picture_style():
        width = max(1.1 + len(names) * TOKEN, 6.4)
        figure = Figure(figsize=(width, 3.6 + LETTER * max(map(len, shown))), layout="constrained")
        memory, prediction = figure.subplots(2, sharex=True, height_ratios=(2, 1))
        _draw_layers(memory, distances)
        prediction.bar(range(len(names)), distances[-1], width=0.6, color=COLORS[4])
        _label(memory, "distance of\nthe states")
        _label(prediction, "distance of the\npredictions")
        prediction.set_ylim(0, 1)
        prediction.set_xlim(-0.5, len(names) - 0.5)
        prediction.set_xticks(range(len(names)), shown, rotation=90, size=7.5, color=INK)
        prediction.tick_params(axis="x", length=0)
        memory.tick_params(axis="x", length=0)
        memory.set_title(title, loc="left", size=11)
        return render(figure, format, title)


def remembrance_picture(curves: Sequence[Remembered], format: PictureFormat) -> bytes:
    """Draws how far a memory still is, token by token, from one that read another word.

    Distances of states are drawn as shares of the distance just after the word, since states of different models have
    different lengths. One model shows each of its layers; of several models each shows its last layer.
    """
    title = "how long a word is remembered"
    layers = "each layer" if len(curves) == 1 else "the last layer"
    with picture_style():
        figure = Figure(figsize=(7.6, 3.5), layout="constrained")
        memory, prediction = figure.subplots(1, 2)
        if len(curves) == 1:
            _draw_layers(memory, _left(curves[0].distances))
        for number, curve in enumerate(curves):
            look = _look(number) | {"label": drawable(curve.name)}
            if len(curves) > 1:
                memory.plot(_left(curve.distances)[-2], **look)
            prediction.plot(curve.distances[-1], **look)
        memory.set_title(f"share of the word left in {layers}", loc="left", size=9)
        prediction.set_title("distance of the predictions", loc="left", size=9)
        for axes in (memory, prediction):
            axes.set_ylim(bottom=0)
            axes.set_xlim(0, curves[0].distances.shape[1] - 1)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("tokens read since the word")
        memory.legend()
        figure.suptitle(title, x=0.01, ha="left", size=11)
        return render(figure, format, title)


def _left(distances: Distances) -> Distances:
    """Distances as shares of the first one; zero where the word made no difference."""
    first = distances[:, :1]
    shares: Distances = np.divide(distances, first, out=np.zeros_like(distances), where=first > 0)
    return shares


def _draw_layers(axes: Axes, distances: Distances) -> None:
    for number, layer in enumerate(distances[:-1]):
        axes.plot(layer, **_look(number), label=f"layer {number + 1}")
    axes.set_ylim(bottom=0)
    axes.legend()


def _look(number: int) -> dict[str, Any]:
    """Color and marks of a line; the marks tell lines apart without color."""
    return {"color": COLORS[number % len(COLORS)], "marker": "os^Dvx"[number % 6], "markersize": 3.5, "clip_on": False}


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center")
