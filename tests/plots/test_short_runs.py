"""Pictures of runs of few points and of long names: what is drawn where, read from the artists of the figure."""

import itertools
import json
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from recurlm.config import MixtureOutput, ModelOptions
from recurlm.plots.figure import picture_style, wrapped
from recurlm.plots.network import network_picture
from recurlm.plots.run_log import RunLog
from recurlm.plots.training import training_figure
from recurlm.plots.unrolled import unrolled_picture

SIGNATURE = (
    "stream|tokens=173|eos=counted|state=carried|oov=0|columns=16|warm-up=10|text=sha256:656858ac|"
    "recurlm=0.2.0+g3a5e5f74"
)
LONG = "_".join(["a_name"] * 12)[:80]


def step(number: int, loss: float, **more: object) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": loss, "lr": 0.5, "tokens_per_second": 900.0} | more


def epoch(number: int, perplexity: float) -> dict[str, object]:
    return step(5 * number, 2.7, event="epoch", epoch=number, valid_perplexity=perplexity, signature=SIGNATURE)


def log(folder: Path, *metrics: dict[str, object]) -> RunLog:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(metric) + "\n" for metric in metrics))
    return RunLog(folder)


def drawn(*logs: RunLog) -> Figure:
    with picture_style():
        figure = training_figure(list(logs))
        figure.draw_without_rendering()
    return figure


def panels(figure: Figure) -> dict[str, Axes]:
    return {str(axes.get_gid()): axes for axes in figure.axes}


