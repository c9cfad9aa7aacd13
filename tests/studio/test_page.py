"""The page in a browser: train, watch the curve, look at a text, go on from an alternative, both languages, keyboard.

RECURLM_SCREENSHOTS names a folder for the pictures.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.browser import needs_browser, opened
from studio.page_server import RunningStudio, running_studio

pytestmark = needs_browser
TEXT = "\n".join(["the red fruit is a cherry .", "the blue fruit is a plum .", "the green fruit is a lime ."] * 600)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio") / "runs") as studio:
        yield studio


@pytest.fixture(scope="module")
def page(studio: RunningStudio) -> Iterator:
    with opened(studio) as page:
        yield page


def test_from_an_empty_folder_to_a_heat_map(page, studio, pictures):
    page.get_by_text("There is no run in this folder yet.").wait_for()
    assert page.url == f"http://127.0.0.1:{studio.port}/#runs"
    page.screenshot(path=pictures / "empty.png")
    page.keyboard.press("2")
    page.fill("#train-text", TEXT)
    page.get_by_label("name of the run").fill("fruit")
    page.get_by_label("time limit").fill("20s")
    shown = page.locator(".command code").first.inner_text()
    page.click("#start")
    assert page.locator("#progress .command code").inner_text() == shown
    assert "--out" in shown
    assert "fruit --time-limit 20s" in shown
    page.wait_for_selector("#progress svg.chart circle")
    page.screenshot(path=pictures / "train.png")
    page.get_by_text("Look at a text with it").wait_for()
    assert studio.get("/training").json["exit_code"] == 0
    assert page.locator("#progress svg.chart path").count() == 2

    page.get_by_text("Look at a text with it").click()
    page.fill("#text", "the red fruit is a cherry .\nthe red fruit is a plum .")
    page.click("#show")
    page.wait_for_selector(".heat span[data-at]")
    words = page.locator(".heat span[data-at]")
    assert words.count() == 16
    words.nth(13).hover()
    told = page.locator(".aside").inner_text()
    body = {"model": "fruit", "lines": ["the red fruit is a plum ."]}
    logprob = studio.post("/score", body).json["lines"][0]["tokens"][5]["logprob"]
    assert f"{-logprob / 0.6931471805599453:.2f} bits" in told
    page.screenshot(path=pictures / "surprisal.png")
    with page.expect_download() as download:
        page.click("#download")
    table = Path(download.value.path()).read_text().splitlines()
    assert table[0].split("\t")[:3] == ["line", "position", "token"]
    assert len(table) == 17
    page.locator(".heat").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(".heat span.at").inner_text() == "a"


def test_a_late_answer_does_not_replace_a_later_question(page):
    held: list = []
    page.route("**/score", lambda route: held.append(route) if not held else route.continue_())
    page.fill("#text", "the red fruit")
    with page.expect_request("**/score"):
        page.click("#show")
    page.fill("#text", "the blue fruit is a plum .")
    page.click("#show")
    page.locator(".heat").get_by_text("blue").wait_for()
    with page.expect_response("**/score"):
        held[0].continue_()
    page.unroute("**/score")
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert page.locator(".heat span[data-at]").nth(1).inner_text() == "blue"


def test_a_run_is_listed_and_drawn(page, pictures):
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_selector("svg.chart")
    assert "finished" in page.locator("tbody tr").inner_text()
    page.screenshot(path=pictures / "runs.png")


def test_a_text_goes_on_from_an_alternative(page, pictures):
    page.locator("tbody input").first.focus()  # a check box takes no digits
    page.keyboard.press("3")
    page.wait_for_selector("#prompt")
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type("the red")
    page.keyboard.press("Enter")
    page.wait_for_selector("button.token >> nth=29")
    page.locator("button.token").nth(1).click()
    page.get_by_text("What else could stand here").wait_for()
    chosen = page.locator("button.guess").nth(3)
    word = chosen.locator("span").first.inner_text()
    chosen.click()
    page.wait_for_selector("button.token >> nth=31")
    assert page.locator("button.token").nth(1).inner_text().split("\n")[0] == word
    assert page.locator(".tree li").count() == 2
    page.locator("button.token").nth(4).click()
    page.screenshot(path=pictures / "play.png")


def test_chinese_dark_and_narrow(page, pictures):
    page.click("#language")
    page.get_by_text("训练记录").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh"
    page.screenshot(path=pictures / "play-zh.png")
    page.click("#theme")
    page.click("#to-runs")
    page.wait_for_selector("svg.chart")
    page.screenshot(path=pictures / "runs-dark-zh.png")
    page.set_viewport_size({"width": 390, "height": 800})
    page.click("#to-surprisal")
    page.wait_for_selector(".heat span[data-at]")
    page.screenshot(path=pictures / "narrow.png")
    assert page.locator("html").bounding_box()["width"] <= 390
