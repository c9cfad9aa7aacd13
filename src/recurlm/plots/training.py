"""Training curves of one or several runs, from their metrics.jsonl."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from recurlm.errors import InputError
from recurlm.plots.figure import COLORS, INK, QUIET, PictureFormat, picture_style, render, save, wrapped
from recurlm.plots.run_log import Points, RunLog, figure_in_words, is_number, plain_number
from recurlm.runs.folder import METRICS_FILE, RunFolder
from recurlm.runs.metrics import Metric
from recurlm.wording import counted

# five line styles and six colors: thirty runs before a pair repeats
MARKERS = ("o", "s", "D", "^", "v")
SMOOTHING_SHARE = 0.04
LOG_SCALE_RATIO = 3.0
# a larger perplexity is drawn at e^50; no scale makes it readable
HIGHEST_LOSS = 50.0
# with fewer points than this, each is marked: one point has no line
FEW_POINTS = 6
# from the highest to the lowest value on the axis of perplexity, at least
SMALLEST_RANGE = 1.2
SLIM_PANELS = {"lr": "learning rate", "tokens_per_second": "tokens a second"}

# lengths in inches, from the left and right edges of the panels to the space between them
WIDTH, LEFT, PANEL_WIDTH = 7.2, 0.65, 6.25
CURVES_HEIGHT, SLIM_HEIGHT, GAP = 3.4, 0.75, 0.32
HEADER, FOOTER, HANDLE = 0.95, 0.6, 0.32
TITLE_SIZE, LEGEND_SIZE, SIGNATURE_SIZE = 12.0, 8.5, 6.0
TITLE_LINE, LEGEND_LINE, LEGEND_GAP, SIGNATURE_LINE = 0.2, 0.165, 0.02, 0.14
MONOSPACED = "DejaVu Sans Mono"


def training_picture(runs: Sequence[Path], format: PictureFormat) -> bytes:
    """Draws perplexity, learning rate, and speed by step; the same runs give the same bytes.

    Raises InputError where a run has logged nothing yet.
    """
    logs = [RunLog(run) for run in runs]
    for log in logs:
        if not log.losses and not log.validations:
            raise InputError(f"{log.run / METRICS_FILE}: nothing is logged yet; wait for the first log line")
    with picture_style():
        return render(training_figure(logs), format, _title(logs))


def training_figure(logs: list[RunLog]) -> Figure:
    """Draws the panels and words of a picture; call it inside `picture_style`."""
    words = _Words.of(logs)
    figure, panels = _panels(logs, words)
    for number, log in enumerate(logs):
        _draw_run(panels, log, number, alone=len(logs) == 1)
    _finish_steps(panels, logs)
    _finish_perplexity(panels[0], logs)
    _draw_legend(panels[0], words)
    _draw_words(figure, words, logs)
    return figure


def write_training_pictures(folder: RunFolder, runs: Sequence[Path] = ()) -> list[Path]:
    """Draws one run into the folder's training.svg and training.png, several runs into comparison.svg and .png."""
    chosen = runs or [folder.path]
    name = "training" if len(chosen) == 1 else "comparison"
    formats: tuple[PictureFormat, ...] = ("svg", "png")
    pictures = {folder.path / f"{name}.{format}": training_picture(chosen, format) for format in formats}
    for path, picture in pictures.items():
        save(path, picture)
    return list(pictures)


def smoothed(points: Points) -> Points:
    """Means over windows centered on each point, which get narrower toward both ends, so that no curve lags."""
    widest = round(SMOOTHING_SHARE * len(points) / 2)
    result = []
    for place, (step, _) in enumerate(points):
        half = min(widest, place, len(points) - 1 - place)
        window = points[place - half : place + half + 1]
        result.append((step, sum(value for _, value in window) / len(window)))
    return result


def _perplexities(losses: Points) -> Points:
    return [(step, math.exp(min(loss, HIGHEST_LOSS))) for step, loss in losses]


def _drawable(perplexities: Points) -> Points:
    return [(step, min(value, math.exp(HIGHEST_LOSS))) for step, value in perplexities]


def _title(logs: list[RunLog]) -> str:
    return logs[0].description if len(logs) == 1 else f"Perplexity of {counted(len(logs), 'run')}"


