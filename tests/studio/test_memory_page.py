"""The view of a memory in a browser: units over a text, a span, one other word, two runs, languages, colors, keyboard.

RECURLM_SCREENSHOTS names a folder for the pictures.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import recurlm
from studio.page_server import RunningStudio, running_studio

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
REFUSED = "the server responded with a status of 400"
"""What the browser reports of the one request that is wrong on purpose."""
TEXT = "the red fruit is a cherry\nthe yellow fruit is a lemon\nthe red fruit is a cherry"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio of two small runs: an LSTM and a tanh network, of two layers each."""
    folder = tmp_path_factory.mktemp("studio")
    text = folder / "fruit.txt"
    text.write_text(f"{TEXT}\nthe green fruit is a lime\n" * 40)
    for cell in ("lstm", "tanh"):
        sizes = {"model__embedding_size": 12, "model__hidden_sizes": [12, 12]}
        recurlm.train(text, out=folder / "runs" / cell, model__cell=cell, epochs=2, device="cpu", quiet=True, **sizes)
    with running_studio(folder / "runs") as studio:
        yield studio


@pytest.fixture(scope="module")
def page(studio: RunningStudio) -> Iterator["playwright.Page"]:
    """The page with the memory of the LSTM over the text; every request goes to the studio, and no error is told."""
    requested: list[str] = []
    errors: list[str] = []
    with playwright.sync_playwright() as started:
        options = {"args": ["--no-sandbox"]} if os.geteuid() == 0 else {}
        browser = started.chromium.launch(executable_path=str(CHROMIUM), **options)
        page = browser.new_page(viewport={"width": 1200, "height": 800}, locale="en-US", color_scheme="light")
        page.set_default_timeout(20_000)
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda told: errors.append(told.text) if told.type == "error" else None)
        page.goto(studio.address)
        page.get_by_text("tanh").first.wait_for()
        page.keyboard.press("5")
        page.get_by_label("model").select_option("lstm")
        page.keyboard.press("Escape")
        page.keyboard.press("/")
        page.keyboard.insert_text(TEXT)
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(".strip canvas")
        yield page
        browser.close()
    assert {urlsplit(url).netloc for url in requested} == {f"127.0.0.1:{studio.port}"}
    assert {error for error in errors if REFUSED not in error} == set()


def asked(studio: RunningStudio, **fields):
    answer = studio.post("/inspect", {"model": "lstm", "text": TEXT, **fields})
    assert answer.status == 200, answer.body
    return answer.json


def color_at(page, column: int, row: int) -> list[int]:
    """The color in the middle of a cell of the strip, red, green and blue; every column is as wide as its token."""
    return page.evaluate(
        """async ([column, row]) => {
            const { strip } = await import("/page/memory.js");
            const x = strip.columns.middle(column) - strip.scroller.scrollLeft;
            const y = strip.height - (strip.rows - row - 0.5) * strip.rowHeight;
            return [...strip.canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)];
        }""",
        [column, row],
    )


def test_units_are_drawn_in_blue_and_orange(page, studio, pictures):
    page.screenshot(path=pictures / "memory.png")
    (layer,) = asked(studio, layer=2, varied=48)["layers"]
    cells = [
        (value, place, row) for place, values in enumerate(layer["values"][:8]) for row, value in enumerate(values)
    ]
    for value, place, row in (min(cells), max(cells)):
        red, _, blue = color_at(page, place, row)
        assert (red > blue) == (value > 0)
    told = page.locator("#readout").inner_text()
    token = asked(studio, layer=1, varied=1)["tokens"][0]
    assert told.startswith("1")
    assert f"{token['surprisal']:.1f} bits" in told


def test_gates_are_chosen_by_name(page, studio):
    part = page.locator("#choose-part")
    parts = ["cell", "hidden", "input_gate", "forget", "candidate", "output_gate"]
    assert [option.get_attribute("value") for option in part.locator("option").all()] == parts
    part.select_option("forget")
    page.get_by_text("--part forget").wait_for()
    part.select_option("cell")
    page.get_by_text("--part cell").wait_for()


def test_a_span_has_units_and_other_places(page, studio, pictures):
    strip = page.locator(".strip")
    strip.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("#units canvas")
    found = asked(studio, span="2:3", part="cell")
    lanes = page.locator("#units .lane")
    assert lanes.count() == len(found["units"])
    best = found["units"][0]
    assert f"layer {best['layer']} · {best['unit']}" in lanes.first.inner_text()
    assert f"margin {best['margin']:.2f}" in lanes.first.inner_text()
    assert "--span 2:3" in page.locator("#memory-span").inner_text()
    page.screenshot(path=pictures / "memory-span.png", full_page=True)

    places = page.locator("button.also")
    assert places.count() == len(found["places"]) > 0
    places.last.click()
    assert page.locator("#readout").inner_text().startswith(str(found["places"][-1]["from"]))
    page.keyboard.press("Escape")


def test_another_part_is_asked_for_the_same_span(page, studio):
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_text("--span 2:3").wait_for()
    page.locator("#choose-part").select_option("forget")
    page.get_by_text("--part forget --span 2:3").wait_for()
    assert page.locator("#units .lane").count() == len(asked(studio, span="2:3", part="forget")["units"])
    page.locator("#choose-part").select_option("cell")
    page.get_by_text("--part cell --span 2:3").wait_for()
    page.locator(".strip").focus()
    page.keyboard.press("Escape")


