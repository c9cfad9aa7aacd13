"""Training curves of one or several runs, from their metrics.jsonl."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import read_bounded
from recurlm.files.suggestions import did_you_mean
from recurlm.plots.figure import COLORS, INK, QUIET, PictureFormat, picture_style, render, save
from recurlm.plots.layers import network_name
from recurlm.runs.folder import METRICS_FILE, RunFolder
from recurlm.wording import counted, shown_name

# five line styles and six colors: thirty runs before a pair repeats
MARKERS = ("o", "s", "D", "^", "v")
SMOOTHING_SHARE = 0.04
LOG_SCALE_RATIO = 3.0
# a larger perplexity is drawn at e^50; no scale makes it readable
HIGHEST_LOSS = 50.0
WIDTH = 7.2
CURVES_HEIGHT = 3.4
SLIM_HEIGHT = 0.75

Metric = dict[str, Any]
Points = list[tuple[int, float]]


def read_metrics(run: Path) -> list[Metric]:
    """Reads the objects of a run's metrics.jsonl; an incomplete last line is left out.

    Raises InputError where the file does not exist, CorruptFileError with the line for a damaged line before the last.
    """
    path = run / METRICS_FILE
    if not path.exists():
        hint = did_you_mean(run) or "; name a run folder that `recurlm train --out` wrote"
        raise InputError(f"{path}: missing{hint}")
    lines = read_bounded(path, error=CorruptFileError).split(b"\n")
    metrics = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        metric = _parsed(line)
        if metric is not None:
            metrics.append(metric)
        elif number < len(lines):
            raise CorruptFileError(f"{path} line {number}: not a JSON object; remove the line to draw the rest")
    return metrics


def training_picture(runs: Sequence[Path], format: PictureFormat) -> bytes:
    """Draws perplexity, learning rate, and speed by step; the same runs give the same bytes.

    Raises InputError where a run has logged nothing yet.
    """
    logs = [RunLog(run) for run in runs]
    for log in logs:
        if not log.losses and not log.validations:
            raise InputError(f"{log.run / METRICS_FILE}: nothing is logged yet; wait for the first log line")
    title = _title(logs)
    with picture_style():
        figure, panels = _panels(logs)
        for number, log in enumerate(logs):
            _draw_run(panels, log, number, alone=len(logs) == 1)
        _finish_perplexity(panels[0], logs)
        _draw_words(figure, title, logs)
        return render(figure, format, title)


def write_training_pictures(folder: RunFolder, runs: Sequence[Path] = ()) -> list[Path]:
    """Draws one run into the folder's training.svg and training.png, several runs into comparison.svg and .png."""
    chosen = runs or [folder.path]
    name = "training" if len(chosen) == 1 else "comparison"
    formats: tuple[PictureFormat, ...] = ("svg", "png")
    pictures = {folder.path / f"{name}.{format}": training_picture(chosen, format) for format in formats}
    for path, picture in pictures.items():
        save(path, picture)
    return list(pictures)


@dataclass(frozen=True)
class RunLog:
    """What one run logged, as series over steps; of a step logged twice the last entry counts."""

    run: Path

    @cached_property
    def metrics(self) -> list[Metric]:
        """All objects of the run's metrics.jsonl."""
        return read_metrics(self.run)

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return shown_name(self.run.resolve().name)

    @cached_property
    def losses(self) -> Points:
        """Training loss in nats per token, the mean since the previous point."""
        return self.series("step", "loss")

    @cached_property
    def validations(self) -> Points:
        """Validation perplexity after each epoch."""
        return [(step, value) for step, value in self.series("epoch", "valid_perplexity") if value >= 1]

    @property
    def estimated(self) -> bool:
        """Whether the training losses are estimated from samples of the tokens."""
        return any(metric.get("estimated") for metric in self.metrics)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step and value of the lowest validation perplexity."""
        return min(self.validations, key=lambda point: point[1], default=None)

    @property
    def final(self) -> Metric:
        """The final object of the run, or while it runs that of its last epoch; empty before the first."""
        ends = [metric for metric in self.metrics if metric.get("event") in ("epoch", "final")]
        return ends[-1] if ends else {}

    @cached_property
    def description(self) -> str:
        """Corpus, recipe, and size, with the network in place of an own recipe; else the folder's name."""
        folder = RunFolder(self.run)
        if not folder.holds_run():
            return self.name
        config, recipe = folder.config(), folder.recipe()
        parts = [config.get("corpus", {}).get("name", recipe.corpus)]
        parts.append(config.get("recipe_name") or network_name(recipe.model))
        if "parameters" in config:
            parts.append(f"{config['parameters']:,} parameters")
        return " · ".join(parts)

    @property
    def summary(self) -> str:
        """The run's line in the legend."""
        parts = [self.name] if self.description == self.name else [self.name, self.description]
        if self.best is not None:
            parts.append(f"best {_figure(self.best[1])}")
        return " · ".join(parts)

    def series(self, event: str, key: str) -> Points:
        """(step, value) of every finite and non-negative value, in order of steps."""
        found = {
            metric["step"]: metric[key]
            for metric in self.metrics
            if metric.get("event") == event and _is_number(metric.get("step")) and _is_number(metric.get(key))
        }
        return sorted(found.items())


