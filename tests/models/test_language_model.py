import pytest
import torch

from recurlm.config import ModelOptions, XavierInitialisation
from recurlm.models.cells import CELLS
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.recipe_files import load_recipe


def made(vocabulary_size: int = 11, seed: int = 0, **options) -> LanguageModel:
    torch.manual_seed(seed)
    model = LanguageModel(ModelOptions(**options), vocabulary_size)
    initialise(model, XavierInitialisation())
    return model.eval()


SMALL = {"embedding_size": 6, "hidden_sizes": (5, 6)}


def test_shapes():
    model = made(**SMALL)
    logits, state = model(torch.randint(11, (7, 3)), model.initial_state(3))
    assert logits.shape == (7, 3, 11)
    assert [[tuple(part.shape) for part in layer] for layer in state] == [[(3, 5)] * 2, [(3, 6)] * 2]
    assert model.hidden(torch.randint(11, (7, 3)), model.initial_state(3))[0].shape == (7, 3, 6)
    assert model.vocabulary_size == 11


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # embedding 11*6, layer 1: 4*5*(6+5+2), layer 2: 4*6*(5+6+2), decoder 11*6 + 11
        (SMALL, 66 + 260 + 312 + 77),
        ({**SMALL, "decoder_bias": False}, 66 + 260 + 312 + 66),
        ({**SMALL, "tied": True}, 66 + 260 + 312 + 11),
        ({**SMALL, "cell": "gru"}, 66 + 195 + 234 + 77),
        ({**SMALL, "cell": "sigmoid", "hidden_sizes": (4,)}, 66 + 4 * 12 + 55),
        ({**SMALL, "input_gate": "capped"}, 66 + 260 + 312 + 77),
        ({**SMALL, "input_gate": "coupled"}, 66 + 195 + 234 + 77),
        # gains of the two sums, gain and bias of the cell state: 2*4*H + 2*H
        ({**SMALL, "cell": "layer-norm-lstm"}, 66 + 260 + 50 + 312 + 60 + 77),
        # rounds of the first layer: 3 of 6*(5+1), 2 of 5*(6+1); of the second: 3 of 5*(6+1), 2 of 6*(5+1)
        ({**SMALL, "cell": "mogrifier"}, 66 + 260 + 108 + 70 + 312 + 105 + 72 + 77),
        # two rounds of rank 2: 2*(5+6) + 6 and 2*(6+5) + 5, the same in both layers
        ({**SMALL, "cell": "mogrifier", "mogrifier": {"rounds": 2, "rank": 2}}, 66 + 260 + 312 + 2 * 55 + 77),
        ({**SMALL, "cell": "mingru"}, 66 + 2 * 5 * 7 + 2 * 6 * 6 + 77),
        ({**SMALL, "cell": "qrnn", "qrnn": {"window": (2, 1)}}, 66 + 3 * 5 * 13 + 3 * 6 * 6 + 77),
    ],
)
def test_parameters_counted_by_hand(options, count):
    assert made(**options).parameter_count() == count


def test_the_mogrifier_recipe_has_the_papers_number_of_parameters():
    model = load_recipe("mogrifier").model
    with torch.device("meta"):
        assert LanguageModel(model, 10_000).parameter_count() == pytest.approx(24e6, rel=1e-3)


def test_the_seed_documents_model_has_its_number_of_parameters():
    # two LSTM layers of 256 on 256: 4*256*(256+256+2) each; embedding and decoder 10,000 words
    assert made(10_000).parameter_count() == 2_560_000 + 2 * 526_336 + 2_570_000


def test_tied_embeddings_are_one_matrix():
    model = made(tied=True, **SMALL)
    assert model.decoder.weight is model.embedding.weight
    logits, _ = model(torch.tensor([[1]]), model.initial_state(1))
    logits.sum().backward()
    # word 7 was not read, so its gradient comes from the decoder
    assert model.embedding.weight.grad[7].any()
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert not model.decoder.weight.any()


@pytest.mark.parametrize("tied", [False, True])
def test_weights_go_round(tied):
    model, other = made(seed=1, tied=tied, **SMALL), made(seed=2, tied=tied, **SMALL)
    weights = model.weights()
    assert ("decoder.weight" in weights) == (not tied)
    assert sum(tensor.numel() for tensor in weights.values()) == model.parameter_count()
    assert not any(tensor.requires_grad for tensor in weights.values())
    tokens = torch.randint(11, (7, 3))
    state = model.initial_state(3)
    assert not torch.equal(other(tokens, state)[0], model(tokens, state)[0])
    other.load_weights({name: tensor.clone() for name, tensor in weights.items()})
    assert torch.equal(other(tokens, state)[0], model(tokens, state)[0])
    assert (other.decoder.weight is other.embedding.weight) == tied


def test_weights_of_another_shape_or_name_are_refused():
    model = made(**SMALL)
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_weights(made(12, **SMALL).weights())
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_weights({"embedding.weight": model.weights()["embedding.weight"]})


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_no_logit_depends_on_a_later_token(cell):
    model = made(cell=cell, residual=True, embedding_size=5, hidden_sizes=(5, 5))
    tokens = torch.randint(11, (6, 2))
    before, _ = model(tokens, model.initial_state(2))
    for step in range(6):
        changed = tokens.clone()
        changed[step] = (changed[step] + 1) % 11
        after, _ = model(changed, model.initial_state(2))
        assert torch.equal(after[:step], before[:step])
        assert not torch.allclose(after[step], before[step])


def test_a_text_in_two_pieces_with_the_state_carried_is_the_text():
    model = made(**SMALL)
    tokens = torch.randint(11, (9, 2))
    whole, last = model(tokens, model.initial_state(2))
    first, between = model(tokens[:4], model.initial_state(2))
    second, end = model(tokens[4:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_steps_one_by_one_are_the_sweep(cell):
    options = ModelOptions(cell=cell, embedding_size=6, hidden_sizes=(6, 5, 5), residual=True)
    torch.manual_seed(2)
    model = LanguageModel(options, 9).double().eval()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, -0.5, 0.5)
    tokens = torch.randint(9, (7, 3))
    expected, last = model(tokens, model.initial_state(3))
    state = model.initial_state(3)
    for step, each in enumerate(tokens):
        logits, state = model.step(each, state)
        torch.testing.assert_close(logits, expected[step], atol=1e-10, rtol=0)
    for layer, final in zip(state, last, strict=True):
        for tensor, wanted in zip(layer, final, strict=True):
            torch.testing.assert_close(tensor, wanted, atol=1e-10, rtol=0)
