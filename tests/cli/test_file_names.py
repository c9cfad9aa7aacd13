"""A text whose name is not UTF-8, through the commands, in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.in_process import run_command
from recurlm.progress import Silent
from recurlm.runs.folder import RunFolder
from recurlm.text.places import DataPlaces
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest

NAME = os.fsdecode(b"caf\xe9.txt")
SENTENCES = ["the red fruit is a cherry", "the yellow fruit is a lemon", "the green fruit is a lime", "it is sweet"]
SMALL = ("model.embedding_size=8", "model.hidden_sizes=[8]", "text.minimum_count=1", "batches.batch_size=4")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / NAME
    try:
        path.write_text("".join(f"{line}\n" for line in SENTENCES) * 60)
    except OSError:
        pytest.skip("this file system has no such names")
    return path


@pytest.fixture(scope="module")
def run(text: Path) -> Path:
    folder = text.parent / os.fsdecode(b"r\xe9")
    request = TrainingRequest(
        text=str(text),
        out=folder,
        recipe="demo",
        changes=(*SMALL, "model.tied=false", "training.epochs=1"),
        places=DataPlaces(cache_directory=text.parent / "cache"),
    )
    with StopRequest() as stop:
        prepare_training(request, Silent()).fit(stop)
    return folder


@pytest.fixture
def call(text: Path) -> Callable[..., tuple[int, bytes, bytes]]:
    """Runs a command; returns its exit code and the bytes of both streams."""

    def run(*arguments: object) -> tuple[int, bytes, bytes]:
        cache = {"RECURLM_CACHE_DIR": str(text.parent / "cache")}
        outcome = run_command(list(map(str, arguments)), folder=Path.cwd(), variables=cache)
        return outcome.code, outcome.stdout, outcome.stderr

    return run


def test_the_run_knows_the_file_that_it_learned_from(run, text):
    assert RunFolder(run).config()["corpus"]["source"] == str(text.resolve())
    assert b"caf\\udce9.txt" in (run / "config.json").read_bytes()
    (run / "config.json").read_bytes().decode()


def test_eval_finds_the_text_again(run, call):
    code, out, _ = call("eval", run, "--json")
    assert code == 0
    assert json.loads(out)["tokens"] > 0


def test_score_prints_the_name_as_it_is(run, text, call):
    code, out, _ = call("score", run, text, "--format", "srilm")
    assert code == 0
    assert b"file " + os.fsencode(text) + b": 240 sentences, 1260 words, 0 OOVs" in out


def test_compare_shows_the_name(run, text, call):
    code, out, _ = call("compare", run, run, text, "--json")
    assert code == 0
    value = json.loads(out)
    assert value["text"] == "caf\\xe9"
    assert os.fsencode(value["models"][0]["model"]).endswith(b"r\xe9")


def test_pictures_of_such_a_run_are_drawn(run, call):
    code, out, _ = call("plot", run)
    assert (code, out.splitlines()[0]) == (0, os.fsencode(run / "training.svg"))


def test_a_message_shows_the_bytes(text, run, call):
    code, _, told = call("score", run, text.parent / os.fsdecode(b"\xff"))
    assert (code, told) == (3, b"recurlm: no such file: " + os.fsencode(text.parent) + b"/\\xff\n")


def test_an_argument_that_is_not_utf8_is_refused_as_a_prompt(run, call):
    code, _, told = call("generate", run, "--prompt", os.fsdecode(b"the \xe9"))
    assert (code, told) == (3, b"recurlm: not UTF-8 at character 5 of the text 'the \\\\xe9'\n")


def test_the_run_is_verified(run, call):
    code, out, err = call("verify", run)
    assert code == 0, out + err
