import copy
import math

import pytest
import safetensors.torch
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import CorruptFileError, InputError, RecurlmWarning
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory import State, begin, check_state, initial_state, model_digest, state_after
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
    whole = state_after(model, ids, start)
    monkeypatch.setattr("recurlm.models.memory.STEPS_AT_ONCE", 3)
    parts = state_after(model, ids[17:], state_after(model, [], state_after(model, ids[:17], start)))
    assert (parts.last, parts.model) == (whole.last, whole.model) == (ids[-1], "d")
    for mine, theirs in zip(parts.layers, whole.layers, strict=True):
        for left, right in zip(mine, theirs, strict=True):
            torch.testing.assert_close(left, right)


def test_the_state_is_that_of_a_loop(model):
    layers = model.initial_state(1)
    with torch.no_grad():
        for token in [0, 3, 5]:
            _, layers = model(torch.tensor([[token]]), layers)
    state = state_after(model, [3, 5, 7], initial_state(model, ""))
    assert state.last == 7
    for mine, theirs in zip(state.layers, layers, strict=True):
        for left, right in zip(mine, theirs, strict=True):
            torch.testing.assert_close(left, right)


def test_a_saved_state_comes_back_equal(model, tmp_path):
    state = state_after(model, [1, 2, 3], initial_state(model, "digest"))
    state.save(tmp_path / "state")
    loaded = State.load(tmp_path / "state")
    assert loaded == state
    assert hash(loaded) == hash(state)
    assert (tmp_path / "state").stat().st_size < 2000
    assert copy.deepcopy(state) == state


def test_states_differ_by_what_was_read_and_by_their_model(model):
    start = initial_state(model, "d")
    assert state_after(model, [1, 2], start) != state_after(model, [2, 2], start)
    assert state_after(model, [1, 2], start) != state_after(model, [1, 3], start)
    assert start != initial_state(model, "e")
    assert start != "d"


def test_going_on_from_a_state_leaves_it_as_it_is(model):
    state = state_after(model, [1, 2, 3], initial_state(model, "d"))
    before = copy.deepcopy(state)
    state_after(model, [4, 5], state)
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
    safetensors.torch.save_file({"0.0": torch.zeros(1, 2)}, tmp_path / "state")
    with pytest.raises(CorruptFileError, match="not a state"):
        State.load(tmp_path / "state")


@pytest.mark.parametrize("bit", [0, 3, 6])
def test_one_flipped_bit_anywhere_is_noticed(model, tmp_path, bit):
    path = tmp_path / "state"
    state_after(model, [1, 2, 3], initial_state(model, "digest")).save(path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(CorruptFileError):
            State.load(path)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_state_cut_short_is_refused(model, tmp_path, length):
    path = tmp_path / "state"
    initial_state(model, "digest").save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CorruptFileError):
        State.load(path)


def write_old_state(path, tensors, last="3", model="d"):
    """A file as version 0.1.0 wrote it: without a digest."""
    safetensors.torch.save_file(tensors, path, {"format": "recurlm state 1", "last": last, "model": model})


def test_a_file_of_version_0_1_0_is_read_with_a_warning(tmp_path):
    write_old_state(tmp_path / "state", {"0.0": torch.ones(1, 2)})
    with pytest.warns(RecurlmWarning, match="without a digest, so not verified") as caught:
        assert State.load(tmp_path / "state") == State(((torch.ones(1, 2),),), 3, "d")
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "tensors",
    [
        {"0.1": torch.ones(1, 2)},
        {"1.0": torch.ones(1, 2)},
        {"0.0": torch.ones(1, 2), "0.0 ": torch.ones(1, 2)},
        {"0.0": torch.ones(1, 2), "99999999999.0": torch.ones(1, 2)},
        {"weights": torch.ones(1, 2)},
        {"0.0": torch.ones(2)},
        {"0.0": torch.tensor(1.0)},
        {"0.0": torch.ones(2, 2)},
        {"0.0": torch.ones(1, 2, dtype=torch.int64)},
        {"0.0": torch.tensor([[1.0, float("nan")]])},
        {"0.0": torch.tensor([[1.0, float("inf")]])},
    ],
    ids=range(11),
)
def test_what_cannot_be_the_layers_of_a_model_is_refused(tmp_path, tensors):
    write_old_state(tmp_path / "state", tensors)
    with pytest.raises(CorruptFileError, match=r"not a state|not finite"):
        State.load(tmp_path / "state")


@pytest.mark.parametrize("last", ["", "-1", "x", "1e3", "9" * 5000, "³"])
def test_a_last_token_that_is_no_number_is_refused(tmp_path, last):
    write_old_state(tmp_path / "state", {"0.0": torch.ones(1, 2)}, last=last)
    with pytest.raises(CorruptFileError, match="last token is not a number"):
        State.load(tmp_path / "state")


def test_a_state_that_does_not_fit_its_model_is_refused_before_it_is_used(model):
    layers = model.initial_state(1)
    check_state(State(layers, 9, "d"), model, "d")
    for state in (
        State(layers, 10, "d"),
        State(layers[:1], 1, "d"),
        State((*layers, *layers), 1, "d"),
        State(tuple(tuple(tensor[:, :-1] for tensor in layer) for layer in layers), 1, "d"),
        State((), 1, "d"),
    ):
        with pytest.raises(InputError, match="read the text again"):
            check_state(state, model, "d")
    with pytest.raises(InputError, match="belongs to the model"):
        check_state(State(layers, 9, "e"), model, "d")


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
