"""`recurlm inspect` in process: its tables, JSON, files and errors, on a small model."""

import json
import math
import re
from pathlib import Path

import pytest

import recurlm as library

SENTENCE = "the red fruit is a cherry"


@pytest.fixture(scope="module")
def runs(recurlm, text_folder, small_options, tmp_path_factory) -> Path:
    """A folder with an LSTM, a tanh network, and one of characters."""
    folder = tmp_path_factory.mktemp("inspected")
    for name, more in (("lstm", ()), ("tanh", ("--set", "model.cell=tanh")), ("char", ("--unit", "character"))):
        done = recurlm("train", text_folder, "--out", name, *small_options, "--epochs", 2, *more, "-q", cwd=folder)
        assert done.returncode == 0, done.stderr
    (folder / "one.txt").write_text(f"{SENTENCE}\n")
    (folder / "two.txt").write_text(f"{SENTENCE}\nthe yellow fruit is a lemon\n")
    return folder


@pytest.fixture
def inspect(recurlm, runs):
    def run(*arguments, stdin=b""):
        return recurlm("inspect", *arguments, stdin=stdin, cwd=runs)

    return run


def report(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_surprisals_are_those_of_score(inspect, runs):
    found = report(inspect("lstm", "one.txt", "--json"))
    scored = library.load(runs / "lstm").score([SENTENCE])[0]
    assert [each["token"] for each in found["tokens"]] == SENTENCE.split()
    expected = [-logprob / math.log(2) for logprob in scored.logprobs[:-1]]
    assert [each["surprisal"] for each in found["tokens"]] == pytest.approx(expected, abs=1e-4)
    assert (found["part"], found["file"]) == ("cell", None)
    assert [(len(each["values"]), len(each["values"][0])) for each in found["layers"]] == [(6, 32)]


def test_a_table_names_each_token_with_its_number(inspect):
    rows = inspect("lstm", "-", stdin=SENTENCE.encode()).stdout.splitlines()[1:]
    assert [row.split()[:2] for row in rows] == [[str(n), word] for n, word in enumerate(SENTENCE.split(), 1)]


def test_a_model_without_a_cell_state_shows_its_hidden_state(inspect):
    assert report(inspect("tanh", "one.txt", "--json"))["part"] == "hidden"


def test_a_span_has_units_that_change_at_its_ends(inspect):
    values = report(inspect("lstm", "one.txt", "--json"))["layers"][0]["values"]
    found = report(inspect("lstm", "one.txt", "--span", "2:3", "--json"))
    assert found["span"] == {"from": 2, "to": 3, "tokens": ["red", "fruit"]}
    assert found["units"]
    for unit in found["units"]:
        sign = 1 if unit["side"] == "above" else -1
        row = [sign * step[unit["unit"] - 1] for step in values]
        assert min(row[1:3]) - max(row[0], row[3]) == pytest.approx(unit["margin"], abs=1e-5)
    assert "red fruit" in inspect("lstm", "one.txt", "--span", "2:3").stdout


def test_another_word_moves_the_memory(inspect):
    found = report(inspect("lstm", "one.txt", "--instead", "yellow@2", "--json"))
    assert found["tokens"] == SENTENCE.split()[1:]
    assert [len(layer) for layer in (*found["layers"], found["prediction"])] == [5, 5]
    assert found["layers"][0][0] > found["layers"][0][-1] > 0
    assert "red / yellow" in inspect("lstm", "one.txt", "--instead", "yellow@2").stdout


def test_several_models_stand_in_one_report(inspect):
    found = report(inspect("lstm", "two.txt", "--remembered", 3, "--with", "tanh", "--json"))
    assert [each["name"] for each in found["models"]] == ["lstm", "tanh"]
    assert [len(each["prediction"]) for each in found["models"]] == [4, 4]
    assert inspect("lstm", "two.txt", "--remembered", 3).stdout.startswith("1  lstm\n")


VIEWS = [(), ("--part", "forget"), ("--span", "2:3"), ("--instead", "yellow@2"), ("--remembered", "2")]


@pytest.mark.parametrize("options", VIEWS)
@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("html", b"<!doctype html>")])
def test_each_question_has_a_picture_and_a_page(inspect, runs, options, suffix, start):
    done = inspect("lstm", "one.txt", *options, "--out", f"new/view.{suffix}")
    assert (done.returncode, done.stdout) == (0, f"new/view.{suffix}\n"), done.stderr
    assert (runs / "new" / f"view.{suffix}").read_bytes().startswith(start)


