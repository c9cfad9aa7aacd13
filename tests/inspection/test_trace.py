"""Traces of memories against torch's own layers and equations written out."""

import math
import threading

import numpy as np
import pytest
import torch

from recurlm.config import ModelOptions
from recurlm.errors import InputError
from recurlm.inspection.trace import trace
from recurlm.models.language_model import LanguageModel

IDS = (3, 5, 0, 7, 7, 2)


def make_model(cell: str, **options) -> LanguageModel:
    torch.manual_seed(2)
    model = LanguageModel(ModelOptions(cell=cell, embedding_size=6, hidden_sizes=(5, 4), **options), 9).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


@torch.no_grad()
def test_the_states_are_those_of_torchs_lstm():
    model = make_model("lstm")
    expected = model.embedding(torch.tensor([0, *IDS]))[:, None]
    for layer, traced in zip(model.stack.cells, trace(model, IDS).layers, strict=True):
        peer = torch.nn.LSTM(layer.input_size, layer.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(peer, f"{name}_l0").copy_(getattr(layer, name))
        expected, _ = peer(expected)
        np.testing.assert_allclose(traced.values["hidden"], expected[1:, 0], atol=1e-5)
        gates = traced.values
        before = np.concatenate([np.full_like(gates["cell"][:1], np.nan), gates["cell"][:-1]])
        cell = gates["forget"] * before + gates["input_gate"] * gates["candidate"]
        np.testing.assert_allclose(gates["cell"][1:], cell[1:], atol=1e-5)
        np.testing.assert_allclose(gates["hidden"], gates["output_gate"] * np.tanh(gates["cell"]), atol=1e-5)


@torch.no_grad()
def test_predictions_are_those_of_the_whole_text_at_once():
    model = make_model("gru")
    found = trace(model, IDS, guesses=2)
    logits, _ = model(torch.tensor([0, *IDS[:-1]])[:, None], model.initial_state(1))
    logprobs = logits[:, 0].double().log_softmax(-1).numpy()
    for step, index in enumerate(IDS):
        row = logprobs[step]
        assert found.surprisal[step] == pytest.approx(-row[index] / math.log(2), abs=1e-5)
        assert found.entropy[step] == pytest.approx(-(np.exp(row) * row).sum() / math.log(2), abs=1e-5)
        assert found.rank[step] == 1 + (row > row[index]).sum()
        best = np.argsort(-row)[:2]
        assert [index for index, _ in found.guesses[step]] == best.tolist()
        assert [share for _, share in found.guesses[step]] == pytest.approx(np.exp(row[best]).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("lstm", {"hidden", "cell", "input_gate", "forget", "candidate", "output_gate"}),
        ("mogrifier", {"hidden", "cell", "input_gate", "forget", "candidate", "output_gate"}),
        ("layer-norm-lstm", {"hidden", "cell", "input_gate", "forget", "candidate", "output_gate"}),
        ("gru", {"hidden", "reset", "update", "candidate"}),
        ("mingru", {"hidden", "update", "candidate"}),
        ("qrnn", {"cell", "forget", "candidate", "output_gate"}),
        ("tanh", {"hidden"}),
    ],
)
def test_every_cell_shows_its_state_and_gates_after_each_token(cell, names):
    for layer, size in zip(trace(make_model(cell), IDS).layers, (5, 4), strict=True):
        assert layer.values.keys() == names
        assert {values.shape for values in layer.values.values()} == {(len(IDS), size)}


def test_a_cell_keeps_nothing_outside_of_observing():
    model = make_model("lstm")
    trace(model, IDS)
    assert all(cell._observed is None for cell in model.stack.cells)


@pytest.mark.parametrize("count", [0, 10_001])
def test_no_text_and_a_text_too_long_are_refused(count):
    with pytest.raises(InputError, match="give from 1 to 10,000"):
        trace(make_model("tanh"), [1] * count)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_steps_of_another_thread_are_not_observed(cell):
    (layer, _) = make_model(cell).stack.cells
    step = (torch.zeros(1, 6), layer.initial_state(1))
    with torch.no_grad(), layer.observing() as seen:
        other = threading.Thread(target=layer, args=step)
        other.start()
        other.join()
        assert seen == {}
        layer(*step)
    assert {len(values) for values in seen.values()} == {1}


def test_a_trace_ends_where_its_tick_raises():
    def tick(tokens):
        read.append(tokens)
        if len(read) == 2:
            raise TimeoutError

    read: list[int] = []
    with pytest.raises(TimeoutError):
        trace(make_model("lstm"), IDS, tick=tick)
    assert read == [1, 1]
