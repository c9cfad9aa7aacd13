import pytest
import torch

from recurlm.config import Dropout, ModelOptions, UniformInitialisation
from recurlm.models.dropout import KeptColumns, SequenceDropout, drop_word_types, keeping_columns, mask
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_a_mask_drops_its_share_and_keeps_the_expectation():
    drawn = mask((400, 500), 0.3, torch.zeros(1))
    assert drawn.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # 200,000 draws: the share has a standard deviation of 0.001
    assert (drawn == 0).double().mean().item() == pytest.approx(0.3, abs=0.006)
    assert drawn.double().mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_mask_has_the_type_of_what_it_masks(dtype):
    assert mask((2, 2), 0.5, torch.zeros(1, dtype=dtype)).dtype == dtype


def test_a_locked_mask_is_the_same_at_every_step_and_not_in_every_column():
    output = SequenceDropout(0.5, locked=True).train()(torch.ones(20, 6, 40))
    assert all(torch.equal(step, output[0]) for step in output)
    assert not all(torch.equal(column, output[0, 0]) for column in output[0])


def test_an_unlocked_mask_changes_from_step_to_step():
    output = SequenceDropout(0.5, locked=False).train()(torch.ones(20, 6, 40))
    assert len({tuple(step.flatten().tolist()) for step in output}) == 20


@pytest.mark.parametrize("locked", [True, False])
def test_dropout_draws_anew_each_time_and_keeps_the_expectation(locked):
    layer = SequenceDropout(0.4, locked=locked).train()
    one, other = layer(torch.ones(3, 200, 300)), layer(torch.ones(3, 200, 300))
    assert not torch.equal(one, other)
    assert one.mean().item() == pytest.approx(1.0, abs=0.02)
    assert one.unique().tolist() == pytest.approx([0, 1 / 0.6])


@pytest.mark.parametrize("locked", [True, False])
def test_dropout_rests_outside_training_and_at_zero(locked):
    value = torch.randn(3, 4, 5)
    assert torch.equal(SequenceDropout(0.9, locked=locked).eval()(value), value)
    assert torch.equal(SequenceDropout(0.0, locked=locked).train()(value), value)


def test_word_types_are_dropped_everywhere_or_nowhere():
    tokens = torch.randint(50, (30, 8))
    output = drop_word_types(torch.ones(30, 8, 5), tokens, 50, 0.5)
    factor = {}
    for token, vector in zip(tokens.flatten().tolist(), output.flatten(0, 1), strict=True):
        assert len(set(vector.tolist())) == 1
        assert factor.setdefault(token, vector[0].item()) == vector[0].item()
    assert set(factor.values()) == {0.0, 2.0}


def test_word_types_are_dropped_in_their_share():
    tokens = torch.arange(100_000)[None]
    output = drop_word_types(torch.ones(1, 100_000, 1), tokens, 100_000, 0.1)
    assert (output == 0).double().mean().item() == pytest.approx(0.1, abs=0.006)
    assert output.mean().item() == pytest.approx(1.0, abs=0.01)


def logits(model: LanguageModel) -> torch.Tensor:
    tokens = torch.arange(12).view(6, 2)
    return model(tokens, model.initial_state(2))[0]


@pytest.mark.parametrize("place", ["embedding", "input", "between", "output"])
def test_each_dropout_of_a_model_acts_in_training_only(place):
    options = ModelOptions(embedding_size=8, hidden_sizes=(8, 8), dropout=Dropout(**{place: 0.5}))
    model = LanguageModel(options, 12)
    initialise(model, UniformInitialisation(scale=0.5))
    model.train()
    assert not torch.equal(logits(model), logits(model))
    model.eval()
    assert torch.equal(logits(model), logits(model))
    plain = LanguageModel(options.model_copy(update={"dropout": Dropout()}), 12)
    plain.load_weights(model.weights())
    assert torch.equal(logits(plain.train()), logits(model))


@pytest.mark.parametrize("locked", [True, False])
def test_processes_together_draw_the_masks_that_one_draws(locked):
    dropout, values = SequenceDropout(0.5, locked=locked), torch.rand(6, 5, 7)
    torch.manual_seed(3)
    whole, after = dropout(values), torch.rand(1)
    for first, columns in ((0, 2), (2, 3)):
        torch.manual_seed(3)
        with keeping_columns(KeptColumns(first, columns, 5)):
            part = dropout(values[:, first : first + columns])
        assert torch.equal(part, whole[:, first : first + columns])
        assert torch.equal(torch.rand(1), after)