@pytest.mark.parametrize("options", VIEWS)
def test_a_page_names_no_address(inspect, runs, options):
    inspect("lstm", "two.txt", *options, "--out", "page.html")
    page = (runs / "page.html").read_text("utf-8")
    assert "<svg" in page
    assert not re.findall(r"https?:|src=|@import|url\((?!#)", page)
    assert not [link for link in re.findall(r'href="([^"]*)"', page) if not link.startswith(("#", "data:"))]


def test_a_page_shows_every_part_of_the_memory(inspect, runs):
    inspect("lstm", "one.txt", "--out", "page.html")
    page = (runs / "page.html").read_text("utf-8")
    assert page.count("<svg") == 6
    assert "forget gate after each token" in page
    assert "surprisal in bits" in page


def test_unknown_words_are_named(inspect):
    done = inspect("lstm", "-", stdin=b"the zebra is red")
    assert "1 token unknown to lstm, read as <unk>: zebra" in done.stderr


@pytest.mark.parametrize("options", [(), ("--span", "2:3"), ("--instead", "t@2"), ("--remembered", "2")])
def test_characters_of_any_script_are_drawn(inspect, runs, options):
    text = "é\t返 \N{GRINNING FACE}\U0010ffff\u202e the"
    done = inspect("char", "-", *options, "--out", "char.png", stdin=text.encode())
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("lstm", "one.txt", "--part", "reset"), 3, "the model has no reset; it has cell, hidden, "),
        (("tanh", "one.txt", "--span", "2:3", "--part", "cell"), 3, "the model has no cell; it has hidden"),
        (("lstm", "one.txt", "--span", "2:9"), 3, "the text has the tokens 1 to 6"),
        (("lstm", "one.txt", "--span", "3:2"), 2, "give the first and the last token"),
        (("lstm", "one.txt", "--span", "two"), 2, "give the first and the last token"),
        (("lstm", "one.txt", "--instead", "yellow"), 2, "a word and the number of a token, such as plum@3"),
        (("lstm", "one.txt", "--instead", "yellow@6"), 3, "give a token from 1 to 5"),
        (("lstm", "one.txt", "--instead", "red@2"), 3, "the same word is there; give another word"),
        (("lstm", "one.txt", "--remembered", "9"), 3, "give a longer one"),
        (("lstm", "one.txt", "--with", "tanh"), 2, "--with compares models by --remembered N"),
        (("lstm", "one.txt", "--span", "1:2", "--remembered", "2"), 2, "give one of them"),
        (("lstm", "one.txt", "--part", "cell", "--remembered", "2"), 2, "--part does not go with --remembered"),
        (("lstm", "two.txt", "--remembered", "2", "--with", "char"), 3, "into different tokens"),
        (("lstm", "one.txt", "--out", "view.pdf"), 2, "with .svg or .png for a picture, or with .html"),
        (("lstm", "-"), 3, "standard input: the text is empty"),
        (("lstm", "absent.txt"), 3, "absent.txt"),
    ],
)
def test_what_cannot_be_answered_is_said_plainly(inspect, arguments, code, said):
    done = inspect(*arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (121, ("--out", "long.svg"), "a picture shows at most 120; give fewer lines"),
        (601, ("--out", "long.html"), "a picture shows at most 600; give fewer lines"),
        (10_001, (), "more than 10,000 tokens up to line 1; give fewer lines"),
    ],
)
def test_a_text_too_long_is_refused_with_the_limit(inspect, runs, words, options, said):
    done = inspect("lstm", "-", *options, stdin=b"red " * words)
    assert done.returncode == 3
    assert said in done.stderr
    assert not (runs / "long.svg").exists()
