"""Runs as MXNet's files, and back again bit by bit. That MXNet itself scores them alike: benchmarks/mxnet_parity.py."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recurlm.errors import InputError
from recurlm.interface.model import load
from recurlm.models.language_model import LanguageModel
from recurlm.mxnet.exporting import _notes, export_model
from recurlm.mxnet.importing import import_model
from recurlm.mxnet.params import read_params
from recurlm.recipe_files import parse_recipe
from recurlm.runs.folder import RunFolder
from recurlm.tensor_files import tensor_bytes
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Words
from recurlm.text.vocabulary import Vocabulary

MakeRun = Callable[..., RunFolder]

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm", "embedding_size": 5, "hidden_sizes": [7, 4]},
    "gru": {"cell": "gru", "embedding_size": 5, "hidden_sizes": [4, 4, 4]},
    "tanh": {"cell": "tanh", "embedding_size": 3, "hidden_sizes": [6]},
    "relu without bias": {"cell": "relu", "embedding_size": 3, "hidden_sizes": [6], "decoder_bias": False},
    "tied": {"cell": "lstm", "embedding_size": 6, "hidden_sizes": [5, 6], "tied": True},
    "residual": {"cell": "gru", "embedding_size": 4, "hidden_sizes": [4, 6, 6], "residual": True},
    "mixed": {
        "cell": ["lstm", "gru", "relu", "lstm"],
        "embedding_size": 4,
        "hidden_sizes": [4, 4, 6, 6],
        "residual": [False, True, False, True],
        "dropout": {"input": 0.1, "between": [0.2, 0.0, 0.3], "output": 0.4, "locked": False},
    },
    "dropout": {
        "embedding_size": 4,
        "hidden_sizes": [4, 4],
        "dropout": {"input": 0.1, "between": 0.2, "output": 0.3, "locked": False},
    },
}


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run with random weights."""

    def make(**model: Any) -> RunFolder:
        recipe = parse_recipe({"model": model}, "test")
        codec = Codec(Words(), Vocabulary(("<eos>", "the", "cat", "<unk>", "slept")))
        torch.manual_seed(1)
        network = LanguageModel(recipe.model, 5)
        for parameter in network.parameters():
            torch.nn.init.uniform_(parameter, -1, 1)
        folder = RunFolder(tmp_path / "run")
        folder.create({"corpus": {"source": ""}, "recipe": recipe.model_dump(mode="json")}, codec)
        folder.save_model(tensor_bytes(network.weights()))
        return folder

    return make