def _parsed(line: bytes) -> Metric | None:
    try:
        return parse_json_object(line, METRICS_FILE, finite=False, file_names=True)
    except CorruptFileError:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


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


def _panels(logs: list[RunLog]) -> tuple[Figure, list[Axes]]:
    slim = ["lr", "tokens_per_second"]
    slim = [key for key in slim if any(log.series("step", key) for log in logs)]
    heights = [CURVES_HEIGHT, *[SLIM_HEIGHT] * len(slim)]
    footer, header = 0.6 + 0.14 * len(_signatures(logs)), 0.95
    gaps = 0.32 * len(slim)
    height = sum(heights) + gaps + footer + header
    figure = Figure(figsize=(WIDTH, height))
    top = height - header
    panels: list[Axes] = []
    for panel_height in heights:
        place = (0.09, (top - panel_height) / height, 0.87, panel_height / height)
        panels.append(figure.add_axes(place, sharex=panels[0] if panels else None))
        top -= panel_height + 0.32
    labels = {"lr": "learning rate", "tokens_per_second": "tokens a second"}
    for axes, key in zip(panels, ["perplexity", *slim], strict=True):
        axes.set_gid(key)
        axes.set_title(labels.get(key, key), loc="left", size=8.5, color=QUIET, pad=5)
        axes.tick_params(labelsize=8, labelbottom=axes is panels[-1])
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    for axes in panels[1:]:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=2, steps=[1, 2, 5, 10]))
    panels[-1].set_xlabel("step", size=8.5)
    return figure, panels


def _draw_run(panels: list[Axes], log: RunLog, number: int, *, alone: bool) -> None:
    color = COLORS[number % len(COLORS)]
    valid_color = COLORS[1] if alone else color
    curves, *slim = panels
    if log.losses:
        _draw_losses(curves, log, color, alone=alone)
    _draw_validations(curves, log, valid_color, MARKERS[number % len(MARKERS)], alone=alone)
    for axes in slim:
        points = log.series("step", str(axes.get_gid()))
        if points:
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1)
            axes.set_ylim(0, max(axes.get_ylim()[1], 1.15 * max(value for _, value in points)))


def _draw_losses(curves: Axes, log: RunLog, color: str, *, alone: bool) -> None:
    if alone:
        curves.plot(*zip(*_perplexities(log.losses), strict=True), color=color, linewidth=0.7, alpha=0.3)
    curves.plot(
        *zip(*_perplexities(smoothed(log.losses)), strict=True),
        color=color,
        linewidth=1.5 if alone else 0.9,
        alpha=1 if alone else 0.6,
        label=("training, estimated" if log.estimated else "training") if alone else None,
    )


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
            _write_best(curves, log.best, color)


def _write_best(axes: Axes, best: tuple[int, float], color: str) -> None:
    axes.annotate(
        _figure(best[1]),
        _drawable([best])[0],
        xytext=(0, 9),
        textcoords="offset points",
        ha="center",
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
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.04)
        axes.set_title("perplexity, logarithmic", loc="left", size=8.5, color=QUIET, pad=5)
    axes.legend(loc="upper right", fontsize=8.5, handlelength=1.6)


def _tick_digits(ratio: float) -> tuple[float, ...]:
    if ratio > 1e4:
        return (1,)
    return (1, 2, 5) if ratio > 12 else (1, 1.5, 2, 3, 5, 7)


def _draw_words(figure: Figure, title: str, logs: list[RunLog]) -> None:
    width, height = figure.get_size_inches()
    left = 0.09
    figure.text(left, 1 - 0.2 / height, title, va="top", size=_fitting(12.0, title, width), weight="bold")
    subtitle = _result(logs[0].final) if len(logs) == 1 else "thin lines: training · marked lines: validation"
    figure.text(left, 1 - 0.43 / height, subtitle, va="top", size=9, color=INK)
    for number, signature in enumerate(reversed(_signatures(logs))):
        size = _fitting(6.0, signature, width)
        place = (0.1 + 0.14 * number) / height
        figure.text(left, place, signature, va="bottom", size=size, color=QUIET, family="DejaVu Sans Mono")


def _fitting(size: float, text: str, width: float) -> float:
    """The font size in points, reduced where a line of so many letters would be wider than the panels."""
    return min(size, 0.87 * width * 72 / (0.7 * max(len(text), 1)))


def _result(final: Metric) -> str:
    names = {"valid_perplexity": "validation", "test_perplexity": "test"}
    figures = [f"{name} perplexity {_figure(final[key])}" for key, name in names.items() if _is_number(final.get(key))]
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


def _figure(value: float) -> str:
    return f"{value:,.2f}" if value < 1000 else _plain(value)


def _plain(value: float, _: object = None) -> str:
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:g}"
