"""text.document, from training to figures: where the state of a run restarts, and what says so."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from recurlm.recipe_files import parse_recorded_recipe
from recurlm.runs.folder import RunFolder

Command = Callable[..., object]

STORIES = ["the fox ran\nit was red", "a hen sat\nit was white\nit slept", "the cat ate\nit was fat"]


def stories(number: int) -> str:
    """Stories with a blank line between them, every third time two."""
    chosen = random.Random(number)
    return "".join(f"{chosen.choice(STORIES)}\n\n" + "\n" * (index % 3 == 0) for index in range(number))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "stories"
    folder.mkdir()
    for name, number in (("train", 90), ("valid", 8), ("test", 9)):
        (folder / f"{name}.txt").write_text(stories(number))
    return folder


@pytest.fixture(scope="module")
def runs(recurlm: Command, small_options: list[str], texts: Path) -> dict[str, Path]:
    """Runs by rule; said.txt in the folder beside each is what training said."""
    made = {}
    for rule in ("file", "blank-line", "line"):
        made[rule] = texts.parent / rule
        done = recurlm("train", texts, "--out", made[rule], *small_options, "--set", f"text.document={rule}")
        assert done.returncode == 0, done.stderr
        (texts.parent / f"{rule}.said").write_text(done.stderr)
    return made


def figure(recurlm: Command, *words: object) -> dict:
    done = recurlm("eval", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_train_says_where_the_state_restarts_unless_it_is_nowhere(runs):
    said = {rule: (run.parent / f"{rule}.said").read_text() for rule, run in runs.items()}
    lines = (runs["file"].parent / "stories" / "train.txt").read_text().count("\n")
    assert "documents: 90 (blank lines); the state restarts at each" in said["blank-line"]
    assert f"documents: {lines} (lines); the state restarts at each" in said["line"]
    assert "documents:" not in said["file"]
    assert "--set text.document=blank-line" in said["file"]
    assert "--set text.document=blank-line" not in said["blank-line"] + said["line"]


def test_the_rule_changes_training_but_neither_vocabulary_nor_tokens(runs):
    models = {rule: RunFolder(run).read("model.safetensors") for rule, run in runs.items()}
    assert len(set(models.values())) == 3
    assert len({(run / "vocabulary.json").read_text() for run in runs.values()}) == 1


@pytest.mark.parametrize(
    ("rule", "state"),
    [("file", "carried"), ("blank-line", "carried(document=blank-line)"), ("line", "carried(document=line)")],
)
def test_every_figure_of_a_run_follows_its_rule_and_says_so(recurlm, runs, texts, rule, state):
    own = figure(recurlm, runs[rule])
    assert f"|state={state}|" in own["signature"]
    assert figure(recurlm, runs[rule], texts / "test.txt")["signature"] == own["signature"]
    assert RunFolder(runs[rule]).path.joinpath("metrics.jsonl").read_text().count(f"|state={state}|") >= 2
    assert "|state=zero|" in figure(recurlm, runs[rule], "--protocol", "sentence")["signature"]


def test_a_run_with_a_document_in_each_line_measures_a_stream_as_sentences(recurlm, runs):
    stream, sentence = (figure(recurlm, runs["line"], "--protocol", name) for name in ("stream", "sentence"))
    assert stream["perplexity"] == pytest.approx(sentence["perplexity"], rel=1e-5)


def test_a_rule_that_finds_no_document_is_said_and_leaves_the_signature(recurlm, small_options, text_folder, tmp_path):
    done = recurlm("train", text_folder, "--out", tmp_path / "r", *small_options, "--set", "text.document=blank-line")
    assert "documents: 1 (blank lines); the state is carried through all of it" in done.stderr
    assert "|state=carried|" in figure(recurlm, tmp_path / "r")["signature"]


def test_models_that_are_compared_or_mixed_each_follow_their_own_rule(recurlm, runs, texts):
    alone = {rule: figure(recurlm, run)["perplexity"] for rule, run in runs.items()}
    done = recurlm("compare", runs["file"], runs["blank-line"], texts / "test.txt", "--json")
    assert done.returncode == 0, done.stderr
    models = json.loads(done.stdout)["models"]
    assert [each["perplexity"] for each in models] == pytest.approx([alone["file"], alone["blank-line"]], rel=1e-6)
    assert "|state=carried|" in models[0]["signature"]
    assert "|state=carried(document=blank-line)|" in models[1]["signature"]
    mixed = figure(recurlm, runs["file"], "--with", runs["line"])
    assert "|state=carried+carried(document=line)|" in mixed["signature"]


def test_the_rule_of_a_run_cannot_change_when_it_is_resumed(recurlm, runs):
    done = recurlm("train", "--resume", "--out", runs["line"], "--set", "text.document=file")
    assert done.returncode == 3
    assert 'text.document="line", not "file"' in done.stderr


def test_a_run_of_a_version_without_documents_is_one_document(recurlm, runs, tmp_path):
    config = json.loads((runs["file"] / "config.json").read_text())
    del config["recipe"]["text"]["document"]
    recorded = RunFolder(runs["file"])
    assert parse_recorded_recipe(config["recipe"], "config.json") == recorded.recipe()


def test_show_names_the_rule(recurlm, runs):
    assert "text.document" in recurlm("show", runs["line"]).stdout
    assert "text.document" not in recurlm("show", runs["file"]).stdout