@dataclass(frozen=True)
class _Words:
    """The words around the panels, wrapped into lines of a fixed font size: the picture grows, the letters stay."""

    title: list[str]
    legend: list[list[str]]
    signatures: list[str]

    @classmethod
    def of(cls, logs: list[RunLog]) -> "_Words":
        """legend: the lines of each of several runs; a run alone has a legend in the line above its curves."""
        title = wrapped(_title(logs), PANEL_WIDTH, TITLE_SIZE, weight="bold")
        names = [] if len(logs) == 1 else [log.summary for log in logs]
        legend = [wrapped(name, PANEL_WIDTH - HANDLE, LEGEND_SIZE) for name in names]
        signatures = [wrapped(each, PANEL_WIDTH, SIGNATURE_SIZE, family=MONOSPACED) for each in _signatures(logs)]
        return cls(title, legend, [line for lines in signatures for line in lines])

    @property
    def legend_height(self) -> float:
        """Inches between the subtitle and the panels."""
        return sum(LEGEND_LINE * len(lines) + LEGEND_GAP for lines in self.legend)

    @property
    def header(self) -> float:
        """Inches above the panels."""
        return HEADER + TITLE_LINE * (len(self.title) - 1) + self.legend_height

    @property
    def footer(self) -> float:
        """Inches below the panels."""
        return FOOTER + SIGNATURE_LINE * len(self.signatures)


def _panels(logs: list[RunLog], words: _Words) -> tuple[Figure, list[Axes]]:
    slim = [key for key in SLIM_PANELS if any(log.logged(key) for log in logs)]
    heights = [CURVES_HEIGHT, *[SLIM_HEIGHT] * len(slim)]
    height = sum(heights) + GAP * len(slim) + words.footer + words.header
    figure = Figure(figsize=(WIDTH, height))
    top = height - words.header
    panels: list[Axes] = []
    for panel_height in heights:
        place = (LEFT / WIDTH, (top - panel_height) / height, PANEL_WIDTH / WIDTH, panel_height / height)
        panels.append(figure.add_axes(place, sharex=panels[0] if panels else None))
        top -= panel_height + GAP
    for axes, key in zip(panels, ["perplexity", *slim], strict=True):
        axes.set_gid(key)
        axes.set_title(SLIM_PANELS.get(key, key), loc="left", size=LEGEND_SIZE, color=QUIET, pad=5)
        axes.tick_params(labelsize=8, labelbottom=axes is panels[-1])
        axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
    for axes in panels[1:]:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=2, steps=[1, 2, 5, 10]))
    return figure, panels


def _finish_steps(panels: list[Axes], logs: list[RunLog]) -> None:
    """The axis of steps begins at zero, so that a run of one point has a place on it."""
    last = max(step for log in logs for step, _ in [*log.losses, *log.validations])
    panels[0].set_xlim(0, 1.03 * max(last, 1))
    panels[0].xaxis.set_major_locator(MaxNLocator(nbins="auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    panels[0].xaxis.set_major_formatter(FuncFormatter(plain_number))
    panels[-1].set_xlabel("step", size=LEGEND_SIZE)


def _draw_run(panels: list[Axes], log: RunLog, number: int, *, alone: bool) -> None:
    color = COLORS[number % len(COLORS)]
    valid_color = COLORS[1] if alone else color
    curves, *slim = panels
    if log.losses:
        _draw_losses(curves, log, color, alone=alone)
    _draw_validations(curves, log, valid_color, MARKERS[number % len(MARKERS)], alone=alone)
    for axes in slim:
        points = log.logged(str(axes.get_gid()))
        if points:
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1, marker=_mark(points), markersize=5)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1.15 * max(value for _, value in points)))


def _draw_losses(curves: Axes, log: RunLog, color: str, *, alone: bool) -> None:
    if alone:
        curves.plot(*zip(*_perplexities(log.losses), strict=True), color=color, linewidth=0.7, alpha=0.3)
    curves.plot(
        *zip(*_perplexities(smoothed(log.losses)), strict=True),
        color=color,
        marker=_mark(log.losses),
        markersize=6,
        linewidth=1.5 if alone else 0.9,
        alpha=1 if alone else 0.6,
        label=("training, estimated" if log.estimated else "training") if alone else None,
    )


def _mark(points: Points) -> str:
    return "." if len(points) < FEW_POINTS else ""


def _draw_validations(curves: Axes, log: RunLog, color: str, marker: str, *, alone: bool) -> None:
    if log.validations:
        curves.plot(
            *zip(*_drawable(log.validations), strict=True),
            color=color,
            linewidth=1,
            marker=marker,
            markersize=4.5,
            markerfacecolor="white",
            markeredgewidth=1.2,
            label="validation, while training" if alone else log.summary,
        )
    elif not alone:
        curves.plot([], [], color=color, label=log.summary)
    if log.best is not None:
        curves.plot(*_drawable([log.best])[0], color=color, marker=marker, markersize=6)
        if alone:
            _write_best(curves, log.best, color, beside=len(log.validations) == 1)