def visible_points(axes: Axes) -> list[tuple[float, float]]:
    """The points that can be seen: those of lines with markers, and of lines of two points or more."""
    lines = (line for line in axes.get_lines() if len(line.get_xdata()) > 1 or line.get_marker() not in ("", "None"))
    return [(float(x), float(y)) for line in lines for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """The places in pixels of all texts but the numbers at the ticks."""
    texts = [*figure.texts]
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [*axes.texts, axes.xaxis.label, axes._left_title, *(legend.get_texts() if legend else [])]
    return [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]


def check_inside(figure: Figure) -> None:
    for text, box in boxes(figure):
        assert box.x0 >= 0, text
        assert box.x1 <= figure.bbox.x1, text
        assert box.y0 >= 0, text
        assert box.y1 <= figure.bbox.y1, text


def test_a_run_without_a_log_line_shows_its_epoch_in_every_panel(tmp_path):
    found = panels(drawn(log(tmp_path / "short", epoch(1, 13.9))))
    assert set(found) == {"perplexity", "lr", "tokens_per_second"}
    assert (5.0, 13.9) in visible_points(found["perplexity"])
    assert (5.0, pytest.approx(14.88, abs=0.01)) in visible_points(found["perplexity"])  # exp(2.7)
    assert visible_points(found["lr"]) == [(5.0, 0.5)]
    assert visible_points(found["tokens_per_second"]) == [(5.0, 900.0)]


def test_log_lines_take_precedence_over_epochs(tmp_path):
    found = panels(drawn(log(tmp_path / "short", step(3, 3.0), epoch(1, 13.9))))
    assert visible_points(found["lr"]) == [(3.0, 0.5)]
    assert [x for x, _ in visible_points(found["perplexity"])] == [3.0, 5.0, 5.0]


@pytest.mark.parametrize("metrics", [[epoch(1, 13.9)], [step(50, 3.0)], [step(1, 3.0), step(2, 2.9), epoch(2, 9.0)]])
def test_all_points_are_seen_on_axes_that_begin_at_step_zero(tmp_path, metrics):
    figure = drawn(log(tmp_path / "short", *metrics))
    for axes in figure.axes:
        left, right = axes.get_xlim()
        low, high = axes.get_ylim()
        assert left == 0
        assert visible_points(axes)
        assert all(left < x < right and low <= y < high for x, y in visible_points(axes))
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
    low, high = panels(figure)["perplexity"].get_ylim()
    assert high / low >= 1.19


def test_a_panel_without_data_is_left_out(tmp_path):
    bare = [{"event": "step", "step": 5, "loss": 3.0}, {"event": "epoch", "step": 5, "valid_perplexity": 13.9}]
    assert list(panels(drawn(log(tmp_path / "bare", *bare)))) == ["perplexity"]


def test_the_subtitle_names_only_what_is_drawn(tmp_path):
    one, other = (log(tmp_path / name, step(5, 3.0)) for name in ("one", "other"))
    assert [text.get_text() for text in drawn(one, other).texts[:2]] == ["Perplexity of 2 runs", "thin lines: training"]


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("name", ["short", LONG, "名" * 80], ids=["short", "long", "wide"])
def test_words_keep_their_size_and_stay_in_the_picture(tmp_path, count, name):
    logs = [log(tmp_path / f"{name}{number}", epoch(1, 13.9), epoch(number + 2, 9.0)) for number in range(count)]
    figure = drawn(*logs)
    check_inside(figure)
    assert {text.get_fontsize() for text in figure.texts} == {12.0, 9.0, 6.0}
    legend = figure.axes[0].get_legend()
    assert {text.get_fontsize() for text in legend.get_texts()} == {8.5}
    # neither the curves nor the words above lie below the legend
    box = legend.get_window_extent()
    assert box.y0 >= figure.axes[0].get_window_extent().y1
    assert count == 1 or box.y0 >= figure.axes[0]._left_title.get_window_extent().y1
    subtitle = next(text for text in figure.texts if text.get_fontsize() == 9.0)
    assert box.y1 <= subtitle.get_window_extent().y0
    lines = sorted((text.get_window_extent() for text in figure.texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 0.5 for below, above in itertools.pairwise(lines))


def test_signatures_are_wrapped_and_whole(tmp_path):
    figure = drawn(log(tmp_path / "short", epoch(1, 13.9)))
    written = [text.get_text() for text in figure.texts if text.get_fontsize() == 6.0]
    assert len(written) == 2
    assert "".join(reversed(written)) == f"while training: {SIGNATURE}"


def test_lines_break_after_spaces_and_bars_and_inside_long_words():
    with picture_style():
        assert wrapped("one two", 5, 9) == ["one two"]
        assert wrapped("one two|three", 0.5, 9) == ["one", "two|", "three"]
        assert wrapped("", 1, 9) == [""]
        broken = wrapped("x" * 100, 1, 9)
        assert "".join(broken) == "x" * 100
        # an x of DejaVu Sans is 1212 / 2048 em wide, so 72 points hold 13 of 9 points
        assert [len(line) for line in broken[:-1]] == [13] * (len(broken) - 1)
        assert wrapped("ab", 0.001, 9) == ["a", "b"]


DEEP = ModelOptions(
    cell=("lstm", "gru", "tanh", "relu", "qrnn", "mingru", "mogrifier", "lstm"),
    embedding_size=200,
    hidden_sizes=(200,) * 8,
    skip=True,
    tied=True,
    output=MixtureOutput(),
)
TINY = ModelOptions(embedding_size=1, hidden_sizes=(1,))


@pytest.mark.parametrize("picture", [network_picture, unrolled_picture])
@pytest.mark.parametrize(("options", "words"), [(DEEP, 1_000_000_000), (TINY, 2)])
def test_a_network_deep_or_tiny_is_drawn_with_all_its_words(monkeypatch, picture, options, words):
    figures = []
    monkeypatch.setattr(f"{picture.__module__}.render", lambda figure, *_: [figures.append(figure), check(figure)])

    def check(figure: Figure) -> None:
        figure.draw_without_rendering()
        check_inside(figure)
        for (one, box), (other, place) in itertools.combinations(boxes(figure), 2):
            assert not box.shrunk(0.98, 0.9).overlaps(place.shrunk(0.98, 0.9)), (one, other)
        assert {text.get_fontsize() for text in figure.axes[0].texts} <= {7.5, 8, 9, 10, 11, 12, 15}

    picture(options, words, "svg")
    assert figures
