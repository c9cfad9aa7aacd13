import copy
import math

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import CorruptFileError, InputError
from recurlm.evaluation.reading import State, begin, initial_state, model_digest, read
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("<eos>", *"abcdefghi"))


@pytest.fixture(params=["lstm", "gru", "tanh"])
def model(request) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(cell=request.param, embedding_size=6, hidden_sizes=(7, 8)), 10)
    initialise(made, UniformInitialisation(scale=0.8))
    return made


def test_reading_in_parts_is_reading_at_once(monkeypatch, model):
    ids = torch.randint(1, 10, (40,)).tolist()
    start = initial_state(model, "d")
    whole = read(model, ids, start)
    monkeypatch.setattr("recurlm.evaluation.reading.STEPS_AT_ONCE", 3)
    parts = read(model, ids[17:], read(model, [], read(model, ids[:17], start)))
    assert (parts.last, parts.model) == (whole.last, whole.model) == (ids[-1], "d")
    for mine, theirs in zip(parts.layers, whole.layers, strict=True):
        for left, right in zip(mine, theirs, strict=True):
            torch.testing.assert_close(left, right)


def test_the_state_is_that_of_a_loop(model):
    layers = model.initial_state(1)
    with torch.no_grad():
        for token in [0, 3, 5]:
            _, layers = model(torch.tensor([[token]]), layers)
    state = read(model, [3, 5, 7], initial_state(model, ""))
    assert state.last == 7
    for mine, theirs in zip(state.layers, layers, strict=True):
        for left, right in zip(mine, theirs, strict=True):
            torch.testing.assert_close(left, right)


def test_a_saved_state_comes_back_equal(model, tmp_path):
    state = read(model, [1, 2, 3], initial_state(model, "digest"))
    state.save(tmp_path / "state")
    loaded = State.load(tmp_path / "state")
    assert loaded == state
    assert hash(loaded) == hash(state)
    assert (tmp_path / "state").stat().st_size < 2000
    assert copy.deepcopy(state) == state


def test_states_differ_by_what_was_read_and_by_their_model(model):
    start = initial_state(model, "d")
    assert read(model, [1, 2], start) != read(model, [2, 2], start)
    assert read(model, [1, 2], start) != read(model, [1, 3], start)
    assert start != initial_state(model, "e")
    assert start != "d"


def test_going_on_from_a_state_leaves_it_as_it_is(model):
    state = read(model, [1, 2, 3], initial_state(model, "d"))
    before = copy.deepcopy(state)
    read(model, [4, 5], state)
    _, layers = begin(model, state, 3)
    model(torch.tensor([[1, 2, 3]]), layers)
    assert state == before


@pytest.mark.parametrize("content", [b"", b"text", b"\x10\0\0\0\0\0\0\0{}"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="not a whole safetensors file"):
        State.load(path)


def test_other_tensors_are_refused(tmp_path):
    import safetensors.torch

    safetensors.torch.save_file({"0.0": torch.zeros(1, 2)}, tmp_path / "state")
    with pytest.raises(CorruptFileError, match="not a state"):
        State.load(tmp_path / "state")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no such file: .*nothing; a state is written by --state-out"):
        State.load(tmp_path / "nothing")


def test_the_digest_is_of_weights_and_vocabulary(model):
    digest = model_digest(model, VOCABULARY)
    assert digest == model_digest(model, Vocabulary(VOCABULARY.tokens))
    assert digest != model_digest(model, Vocabulary(("<eos>", *"abcdefghj")))
    with torch.no_grad():
        model.decoder.bias[0] = math.nextafter(model.decoder.bias[0].item(), 2) + 1e-3
    assert digest != model_digest(model, VOCABULARY)
