"""MXNet's models as run folders: the recorded ones, half precision, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recurlm.errors import CorruptFileError, InputError
from recurlm.evaluation.token_losses import token_losses
from recurlm.interface.model import Model, load
from recurlm.mxnet.architecture import (
    Architecture,
    Decoder,
    EmbeddingNode,
    PackedParameters,
    RecurrentLayer,
)
from recurlm.mxnet.conversion import model_values
from recurlm.mxnet.importing import import_model
from recurlm.mxnet.params import BFLOAT16, read_params, write_params
from recurlm.mxnet.vocabulary import write_vocabulary
from recurlm.runs.folder import RunFolder

FIXTURES = Path(__file__).parent / "fixtures"
TINY = Path(__file__).parents[1] / "fixtures" / "mxnet"
MODELS = ["lstm_packed", "lstm_unpacked", "lstm_momentum", "lstm_fused"]
MODELS += ["gru_packed", "gru_fused", "rnn_tanh", "rnn_relu"]


def imported(name: str, out: Path, *, epoch: int = 1, vocabulary: Path | None = None) -> Model:
    import_model(str(TINY / name / "model"), epoch, vocabulary or TINY / name / "vocab.json", out)
    return load(out)


def next_logprobs(model: Model, ids: list[int]) -> torch.Tensor:
    tokens = torch.tensor(ids)[:, None]
    losses, _ = token_losses(model.network, tokens[:-1], tokens[1:], model.network.initial_state(1))
    return -losses[:, 0]


@pytest.fixture
def nine_words(tmp_path: Path) -> Path:
    """A vocabulary for the graphs that MXNet emitted for the tests."""
    path = tmp_path / "nine.json"
    write_vocabulary(path, {"\n": 0, **{f"word{number}": number for number in range(1, 9)}})
    return path


@pytest.mark.parametrize("name", MODELS)
def test_recorded_models_score_as_mxnet_does(name: str, tmp_path: Path) -> None:
    model = imported(name, tmp_path / "run")
    for sentence in json.loads((TINY / name / "truth.json").read_text())["scored_by_0001"]:
        expected = torch.tensor(sentence["logprob_of_next"], dtype=torch.float64)
        torch.testing.assert_close(next_logprobs(model, sentence["ids"]), expected, rtol=0, atol=1e-5)


def test_words_keep_their_ids_and_the_line_feed_becomes_eos(tmp_path: Path) -> None:
    tokens = imported("lstm_packed", tmp_path / "run").codec.vocabulary.tokens
    vocabulary = json.loads((TINY / "lstm_packed" / "vocab.json").read_text())
    assert tokens[0] == "<eos>"
    assert {word: number for number, word in enumerate(tokens)} == {
        "<eos>" if word == "\n" else word: number for word, number in vocabulary.items()
    }


def test_the_training_text_gives_the_same_run_as_the_vocabulary(tmp_path: Path) -> None:
    imported("lstm_packed", tmp_path / "json")
    imported("lstm_packed", tmp_path / "text", vocabulary=TINY / "tiny.train.txt")
    for name in ("model.safetensors", "vocabulary.json"):
        assert (tmp_path / "json" / name).read_bytes() == (tmp_path / "text" / name).read_bytes()


def test_the_run_says_where_it_came_from(tmp_path: Path) -> None:
    imported("gru_fused", tmp_path / "run")
    config = RunFolder(tmp_path / "run").config()
    assert config["imported"]["mxnet"]["epoch"] == 1
    assert set(config["imported"]["mxnet"]["files"]) == {"model-symbol.json", "model-0001.params", "vocab.json"}
    assert config["corpus"]["source"] == ""
    assert config["recipe"]["model"]["cell"] == "gru"
    assert config["recipe"]["batches"]["padding"] == "trained"
    assert config["recipe"]["validation"]["protocol"] == "mxnet"
    assert (config["seed"], config["device"], config["precision"]) == (1, "cpu", "fp32")
    assert (config["time_limit"], config["threads"]) == (None, torch.get_num_threads())


GRAPHS = ["tied", "fused", "unfused", "fused_time_major", "time_major", "no_head"]
GRAPHS += ["dropout", "sizes", "residual", "fused_residual", "mixed"]


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_of_mxnet_compute_what_it_computed(name: str, tmp_path: Path, nine_words: Path) -> None:
    import_model(str(FIXTURES / name), 0, nine_words, tmp_path / "run")
    network = load(tmp_path / "run").network
    words = torch.tensor([[1, 5, 2], [8, 0, 3]]).t()
    with torch.no_grad():
        found = network(words, network.initial_state(2))[0].log_softmax(-1)
    rows = found if "time_major" in name else found.transpose(0, 1)
    recorded = torch.tensor(json.loads((FIXTURES / f"{name}-output.json").read_text())).reshape(rows.shape)
    expected = recorded.log_softmax(-1) if name == "no_head" else recorded.log()
    torch.testing.assert_close(rows, expected, rtol=0, atol=5e-6)


def test_dropout_stands_where_it_stood(tmp_path: Path, nine_words: Path) -> None:
    found = import_model(str(FIXTURES / "fused"), 0, nine_words, tmp_path / "run").options
    assert (found.dropout.input, found.dropout.between, found.dropout.output) == (0.0, 0.4, 0.0)
    assert not found.dropout.locked


def test_every_wrapper_stands_around_its_own_layer(tmp_path: Path, nine_words: Path) -> None:
    found = import_model(str(FIXTURES / "mixed"), 0, nine_words, tmp_path / "run").options
    assert found.cells == ("gru", "lstm", "relu", "lstm")
    assert found.residuals == (True, False, True, True)
    assert found.dropouts_between == (0.2, 0.0, 0.3)
    assert (found.dropout.input, found.dropout.output) == (0.1, 0.4)


@pytest.mark.parametrize(
    ("name", "node", "reason"),
    [
        ("shared", "both_i2h_weight", "share"),
        ("refused_zoneout", "ones_like0", "zoneout"),
        ("refused_bidirectional", "b_t0_h2h", "bidirectional"),
        ("refused_two_inputs", "joined", "'topic'"),
    ],
)
def test_what_does_not_fit_is_refused_by_node(
    name: str, node: str, reason: str, tmp_path: Path, nine_words: Path
) -> None:
    with pytest.raises(InputError, match=f"{name}-symbol.json: node '{node}'.*{reason}"):
        import_model(str(FIXTURES / name), 0, nine_words, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def stack(*layers: RecurrentLayer) -> Architecture:
    return Architecture(EmbeddingNode("words", 9, 4), layers, Decoder("scores", None, 4, 9))


def lstm(prefix: str, **wrappers: Any) -> RecurrentLayer:
    """Four units over four."""
    names = (f"{prefix}_{part}" for part in ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias"))
    return RecurrentLayer("lstm", 4, 4, PackedParameters(*names), **wrappers)


def test_what_all_layers_have_is_written_once() -> None:
    found = model_values(stack(lstm("a", dropout_before=0.1), *(lstm(name, dropout_before=0.2) for name in "bc")))
    assert (found["cell"], found["residual"], found["dropout"]["between"]) == ("lstm", False, 0.2)
    assert model_values(stack(lstm("a", residual=True), lstm("b", residual=True)))["residual"] is True
    assert model_values(stack(lstm("a")))["dropout"]["between"] == 0.0


def test_what_layers_have_for_themselves_is_written_layer_by_layer() -> None:
    gru = replace(lstm("b", residual=True, dropout_before=0.2), kind="gru")
    found = model_values(stack(lstm("a", dropout_before=0.1), gru, lstm("c", dropout_before=0.3)))
    assert found["cell"] == ["lstm", "gru", "lstm"]
    assert found["residual"] == [False, True, False]
    assert found["dropout"]["between"] == [0.2, 0.3]


def test_layers_that_share_a_single_weight_are_refused() -> None:
    other = lstm("b")
    shared = replace(other, parameters=replace(other.parameters, recurrent_weight="a_h2h_weight"))
    with pytest.raises(InputError, match="node 'a_h2h_weight': two layers share it"):
        model_values(stack(lstm("a"), shared))


@pytest.fixture
def narrow(tmp_path: Path) -> str:
    """lstm_packed with a bfloat16 embedding, float16 cells and a float64 bias; returns its prefix."""
    params = read_params(TINY / "lstm_packed" / "model-0001.params")
    for name, array in params.items():
        if name == "arg:embed_weight":
            bits = (array.view("<u4") >> 16).astype("<u2")
            params[name] = bits.view(BFLOAT16)
        elif name == "arg:pred_bias":
            params[name] = array.astype("<f8")
        elif name.startswith("arg:lstm"):
            params[name] = array.astype("<f2")
    write_params(tmp_path / "narrow-0003.params", params)
    shutil.copy(TINY / "lstm_packed" / "model-symbol.json", tmp_path / "narrow-symbol.json")
    return str(tmp_path / "narrow")


@pytest.mark.parametrize("widen", [False, True])
def test_half_precision_is_kept_or_widened(narrow: str, tmp_path: Path, widen: bool) -> None:
    found = import_model(narrow, 3, TINY / "lstm_packed" / "vocab.json", tmp_path / "run", widen=widen)
    tensors = load_file(tmp_path / "run" / "model.safetensors")
    half, short = (torch.float32, torch.float32) if widen else (torch.float16, torch.bfloat16)
    assert tensors["stack.layers.0.weight_ih"].dtype == half
    assert tensors["embedding.weight"].dtype == short
    assert tensors["decoder.bias"].dtype == torch.float32
    assert found.dtypes == (("float32",) if widen else ("bfloat16", "float16", "float32"))
    assert any("float64" in note for note in found.notes)
    exact = read_params(Path(f"{narrow}-0003.params"))
    network = load(tmp_path / "run").network
    np.testing.assert_array_equal(network.embedding.weight.detach().numpy(), exact["arg:embed_weight"])
    np.testing.assert_array_equal(
        network.stack.cells[1].weight_hh.detach().numpy(), exact["arg:lstm_l1_h2h_weight"].astype(np.float32)
    )


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    params = read_params(TINY / "rnn_tanh" / "model-0001.params")
    params["arg:pred_weight"][3, 1] = np.nan
    write_params(tmp_path / "model-0001.params", params)
    shutil.copy(TINY / "rnn_tanh" / "model-symbol.json", tmp_path)
    with pytest.raises(InputError, match=r"model-0001.params: parameter 'pred_weight': .*not finite"):
        import_model(str(tmp_path / "model"), 1, TINY / "rnn_tanh" / "vocab.json", tmp_path / "run")


def test_parameters_that_the_graph_does_not_use_are_told(tmp_path: Path) -> None:
    params = read_params(TINY / "rnn_tanh" / "model-0001.params")
    write_params(tmp_path / "model-0001.params", {**params, "aux:mean": np.zeros(3, np.float32)})
    shutil.copy(TINY / "rnn_tanh" / "model-symbol.json", tmp_path)
    found = import_model(str(tmp_path / "model"), 1, TINY / "rnn_tanh" / "vocab.json", tmp_path / "run")
    assert found.unused == ("aux:mean",)


WORDS = [f"word{number}" for number in range(37)]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["\n", *WORDS[:-1]], "37 words"),
        (["first", *WORDS], "id 0 is the word 'first'"),
        (["\n", *WORDS[:-1], "<eos>"], "'<eos>' has id 37"),
        (["<eos>", "\n", *WORDS[:-1]], r"'\\n' has id 1"),
    ],
)
def test_vocabularies_that_do_not_belong(words: list[str], reason: str, tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "words.json", {word: number for number, word in enumerate(words)})
    with pytest.raises(InputError, match=reason):
        imported("lstm_packed", tmp_path / "run", vocabulary=tmp_path / "words.json")
    assert not (tmp_path / "run").exists()


def test_eos_may_be_written_for_the_line_feed(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "words.json", {word: number for number, word in enumerate(["<eos>", *WORDS])})
    model = imported("lstm_packed", tmp_path / "run", vocabulary=tmp_path / "words.json")
    assert model.codec.vocabulary.tokens == ("<eos>", *WORDS)


def test_words_that_hold_a_line_feed_are_told(tmp_path: Path) -> None:
    write_vocabulary(tmp_path / "words.json", {word: number for number, word in enumerate(["\n", *WORDS[1:], "end\n"])})
    found = import_model(str(TINY / "gru_packed" / "model"), 1, tmp_path / "words.json", tmp_path / "run")
    assert any("1 words hold a line feed" in note and r"'end\n'" in note for note in found.notes)


def test_a_folder_with_a_run_is_never_written_over(tmp_path: Path) -> None:
    imported("lstm_packed", tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(InputError, match="already holds a run"):
        imported("gru_packed", tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        imported("gru_packed", tmp_path / "file")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    shutil.copytree(TINY / "lstm_packed", tmp_path / "model")
    path = tmp_path / "model" / "model-0001.params"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFileError):
        import_model(str(tmp_path / "model" / "model"), 1, tmp_path / "model" / "vocab.json", tmp_path / "run")
    assert not (tmp_path / "run").exists()
