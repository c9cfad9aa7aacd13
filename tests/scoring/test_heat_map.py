import math
import re
from html.parser import HTMLParser

import pytest

from recurlm.scoring import heat_map as module
from recurlm.scoring.heat_map import heat_map, opacity
from recurlm.scoring.scores import LineScore, Prediction, Scores
from recurlm.text.tokenization import BytePairs


def line(words: list[str], bits: list[float | None], number: int = 1) -> LineScore:
    nats = [None if each is None else -each * math.log(2) for each in bits]
    return LineScore(number, " ".join(words), words, list(range(len(words))), nats, [False] * len(words))


class Tags(HTMLParser):
    """Reads HTML and keeps its tags, attributes and text; every tag but ``<br>`` must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_each_token_has_its_bits_below_it_and_a_color_that_grows_with_them() -> None:
    html = heat_map([line(["the", "cherry", "zebra", "<eos>"], [0.0, 4.0, 40.0, None])])
    tokens = re.findall(r'<span style="[^"]*?(?:rgba\(230,159,0,([\d.]+)\))?" title="([^"]*)">(.*?)<br>', html)
    assert [token for *_, token in tokens] == ["the", "cherry", "zebra", "⏎"]
    assert [shade for shade, *_ in tokens] == ["0.000", "0.133", "0.400", ""]
    assert [title for _, title, _ in tokens] == [
        "the · 0.00 bits",
        "cherry · 4.00 bits",
        "zebra · 40.00 bits",
        "&lt;eos&gt; · not counted",
    ]
    assert re.findall(r"<br><small>(.*?)</small>", html) == ["0.0", "4.0", "40.0", "–"]


def test_the_html_holds_nothing_from_elsewhere_and_no_markup_of_the_text() -> None:
    words = ["<script>alert(1)</script>", '"onmouseover="x', "\u202eevil", "\x1b[31m", " "]
    parsed = Tags(heat_map([line(words, [1.0] * len(words))]))
    assert parsed.tags == {"div", "small", "span", "br"}
    assert {name for name, _ in parsed.attributes} == {"style", "title"}
    for written in ("<script>alert(1)</script>", '"onmouseover="x', "\\u202eevil", "\\u001b[31m", "␣"):
        assert written in parsed.text


def test_rank_entropy_and_unknown_words_are_said() -> None:
    score = LineScore(1, "x", ["x"], [1], [-math.log(4)], [True], predictions=[Prediction(math.log(8), 1200)])
    html = heat_map([score])
    assert 'title="x · 2.00 bits · rank 1,200 · entropy 3.00 bits · not in the vocabulary"' in html
    assert "border-bottom:2px dotted" in html
    assert "dotted: not in the vocabulary" in html
    assert "dotted" not in heat_map([line(["x"], [1.0])])


def luminance(color: tuple[float, ...]) -> float:
    """Relative luminance of WCAG 2.2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("page", "ink"), [("ffffff", "000000"), ("111111", "ffffff"), ("1e1e1e", "d4d4d4")])
@pytest.mark.parametrize("bits", [0, 4, 8, 12, 60])
def test_text_is_readable_on_light_and_dark_pages(page: str, ink: str, bits: float) -> None:
    """WCAG asks 4.5 of text; the colors of the pages are those of common notebooks."""
    below, above = (tuple(int(name[place : place + 2], 16) / 255 for place in (0, 2, 4)) for name in (page, ink))
    alpha = opacity(bits)
    laid = tuple(alpha * hue / 255 + (1 - alpha) * part for hue, part in zip(module.HUE, below, strict=True))
    assert contrast(laid, above) >= 4.5


def test_more_surprising_is_further_from_the_page_in_lightness_alone() -> None:
    """So that it is seen without color vision."""
    for page in ((1.0, 1.0, 1.0), (0.07, 0.07, 0.07)):
        mixed = [
            tuple(
                opacity(bits) * hue / 255 + (1 - opacity(bits)) * part
                for hue, part in zip(module.HUE, page, strict=True)
            )
            for bits in (0, 4, 8, 12)
        ]
        steps = [contrast(page, color) for color in mixed]
        assert steps == sorted(set(steps))


def test_long_results_say_what_is_left_out() -> None:
    lines = [line(["a"] * 900, [1.0] * 900, number) for number in range(1, 6)]
    html = heat_map(lines)
    assert html.count("<br>") == 1800
    assert "… and 3 more lines" in html
    html = heat_map([line(["a"] * 2500, [1.0] * 2500)])
    assert html.count("<br>") == 2000
    assert "… and 500 more tokens" in html


def test_byte_pairs_are_summed_to_words() -> None:
    pieces = BytePairs.train(["lower newest"] * 3, 256)
    words = [*pieces.split("ab cd"), "<eos>"]
    score = line(words, [1.0] * len(words))
    html = Scores([score], pieces)._repr_html_()
    assert re.findall(r'title="(.*?) bits"', html) == ["ab · 2.00", "cd · 3.00", "&lt;eos&gt; · 1.00"]
    assert Scores([score])._repr_html_().count("<br>") == 6
    assert Scores([score], pieces) == [score]


def test_what_python_shows() -> None:
    scores = Scores([line(["a", "b"], [1.0, 3.0]), line([], [], 2)])
    assert repr(scores) == "Scores(2 lines, 2 tokens, logprob -2.7726, perplexity 4.000)"
    assert repr(scores[0]) == "LineScore(1: 'a b', 2 tokens, logprob -2.7726, perplexity 4.000)"
    assert repr(scores[1]) == "LineScore(2: '', 0 tokens, logprob 0.0000)"
    assert repr(Scores()) == "Scores(0 lines, 0 tokens, logprob 0.0000)"
    assert scores[0]._repr_html_() == heat_map(scores[:1])
