import json

import pytest
import typer
from typer.testing import CliRunner

from recurlm.cli.graph import graph
from recurlm.cli.plot import plot
from recurlm.cli.recipes import recipes
from recurlm.errors import InputError, UsageError
from recurlm.recipe_files import load_recipe, recipe_names, recipe_text
from recurlm.runs.folder import RunFolder
from recurlm.text.vocabulary import Vocabulary

RECIPE = """
description = "two layers"
[model]
embedding_size = 256
hidden_sizes = [256, 256]
"""


@pytest.fixture
def invoke():
    app = typer.Typer()
    app.command("graph")(graph)
    app.command("plot")(plot)
    app.command("recipes")(recipes)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def run(tmp_path, recipe):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    vocabulary = Vocabulary(("<eos>", "<unk>", "a", "b"))
    config = {"recipe": load_recipe(str(recipe)).model_dump(mode="json")}
    folder.write({"vocabulary.json": vocabulary.to_json("word").encode(), "config.json": json.dumps(config).encode()})
    metrics = [{"event": "step", "step": 5, "loss": 2.0}, {"event": "epoch", "step": 9, "valid_perplexity": 7.5}]
    (folder.path / "metrics.jsonl").write_text("".join(json.dumps(metric) + "\n" for metric in metrics))
    return folder.path


def test_the_table_lists_layers_shapes_and_counts(invoke, recipe):
    lines = [line.split() for line in invoke("graph", recipe).stdout.splitlines()]
    assert lines[3][:5] == ["embedding", "(T,", "B,", "256)", "2,560,000"]
    assert lines[4][:6] == ["LSTM", "1", "(T,", "B,", "256)", "526,336"]
    assert lines[-1] == ["total", "6,182,672"]


def test_json_holds_the_layers_for_the_vocabulary_asked_for(invoke, recipe):
    report = json.loads(invoke("graph", recipe, "--vocabulary", "100", "--json").stdout)
    assert report["parameters"] == 100 * 256 + 2 * 526_336 + 100 * 257
    assert report["layers"][2] == {
        "name": "LSTM 1",
        "kind": "recurrent",
        "detail": "4 × 256 × (256 + 256 + 2)",
        "shape": ["T", "B", 256],
        "parameters": 526_336,
        "carried": ["h", "c"],
        "residual": False,
        "skip": False,
    }


def test_a_run_is_drawn_with_its_own_vocabulary(invoke, run):
    assert json.loads(invoke("graph", run, "--json").stdout)["vocabulary"] == 4
    assert isinstance(invoke("graph", run, "--vocabulary", "9").exception, UsageError)


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("SVG", b"<?xml")])
@pytest.mark.parametrize("options", [(), ("--unrolled",)])
def test_the_picture_goes_where_it_should(invoke, recipe, tmp_path, suffix, start, options):
    path = tmp_path / "new" / f"network.{suffix}"
    assert invoke("graph", recipe, "--out", path, *options).stdout == f"{path}\n"
    assert path.read_bytes().startswith(start)


def test_a_picture_in_a_run_folder_enters_its_manifest(invoke, run):
    invoke("graph", run, "--out", run / "network.svg")
    assert RunFolder(run).read("network.svg").startswith(b"<?xml")


@pytest.mark.parametrize("arguments", [("--out", "network.pdf"), ("--out", "svg"), ("--unrolled",)])
def test_what_cannot_be_drawn_is_a_usage_error(invoke, recipe, arguments):
    assert isinstance(invoke("graph", recipe, *arguments).exception, UsageError)


def test_neither_run_nor_recipe(invoke, tmp_path):
    assert isinstance(invoke("graph", "nothing-like-it").exception, InputError)
    assert "not a run folder" in str(invoke("graph", tmp_path).exception)


def test_plot_writes_into_the_first_run_and_prints_the_paths(invoke, run):
    result = invoke("plot", run)
    assert result.stdout.splitlines() == [str(run / "training.svg"), str(run / "training.png")]
    assert RunFolder(run).read("training.png").startswith(b"\x89PNG")


def test_plot_writes_the_file_asked_for_and_reports(invoke, run, tmp_path):
    path = tmp_path / "curves.png"
    report = json.loads(invoke("plot", run, "--out", path, "--json").stdout)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not (run / "training.svg").exists()
    assert report["files"] == [str(path)]
    assert report["runs"][0]["best_valid_perplexity"] == 7.5
    assert isinstance(invoke("plot", run, "--out", tmp_path / "curves.gif").exception, UsageError)
    assert isinstance(invoke("plot", tmp_path / "absent").exception, InputError)


def test_recipes_are_listed_with_their_descriptions(invoke):
    lines = invoke("recipes").stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipe_names()
    rows = [json.loads(line) for line in invoke("recipes", "--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == recipe_names()
    assert all(row["description"] in line for row, line in zip(rows, lines, strict=True))


def test_a_recipe_is_shown_whole(invoke, recipe):
    name = recipe_names()[0]
    assert invoke("recipes", "show", name).stdout.strip() == recipe_text(name)[0].strip()
    assert json.loads(invoke("recipes", "show", recipe, "--json").stdout)["model"]["hidden_sizes"] == [256, 256]


def test_recipes_asked_wrongly(invoke):
    assert isinstance(invoke("recipes", "print").exception, UsageError)
    assert isinstance(invoke("recipes", "show").exception, UsageError)
    assert isinstance(invoke("recipes", "show", "nothing-like-it").exception, InputError)
