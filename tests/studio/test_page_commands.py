"""What the page shows for the terminal and for Python gives what the page shows; sliders, forks and keys of Play."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recurlm.interface.model import load
from studio.browser import needs_browser, opened
from studio.page_server import RunningStudio, running_studio

pytestmark = needs_browser
RUN = Path(__file__).parent.parent / "fixtures" / "0.1.0" / "run"
SHELL = 'recurlm() { "$PYTHON" -m recurlm.cli.main "$@"; }\n'


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    folder = tmp_path_factory.mktemp("studio")
    for name in ("fruit", "twin"):
        shutil.copytree(RUN, folder / "runs" / name)
    with running_studio(folder / "runs") as studio:
        yield studio


@pytest.fixture(scope="module")
def page(studio: RunningStudio) -> Iterator:
    with opened(studio) as page:
        yield page


def pasted(program: list[str], text: str, folder: Path) -> str:
    """What a text prints that is pasted into a shell or into Python."""
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([*program, text], capture_output=True, text=True, cwd=folder, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_shell(page, number: int, folder: Path) -> str:
    command = page.locator(".command:not(.python) code").nth(number).inner_text()
    return pasted(["bash", "-c"], SHELL + command, folder)


def in_python(page, folder: Path) -> str:
    return pasted([sys.executable, "-c"], page.locator(".command.python code").inner_text(), folder)


def move(page, name: str, value: str) -> None:
    """Moves a slider to a value that it shows."""
    slider = page.get_by_role("slider", name=name, exact=True)
    for place in range(int(slider.get_attribute("max")) + 1):
        slider.fill(str(place))
        if slider.get_attribute("aria-valuetext") == value:
            return
    raise AssertionError(f"{name} has no {value}")


def written(page, tokens: int) -> list[str]:
    """The continuation, once it has so many tokens."""
    page.wait_for_selector(f"button.token >> nth={tokens - 1}")
    page.wait_for_selector("#continuation:not([aria-busy])")
    return [text.split("\n")[0] for text in page.locator("button.token").all_inner_texts()]


def shown_text(prompt: str, tokens: list[str]) -> str:
    return re.sub(" ?↵ ?", "\n", " ".join([prompt, *tokens]))


def go_to_play(page) -> None:
    page.keyboard.press("Escape")
    page.click("#to-play")
    page.wait_for_selector("#next button.guess")


def test_a_slider_shows_what_it_does_to_the_next_token(page, studio, pictures):
    go_to_play(page)
    page.fill("#prompt", "the red")
    move(page, "temperature", "0.5")
    move(page, "top-k", "2")
    page.get_by_text("The sliders leave 2 of").wait_for()
    model = load(RUN)
    row = {token.token: token.logprob for line in model.score(["the red fruit"]) for token in line.tokens}
    labels = page.locator("#next button.guess").evaluate_all(
        "rows => rows.map((row) => row.getAttribute('aria-label'))"
    )
    told = [re.fullmatch(r"(.+): model (\S+), (?:drawn (\S+)|never drawn)", label).groups() for label in labels]
    own = {word: figure for word, figure, _ in told}
    assert float(own["fruit"]) == pytest.approx(math.exp(row["fruit"]), abs=0.006)
    drawn = [figure for _, _, figure in told if figure]
    assert len(drawn) == 2
    assert sum(map(float, drawn)) == pytest.approx(1, abs=0.02)
    assert page.locator("#next button.guess.cut").count() == len(told) - 2
    page.screenshot(path=pictures / "play-sliders.png")
    page.click("#own")
    page.get_by_text("The sliders leave 2 of").wait_for(state="detached")
    assert page.locator("#own").count() == 0


def test_play_shows_commands_that_write_the_same_text(page, studio, tmp_path):
    go_to_play(page)
    page.fill("#prompt", "the red")
    move(page, "temperature", "1.2")
    move(page, "top-p", "0.95")
    page.click("#write")
    text = shown_text("the red", written(page, 30))
    assert in_shell(page, 0, tmp_path).rstrip() == text.rstrip()
    assert in_python(page, tmp_path).rstrip() == text.rstrip()


def test_a_fork_has_commands_that_write_the_same_text(page, studio, tmp_path):
    go_to_play(page)
    move(page, "repetition penalty", "1.3")
    move(page, "min-p", "0.02")
    before = written(page, 30)
    page.locator("button.token").nth(9).click()
    page.keyboard.press("f")
    page.wait_for_selector("button.token >> nth=39")
    tokens = written(page, 40)
    assert tokens[:9] == before[:9]
    assert tokens[9] != before[9]
    text = shown_text("the red", tokens)
    assert in_shell(page, 0, tmp_path).rstrip() == text.rstrip()
    assert in_python(page, tmp_path).rstrip() == text.rstrip()
    assert page.locator(".tree li").count() == 2
    tree, continuation = (page.locator(place).bounding_box() for place in (".tree", "#continuation"))
    assert tree["x"] + tree["width"] <= continuation["x"]


def test_keys_walk_fork_and_let_go(page, pictures):
    go_to_play(page)
    page.locator("ul.tree > li > button").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("button.token").nth(1).get_attribute("aria-pressed") == "true"
    page.get_by_text("What else could stand here").wait_for()
    branches = page.locator(".tree li").count()
    second = page.locator("button.token").nth(1).inner_text()
    page.keyboard.press("f")
    page.wait_for_function("count => document.querySelectorAll('.tree li').length === count", arg=branches + 1)
    first = page.locator("button.token").nth(1).inner_text()
    assert first != second
    page.keyboard.press("f")
    page.wait_for_function("count => document.querySelectorAll('.tree li').length === count", arg=branches + 2)
    assert page.locator("button.token").nth(1).inner_text() not in (first, second)
    written(page, 32)
    page.screenshot(path=pictures / "play-forks.png")
    page.keyboard.press("Escape")
    page.get_by_text("What may come after").wait_for()
    assert page.locator("button.token.at").count() == 0


def test_an_unknown_word_of_a_prompt_is_named(page):
    go_to_play(page)
    page.fill("#prompt", "the spoon")
    page.locator("#next").get_by_text("The model does not know “spoon”").wait_for()
    page.click("#write")
    page.locator("#error").get_by_text("The model does not know “spoon”").wait_for()
    page.fill("#prompt", "the")


def test_surprisal_shows_commands_that_print_the_same_table(page, tmp_path):
    page.keyboard.press("Escape")
    page.click("#to-surprisal")
    page.fill("#text", "the red fruit is a cherry .\n\n'tis the END of $HOME .\n")
    page.click("#show")
    page.wait_for_selector(".heat span[data-at]")
    with page.expect_download() as download:
        page.click("#download")
    downloaded = Path(download.value.path()).read_text().splitlines()
    printed = in_shell(page, 0, tmp_path).splitlines()
    assert len(downloaded) == 16
    assert downloaded[0] == printed[0]
    for ours, theirs in zip(downloaded[1:], printed[1:], strict=True):
        ours, theirs = ours.split("\t"), theirs.split("\t")
        assert (ours[:4], ours[7:]) == (theirs[:4], theirs[7:])
        assert list(map(float, ours[4:7])) == pytest.approx(list(map(float, theirs[4:7])), rel=1e-5)
    in_words = in_python(page, tmp_path).splitlines()
    assert [line.split("'")[1] for line in in_words[:3]] == ["the", "red", "fruit"]
    assert len(in_words) == 15


def test_a_long_text_is_saved_for_its_command(page, tmp_path):
    text = "\n".join(["the red fruit is a cherry ."] * 100)
    page.fill("#text", text)
    page.click("#show")
    page.wait_for_selector(".heat span[data-at='799']")
    with page.expect_download() as download:
        page.get_by_text("Save text.txt").click()
    download.value.save_as(tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_text() == f"{text}\n"
    assert len(in_shell(page, 0, tmp_path).splitlines()) == 801
    assert len(in_python(page, tmp_path).splitlines()) == 800


def test_two_models_are_shown_by_their_difference(page, tmp_path):
    page.keyboard.press("Escape")
    page.click("#to-surprisal")
    page.fill("#text", "the red fruit is a cherry .")
    page.locator("select").first.select_option("fruit")
    page.get_by_label("against").select_option("twin")
    page.click("#show")
    page.wait_for_selector(".legend i.difference")
    assert re.search(r"difference\s+-?0\.00 bits", page.locator(".aside").inner_text())
    with page.expect_download() as download:
        page.click("#download")
    table = [line.split("\t") for line in Path(download.value.path()).read_text().splitlines()]
    assert table[0][-1] == "surprisal_twin"
    assert all(row[5] == row[-1] for row in table[1:])
    assert in_shell(page, 0, tmp_path) == in_shell(page, 1, tmp_path)
    page.get_by_label("against").select_option("")
    page.wait_for_selector(".legend i.surprisal")


def test_runs_shows_commands_that_list_and_draw_them(page, studio, tmp_path):
    page.keyboard.press("Escape")
    page.click("#to-runs")
    page.wait_for_selector("svg.chart")
    assert "fruit" in in_shell(page, 0, tmp_path)
    in_shell(page, 1, tmp_path)
    drawn = (tmp_path / "runs.svg").read_text()
    (tmp_path / "runs.svg").unlink()
    in_python(page, tmp_path)
    assert len((tmp_path / "runs.svg").read_text()) == len(drawn)


def test_train_shows_the_command_that_it_starts(page, studio, tmp_path):
    page.click("#to-train")
    page.fill("#train-text", "a text")
    page.get_by_label("name of the run").fill("two words")
    page.get_by_label("time limit").fill("20s")
    command = page.locator(".command code").first.inner_text()
    folder = json.dumps(studio.get("/runs").json["folder"])[1:-1]
    assert command == f"recurlm train '{folder}/.texts/two words.txt' --out '{folder}/two words' --time-limit 20s"
    lines = page.locator(".command.python code").inner_text().splitlines()
    assert (
        lines[1] == f'run = recurlm.train("{folder}/.texts/two words.txt", out="{folder}/two words", time_limit="20s")'
    )


def test_play_works_by_keyboard_alone(page):
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_selector("svg.chart")
    page.keyboard.press("/")
    page.wait_for_selector("#prompt:focus")
    page.keyboard.press("Control+a")
    page.keyboard.type("the green")
    before = page.locator(".tree li").count()
    page.keyboard.press("Enter")
    page.wait_for_function("count => document.querySelectorAll('.tree li').length === count", arg=before + 1)
    written(page, 30)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "temperature"
    moved = "value => document.activeElement.getAttribute('aria-valuetext') === value"
    page.keyboard.press("Home")
    page.wait_for_function(moved, arg="0")
    page.get_by_text("The sliders leave 1 of").wait_for()
    page.keyboard.press("End")
    page.wait_for_function(moved, arg="2")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("button.token.at:focus")
    page.keyboard.press("f")
    page.wait_for_function("count => document.querySelectorAll('.tree li').length === count", arg=before + 2)
    written(page, 31)
    assert "--prompt 'the green" in page.locator(".command code").first.inner_text()
