"""Pictures of memories by what stands in them."""

import re
import warnings

import numpy as np
import pytest
from matplotlib.axes import Axes

from recurlm.errors import InputError
from recurlm.inspection.answers import Remembered
from recurlm.inspection.spans import Holding, Place
from recurlm.inspection.trace import LayerTrace, Trace
from recurlm.plots import memory
from recurlm.plots.figure import drawable
from recurlm.plots.memory import memory_picture, span_picture
from recurlm.plots.memory_curves import divergence_picture, remembrance_picture
from recurlm.plots.memory_page import memory_page

NAMES = ["the", "red", "⏎", "fruit"]


def make_trace(tokens: int = 4) -> Trace:
    draw = np.random.default_rng(3)
    layers = tuple(
        LayerTrace("LSTM", {name: draw.uniform(0, 1, (tokens, size)).astype(np.float32) for name in ("cell", "forget")})
        for size in (5, 60)
    )
    bits = np.arange(1.0, tokens + 1)
    return Trace(tuple(range(tokens)), bits, bits, bits.astype(np.int64), ((),) * tokens, layers)


def written(svg: bytes) -> list[str]:
    return re.findall(r"<!-- (.*?) -->", svg.decode())


@pytest.fixture
def drawn(monkeypatch):
    """The arrays that pictures color, without the color bar."""
    found, draw = [], Axes.imshow

    def imshow(axes, values, *arguments, **keywords):
        if "extent" not in keywords:
            found.append((np.asarray(values), keywords["norm"]))
        return draw(axes, values, *arguments, **keywords)

    monkeypatch.setattr(Axes, "imshow", imshow)
    return found


def test_a_picture_shows_all_units_or_the_most_varied(drawn):
    trace = make_trace()
    texts = written(memory_picture(trace, NAMES, "cell", "svg"))
    assert {"cell state after each token", *NAMES, "5 units", "48 of 60 units", "layer 2"} <= set(texts)
    (small, _), (large, _) = drawn
    assert sorted(map(tuple, small)) == sorted(map(tuple, trace.layers[0].values["cell"].T))
    assert large.shape == (memory.MOST_ROWS, 4)
    left_out = sorted(trace.layers[1].values["cell"].std(0))[:12]
    assert large.std(1).min() >= max(left_out)


@pytest.mark.parametrize(("part", "low", "high"), [("cell", -1, 1), ("forget", 0, 1)])
def test_states_have_a_sign_and_gates_do_not(drawn, part, low, high):
    memory_picture(make_trace(), NAMES, part, "svg")
    assert {(norm.vmin, norm.vmax) for _, norm in drawn} == {(low, high)}


def test_a_span_is_drawn_with_its_units(drawn, monkeypatch):
    trace, frames = make_trace(), []
    frame = memory.Rectangle
    monkeypatch.setattr(
        memory,
        "Rectangle",
        lambda at, width, height, **look: frames.append((at[0], width, height)) or frame(at, width, height, **look),
    )
    units = [Holding(2, 7, 1, 0.5, 0.4), Holding(1, 2, -1, 0.3, 0.1)]
    svg = span_picture(trace, NAMES, "cell", "svg", span=Place(1, 3, 2), units=units, places=[Place(3, 4, 1)])
    assert {"layer 2 · unit 7", "layer 1 · unit 2"} <= set(written(svg))
    assert frames == [(2.5, 1, 2), (0.5, 2, 2)]
    ((rows, _),) = drawn
    expected = [trace.layers[1].values["cell"][:, 6], trace.layers[0].values["cell"][:, 1]]
    np.testing.assert_array_equal(rows, expected)


def test_a_span_that_nothing_holds_is_no_picture():
    with pytest.raises(InputError, match="no unit holds exactly this span"):
        span_picture(make_trace(), NAMES, "cell", "svg", span=Place(1, 3, 0), units=[], places=[])


def test_curves_have_the_values_given(monkeypatch):
    drawn, plot = [], Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda axes, y, **look: (drawn.append((look["label"], y)), plot(axes, y, **look)))
    one, two = np.array([[3.0, 1.0], [2.0, 0.5], [0.4, 0.1]]), np.array([[8.0, 6.0], [0.7, 0.6]])
    remembrance_picture([Remembered("a", one), Remembered("b", two)], "svg")
    assert [(name, y.tolist()) for name, y in drawn] == [
        ("a", [1.0, 0.25]),
        ("a", [0.4, 0.1]),
        ("b", [1.0, 0.75]),
        ("b", [0.7, 0.6]),
    ]
    drawn.clear()
    remembrance_picture([Remembered("a", np.zeros((2, 2)))], "svg")
    assert [y.tolist() for _, y in drawn] == [[0.0, 0.0], [0.0, 0.0]]
    drawn.clear()
    texts = written(divergence_picture(["red / blue", "fruit"], one, "svg"))
    assert [(name, y.tolist()) for name, y in drawn] == [("layer 1", [3.0, 1.0]), ("layer 2", [2.0, 0.5])]
    assert {"red / blue", "fruit", "layer 1", "layer 2"} <= set(texts)


def test_characters_without_a_glyph_are_drawn_as_code_points():
    assert drawable("é\N{OPEN BOX}") == "é\N{OPEN BOX}"
    assert drawable("\U0010fffe") == "U+10FFFE"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory_picture(make_trace(), ["\U0010fffe", "\x07", "$x$", "x" * 40], "cell", "png")


def test_more_tokens_than_a_picture_shows_are_refused():
    with pytest.raises(InputError, match="at most 120; give fewer lines"):
        memory_picture(make_trace(121), ["a"] * 121, "cell", "svg")


def test_texts_on_a_page_are_escaped():
    page = memory_page("a < b", ["<script>"], [("x & y", "<div></div>")], []).decode()
    assert "a &lt; b" in page
    assert "<script>" not in page
    assert "<h2>x &amp; y</h2>\n<div></div>" in page