def test_a_span_is_dragged(page, studio):
    page.locator(".strip").scroll_into_view_if_needed()
    box = page.locator(".strip canvas").bounding_box()
    middles = page.evaluate(
        'async () => { const { strip } = await import("/page/memory.js"); strip.reveal(0); '
        "return [0, 2].map((index) => strip.columns.middle(index) - strip.scroller.scrollLeft); }"
    )
    page.mouse.move(box["x"] + middles[0], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + middles[1], box["y"] + 60, steps=4)
    page.mouse.up()
    page.get_by_text("--span 1:3").wait_for()
    page.locator(".strip").focus()
    page.keyboard.press("Escape")
    page.get_by_text("Drag over tokens above").wait_for()


def test_arrow_keys_walk_and_esc_lets_go_where_a_button_has_the_focus(page):
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.locator("#show").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("in place of 2 red").wait_for()
    page.keyboard.press("Shift+ArrowRight")
    page.get_by_text("--span 2:3").wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Drag over tokens above").wait_for()
    page.locator(".strip").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_text("in place of 2 red").wait_for()


def test_another_word_moves_the_memory(page, studio, pictures):
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.fill("#word", "yellow")
    page.click("#compare")
    page.wait_for_selector("#apart canvas")
    found = asked(studio, instead="yellow@2")
    side = page.locator("#apart .lane-side").first.inner_text().splitlines()
    assert side == [f"layer {number} {layer[0]:.3f}" for number, layer in enumerate(found["layers"], 1)]
    page.locator("#apart details").first.locator("summary").click()
    rows = [row.inner_text().split("\t") for row in page.locator("#apart tbody tr").all()]
    assert [row[0] for row in rows] == [str(number) for number in range(2, len(found["tokens"]) + 2)]
    assert [row[1] for row in rows] == ["⏎" if token == "<eos>" else token for token in found["tokens"]]
    assert [float(row[-1]) for row in rows] == pytest.approx(found["prediction"], abs=6e-4)
    assert "--instead yellow@2" in page.locator("#apart").inner_text()
    page.screenshot(path=pictures / "memory-word.png", full_page=True)
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.fill("#word", "yellow the")
    page.click("#compare")
    page.get_by_text("--instead 'yellow the@1'").wait_for()
    side = page.locator("#apart .lane-side").first.inner_text().splitlines()
    found = asked(studio, instead="yellow the@1")
    assert side == [f"layer {number} {layer[1]:.3f}" for number, layer in enumerate(found["layers"], 1)]
    page.keyboard.press("Escape")
    page.locator(".strip").focus()
    page.keyboard.press("ArrowRight")
    page.fill("#word", "yellow")


def test_two_runs_remember_a_word(page, studio, pictures):
    page.locator("select.for-left").select_option("tanh")
    page.fill("#steps", "6")
    page.click("#remember")
    page.wait_for_selector("#left svg path")
    found = asked(studio, remembered=6, **{"with": ["tanh"]})
    (memory, prediction) = page.locator("#left svg.chart").all()
    labels = memory.get_attribute("aria-label")
    for model in found["models"]:
        first, *_, last = model["layers"][-1]
        assert f"{model['name']} {last / first:.2f}" in labels
        assert f"{model['name']} {model['prediction'][-1]:.2f}" in prediction.get_attribute("aria-label")
    assert memory.locator("path").count() == 2
    assert page.locator("#left tbody tr").count() == 7
    assert "--remembered 6 --with" in page.locator("#left").inner_text()

    page.click("#compare")
    playwright.expect(page.locator("#apart > .command")).to_have_count(2)
    sides = page.locator("#apart .lane-side").first.inner_text()
    assert "lstm" in sides
    assert "tanh" in sides
    page.screenshot(path=pictures / "memory-two-runs.png", full_page=True)


def test_the_lines_of_python_give_the_same(page, studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("#units canvas")
    expected = {
        "span": asked(studio, span="2:3", part="cell"),
        "word": asked(studio, instead="yellow@2"),
    }
    for section, answer in expected.items():
        page.locator(f"#memory-{section} summary").last.click()
        code = page.locator(f"#memory-{section} details code").last.inner_text()
        *lines, last = code.splitlines()
        names: dict[str, object] = {}
        exec("\n".join([*lines, f"found = {last}"]), names)
        assert {"model": "lstm", "remarks": [], **names["found"]} == answer


def test_what_is_wrong_is_said_in_the_page(page):
    page.locator(".strip").focus()
    page.keyboard.press("Home")
    page.fill("#word", "the")
    page.click("#compare")
    page.get_by_role("alert").filter(has_text="instead the@1: the same word is there").wait_for()
    page.fill("#word", "yellow")
    page.click("#compare")
    playwright.expect(page.locator("#error")).to_be_hidden()


def test_chinese_dark_and_narrow(page, pictures):
    light = color_at(page, 0, 0)
    page.click("#theme")
    playwright.expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert sum(color_at(page, 0, 0)) < sum(light)
    page.screenshot(path=pictures / "memory-dark.png", full_page=True)
    page.click("#language")
    page.get_by_text("一个词能记多久").wait_for()
    page.screenshot(path=pictures / "memory-zh.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator(".strip").scroll_into_view_if_needed()
    page.screenshot(path=pictures / "memory-narrow.png")
    assert page.locator("html").bounding_box()["width"] <= 390