@pytest.mark.parametrize("name", list(MODELS))
def test_a_run_comes_back_bit_by_bit(name: str, make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(**MODELS[name])
    exported = export_model(run, str(tmp_path / "model"))
    found = import_model(str(tmp_path / "model"), 0, exported.vocabulary, tmp_path / "back")
    assert found.unused == ()
    assert found.parameters == exported.parameters
    for file in ("model.safetensors", "vocabulary.json"):
        assert (tmp_path / "back" / file).read_bytes() == (run.path / file).read_bytes()
    before, after = run.recipe().model, load(tmp_path / "back").recipe.model
    if name in ("dropout", "mixed"):
        assert after == before
    else:
        assert after == before.model_copy(update={"dropout": after.dropout})


def test_names_and_ids_are_mxnets(make_run: MakeRun, tmp_path: Path) -> None:
    exported = export_model(make_run(**MODELS["lstm"]), str(tmp_path / "model"))
    shapes = {name: array.shape for name, array in read_params(exported.params).items()}
    assert shapes == {
        "arg:embed_weight": (5, 5),
        "arg:lstm_l0_parameters": (4 * 7 * (5 + 7 + 2),),
        "arg:lstm_l1_parameters": (4 * 4 * (7 + 4 + 2),),
        "arg:pred_weight": (5, 4),
        "arg:pred_bias": (5,),
    }
    words = json.loads(exported.vocabulary.read_text())
    assert words == {"\n": 0, "the": 1, "cat": 2, "<unk>": 3, "slept": 4}


@pytest.mark.parametrize(("cell", "states"), [("lstm", 2), ("gru", 1), ("tanh", 1)])
def test_a_layer_begins_with_the_states_of_its_cell(cell: str, states: int, make_run: MakeRun, tmp_path: Path) -> None:
    exported = export_model(make_run(**MODELS[cell]), str(tmp_path / "model"))
    nodes = json.loads(exported.symbol.read_text())["nodes"]
    layers = [node for node in nodes if node["op"] == "RNN"]
    # MXNet's RNN reads the input, the parameters, the hidden states, and of an LSTM the cell states
    assert [len(node["inputs"]) for node in layers] == [2 + states] * len(MODELS[cell]["hidden_sizes"])


def test_a_cell_that_mxnet_lacks_is_refused_before_anything_is_written(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(cell="sigmoid", embedding_size=3, hidden_sizes=[4])
    with pytest.raises(InputError, match="'sigmoid'"):
        export_model(run, str(tmp_path / "model"))
    assert not list(tmp_path.glob("model*"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"cell": "mogrifier"}, "MXNet has no cell of kind 'mogrifier'"),
        ({"cell": ["lstm", "qrnn"]}, "MXNet has no cell of kind 'qrnn'"),
        ({"input_gate": "coupled"}, "MXNet's LSTM has no coupled input gate"),
        ({"skip": True}, "model.skip, the sum of all layers' outputs"),
        ({"output": {"kind": "mixture", "experts": 2}}, "one softmax, and this one has model.output.kind mixture"),
        ({"output": {"kind": "adaptive", "cutoffs": [2]}}, "one softmax, and this one has model.output.kind adaptive"),
    ],
)
def test_a_network_that_mxnet_lacks_is_refused_in_plain_words(
    make_run: MakeRun, tmp_path: Path, model: dict[str, Any], message: str
) -> None:
    run = make_run(embedding_size=3, hidden_sizes=[4, 4], **model)
    with pytest.raises(InputError, match=message):
        export_model(run, str(tmp_path / "model"))
    assert not list(tmp_path.glob("model*"))


def test_no_file_is_written_over(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(**MODELS["tanh"])
    (tmp_path / "model-vocabulary.json").write_text("{}")
    with pytest.raises(InputError, match=r"model-vocabulary.json is already there"):
        export_model(run, str(tmp_path / "model"))
    assert [path.name for path in tmp_path.glob("model*")] == ["model-vocabulary.json"]


def test_what_mxnet_does_otherwise_in_training_is_told(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(embedding_size=3, hidden_sizes=[4], dropout={"embedding": 0.1, "output": 0.2})
    notes = export_model(run, str(tmp_path / "model")).notes
    assert len(notes) == 2
    assert "mask at every step" in notes[0]
    assert "whole word types" in notes[1]


@pytest.mark.parametrize(
    ("dropout", "told"),
    [
        ({"input": 0.1}, True),
        ({"between": 0.1}, True),
        ({"output": 0.1}, True),
        ({}, False),
        ({"output": 0.1, "locked": False}, False),
        ({"state": 0.1}, False),
    ],
)
def test_masks_of_every_step_are_told_where_masks_are_locked(dropout: dict[str, Any], told: bool) -> None:
    model = {"embedding_size": 3, "hidden_sizes": [4, 4], "dropout": {"locked": True} | dropout}
    options = parse_recipe({"model": model}, "test").model
    assert len(_notes(options, "word")) == told
    assert len(_notes(options, "character")) == told
    assert "byte pairs" in _notes(options, "bpe")[-1]


def test_what_was_exported_in_json(make_run: MakeRun, tmp_path: Path) -> None:
    exported = export_model(make_run(embedding_size=3, hidden_sizes=[4]), str(tmp_path / "model"))
    # embedding 5 x 3, LSTM 4 (4 x 3 + 4 x 4) + 2 biases of 16, decoder 5 x 4 + 5
    assert exported.to_json() == {
        "symbol": str(tmp_path / "model-symbol.json"),
        "params": str(tmp_path / "model-0000.params"),
        "vocabulary": str(tmp_path / "model-vocabulary.json"),
        "parameters": 15 + 144 + 25,
        "notes": list(exported.notes),
    }