def _write_best(axes: Axes, best: tuple[int, float], color: str, *, beside: bool) -> None:
    """Writes the value above its point, or beside a single point, above which that of training may lie."""
    axes.annotate(
        figure_in_words(best[1]),
        _drawable([best])[0],
        xytext=(-9, 0) if beside else (0, 9),
        textcoords="offset points",
        ha="right" if beside else "center",
        va="center" if beside else "baseline",
        size=9,
        weight="bold",
        color=color,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
        zorder=5,
    )


def _finish_perplexity(axes: Axes, logs: list[RunLog]) -> None:
    values = [value for log in logs for _, value in [*_perplexities(smoothed(log.losses)), *_drawable(log.validations)]]
    low, high = min(values), max(values)
    if high / low > LOG_SCALE_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=_tick_digits(high / low)))
        axes.yaxis.set_major_formatter(FuncFormatter(plain_number))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.04)
        axes.set_title("perplexity, logarithmic", loc="left", size=LEGEND_SIZE, color=QUIET, pad=5)
    elif high / low < SMALLEST_RANGE:
        axes.set_ylim((low + high) / (1 + SMALLEST_RANGE), SMALLEST_RANGE * (low + high) / (1 + SMALLEST_RANGE))


def _draw_legend(axes: Axes, words: _Words) -> None:
    """Names the curves above the panels, where no curve can pass behind the letters."""
    style = {"fontsize": LEGEND_SIZE, "handlelength": 1.6, "borderpad": 0.0}
    if not words.legend:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.5, **style)
        return
    handles, _ = axes.get_legend_handles_labels()
    labels = ["\n".join(lines) for lines in words.legend]
    top = 1 + (words.legend_height + 0.25) / CURVES_HEIGHT
    axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(0, top), borderaxespad=0, **style)


def _tick_digits(ratio: float) -> tuple[float, ...]:
    if ratio > 1e4:
        return (1,)
    return (1, 2, 5) if ratio > 12 else (1, 1.5, 2, 3, 5, 7)


def _draw_words(figure: Figure, words: _Words, logs: list[RunLog]) -> None:
    _, height = figure.get_size_inches()
    left, top = LEFT / WIDTH, height - 0.2
    for line in words.title:
        figure.text(left, top / height, line, va="top", size=TITLE_SIZE, weight="bold")
        top -= TITLE_LINE
    figure.text(left, (top - 0.03) / height, _subtitle(logs), va="top", size=9, color=INK)
    for number, line in enumerate(reversed(words.signatures)):
        place = (0.1 + SIGNATURE_LINE * number) / height
        figure.text(left, place, line, va="bottom", size=SIGNATURE_SIZE, color=QUIET, family=MONOSPACED)


def _subtitle(logs: list[RunLog]) -> str:
    if len(logs) == 1:
        return _result(logs[0].final)
    kinds = {
        "thin lines: training": any(log.losses for log in logs),
        "marked lines: validation": any(log.validations for log in logs),
    }
    return " · ".join(kind for kind, is_drawn in kinds.items() if is_drawn)


def _result(final: Metric) -> str:
    names = {"valid_perplexity": "validation", "test_perplexity": "test"}
    figures = [
        f"{name} perplexity {figure_in_words(final[key])}" for key, name in names.items() if is_number(final.get(key))
    ]
    if final.get("event") == "epoch" and figures:
        figures[0] += f" after epoch {final.get('epoch', '?')}"
    return " · ".join(figures) or "not validated yet"


def _signatures(logs: list[RunLog]) -> list[str]:
    """The signatures of all figures in the picture, each once, with its runs unless it holds for all."""
    holders: dict[tuple[str, str], list[str]] = {}
    for log in logs:
        for event, name in (("epoch", "while training"), ("final", "end of run")):
            found = [
                metric["signature"] for metric in log.metrics if metric.get("event") == event and "signature" in metric
            ]
            if found and found[-1]:
                holders.setdefault((name, str(found[-1])), []).append(log.name)
    return [
        f"{name}{'' if len(runs) == len(logs) else ' of ' + ', '.join(runs)}: {signature}"
        for (name, signature), runs in holders.items()
    ]
