"""What the page says: of byte pairs, of runs with different tokens, of what is missing, and of errors in Chinese."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import recurlm
from studio.browser import MILLISECONDS, browser, needs_browser, playwright
from studio.page_server import RunningStudio, running_studio

pytestmark = needs_browser
RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
PAIRS = {"text__unit": "bpe", "text__merges": 300, "model__embedding_size": 8, "model__hidden_sizes": [8]}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio of a run over words and one over byte pairs."""
    folder = tmp_path_factory.mktemp("studio")
    text = folder / "fruit.txt"
    text.write_text("the red fruit is a cherry .\nthe blue fruit is a plum .\n" * 40)
    recurlm.train(text, out=folder / "runs" / "pairs", epochs=2, device="cpu", quiet=True, **PAIRS)
    shutil.copytree(RUN, folder / "runs" / "words")
    with running_studio(folder / "runs") as studio:
        yield studio


@pytest.fixture(scope="module")
def launched() -> Iterator["playwright.Browser"]:
    with browser() as launched:
        yield launched


@pytest.fixture
def page(launched, studio: RunningStudio) -> Iterator["playwright.Page"]:
    yield from open_page(launched, studio, "en-US")


@pytest.fixture
def chinese(launched, studio: RunningStudio) -> Iterator["playwright.Page"]:
    yield from open_page(launched, studio, "zh-CN")


def open_page(launched, studio: RunningStudio, locale: str) -> Iterator["playwright.Page"]:
    page = launched.new_page(locale=locale)
    page.set_default_timeout(MILLISECONDS)
    page.goto(studio.address)
    page.wait_for_selector("tbody tr")
    yield page
    page.close()


def test_the_table_says_what_a_token_is_and_warns_of_runs_that_differ(page):
    rows = {row.locator(".run-name").inner_text(): row.inner_text() for row in page.locator("tbody tr").all()}
    assert "byte pair" in rows["pairs"]
    assert "word" in rows["words"]
    page.get_by_text("Compare only runs with the same token.").wait_for()
    assert page.locator("#unlike").count() == 0
    for box in page.locator("tbody input").all():
        box.check()
    page.locator("#unlike").get_by_text("their perplexities say nothing about each other").wait_for()


def test_byte_pairs_are_shown_as_their_text(page):
    page.click("#to-play")
    page.get_by_label("model").select_option("pairs")
    page.fill("#prompt", "the red")
    page.click("#write")
    page.wait_for_selector("button.token >> nth=29")
    page.wait_for_selector("#continuation:not([aria-busy])")
    shown = page.locator("#view").inner_text()
    assert "\u0120" not in shown
    page.click("#to-surprisal")
    page.locator("label", has_text="by").last.locator("select").select_option("token")
    page.fill("#text", "the red fruit")
    page.click("#show")
    page.wait_for_selector(".heat span[data-at]")
    assert "".join(page.locator(".heat span[data-at]").all_inner_texts()) == "the␣red␣fruit↵"
    assert "\u0120" not in page.locator("#view").inner_text()


@pytest.mark.parametrize("view", ["surprisal", "memory"])
def test_an_empty_text_is_named(page, view):
    page.click(f"#to-{view}")
    page.wait_for_selector("#text")
    page.click("#show")
    page.locator("#error").get_by_text("There is no text yet").wait_for()


def fulfill(body: str, route: "playwright.Route") -> None:
    route.fulfill(body=body, content_type="application/json")


def test_a_training_that_learned_nothing_is_said_to_be_stopped(page):
    told = {"run": "mine", "command": "recurlm train", "running": False, "exit_code": 130, "lines": []}
    answers = {True: "stopped before it had learned anything", False: "training failed"}
    for stop_asked, words in answers.items():
        body = json.dumps(told | {"stop_asked": stop_asked})
        page.route("**/training", partial(fulfill, body))
        page.click("#to-train")
        page.get_by_role("status").get_by_text(words).wait_for()
        page.unroute("**/training")
        page.click("#to-runs")


def test_errors_are_in_chinese_where_the_page_knows_them_and_framed_where_not(chinese):
    chinese.click("#to-train")
    chinese.fill("#train-text", "the red fruit")
    chinese.get_by_label("训练名称").fill("words")
    chinese.click("#start")
    chinese.locator("#error").get_by_text("这个名称已被占用").wait_for()
    chinese.get_by_label("训练名称").fill("../x")
    chinese.click("#start")
    chinese.locator("#error").get_by_text("训练名称不可用").wait_for()
    chinese.get_by_label("训练名称").fill("new")
    chinese.get_by_label("时间上限").fill("soon")
    chinese.click("#start")
    chinese.locator("#error").get_by_text("时间上限请写成").wait_for()
    chinese.click("#to-memory")
    chinese.fill("#text", "the " * 11_000)
    chinese.click("#show")
    chinese.locator("#error").get_by_text("服务器报告（英文）：").wait_for()


def test_a_studio_that_is_away_is_named_until_it_answers_again(page):
    page.route("**/runs", lambda route: route.abort())
    page.locator("#error").get_by_text("The studio does not answer.").wait_for()
    page.unroute("**/runs")
    playwright.expect(page.locator("#error")).to_be_hidden()


def test_an_empty_folder_has_a_command_for_itself(launched, tmp_path):
    with running_studio(tmp_path / "my runs") as studio:
        page = launched.new_page(locale="en-US")
        page.goto(studio.address)
        page.locator(".command code").get_by_text("--out").wait_for()
        assert page.locator(".command code").inner_text() == (
            f"recurlm train --recipe demo --out '{tmp_path}/my runs/demo' --time-limit 1m"
        )
        page.close()
