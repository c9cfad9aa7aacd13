import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recurlm.config import (
    AdaptiveOutput,
    MixtureOutput,
    ModelOptions,
    SampledOutput,
    SoftmaxOutput,
    UniformInitialisation,
)
from recurlm.errors import InputError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.outputs import AdaptiveSoftmax, MixtureOfSoftmaxes, SampledSoftmax, Softmax, sample_size
from recurlm.models.stepping import PlainStepper, open_stepper

VOCABULARY, HIDDEN = 23, 8
KINDS = {
    "softmax": SoftmaxOutput(),
    "sampled": SampledOutput(tokens=9),
    "mixture": MixtureOutput(experts=3),
    "adaptive": AdaptiveOutput(cutoffs=(5, 9, 15), divisor=2.0),
}


def made(output, **changes) -> LanguageModel:
    torch.manual_seed(0)
    model = LanguageModel(
        ModelOptions(embedding_size=6, hidden_sizes=(7, HIDDEN), output=output, **changes), VOCABULARY
    )
    initialise(model, UniformInitialisation(scale=0.8))
    return model.eval()


@pytest.fixture(params=KINDS)
def model(request) -> LanguageModel:
    return made(KINDS[request.param])


@pytest.fixture
def hidden() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(5, 4, HIDDEN)


@pytest.fixture
def target() -> Tensor:
    torch.manual_seed(2)
    target = torch.randint(VOCABULARY, (5, 4))
    target[3:, 1] = -100
    return target


def test_the_probabilities_of_all_tokens_sum_to_one(model, hidden):
    found = model.decoder.log_probabilities(hidden)
    assert found.shape == (5, 4, VOCABULARY)
    torch.testing.assert_close(found.double().exp().sum(-1), torch.ones(5, 4).double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.decoder(hidden).log_softmax(-1), found)


def test_losses_and_gradients_are_those_of_the_full_distribution(model, hidden, target):
    total, losses = model.decoder.losses(hidden.requires_grad_(), target)
    inputs = [hidden, *model.decoder.parameters()]
    found = torch.autograd.grad(total, inputs)
    full = model.decoder.log_probabilities(hidden)
    expected = F.nll_loss(full.flatten(0, 1), target.flatten(), reduction="none")
    torch.testing.assert_close(losses, expected.detach().view(target.shape))
    torch.testing.assert_close(total, expected.sum())
    for one, other in zip(found, torch.autograd.grad(expected.sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_mixture_is_a_sum_over_experts(hidden):
    output = made(KINDS["mixture"]).decoder
    with torch.no_grad():
        found = output.log_probabilities(hidden).exp()
        prior = (hidden @ output.prior.weight.t()).softmax(-1)
        latent = torch.tanh(hidden @ output.latent.weight.t() + output.latent.bias)
        expected = torch.zeros(5, 4, VOCABULARY)
        for expert in range(3):
            own = latent[..., 6 * expert : 6 * (expert + 1)]
            expected += prior[..., expert, None] * (own @ output.weight.t() + output.bias).softmax(-1)
    torch.testing.assert_close(found, expected)


def test_a_mixture_is_computed_in_pieces(hidden, target, monkeypatch):
    output = made(KINDS["mixture"]).decoder
    whole, _ = output.losses(hidden, target)
    monkeypatch.setattr("recurlm.models.outputs.MIXTURE_CHUNK_BYTES", 4 * 3 * VOCABULARY * 7)
    pieces, _ = output.losses(hidden, target)
    torch.testing.assert_close(pieces, whole)
    wanted = [output.weight, output.latent.weight, output.prior.weight]
    pairs = zip(torch.autograd.grad(pieces, wanted), torch.autograd.grad(whole, wanted), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other)


def test_a_mixture_asks_nothing_of_the_device(hidden, target, no_questions):
    output = made(KINDS["mixture"]).decoder
    with no_questions():
        total, _ = output.losses(hidden, target, skip_ignored=False)
        total.backward()


def test_the_experts_hidden_states_are_dropped_by_the_losses_in_training_only(hidden, target):
    output = made(MixtureOutput(experts=3, dropout=0.5)).decoder
    plain, scores = output.losses(hidden, target)[1], output(hidden)
    assert torch.equal(output.losses(hidden, target)[1], plain)
    output.train()
    assert not torch.allclose(output.losses(hidden, target)[1], plain)
    assert torch.equal(output(hidden), scores)


def test_the_adaptive_softmax_is_torchs(hidden, target):
    output = made(KINDS["adaptive"], decoder_bias=False).decoder
    other = nn.AdaptiveLogSoftmaxWithLoss(HIDDEN, VOCABULARY, [5, 9, 15], div_value=2.0)
    with torch.no_grad():
        for mine, theirs in zip(output.parameters(), other.parameters(), strict=True):
            theirs.copy_(mine)
    torch.testing.assert_close(output(hidden).flatten(0, 1), other.log_prob(hidden.flatten(0, 1)))
    real = target.flatten() != -100
    expected = -other(hidden.flatten(0, 1)[real], target.flatten()[real]).output
    torch.testing.assert_close(output.losses(hidden, target)[1].flatten()[real], expected.detach())


def test_a_text_of_frequent_words_alone_leaves_the_clusters_out(hidden):
    output = made(KINDS["adaptive"]).decoder
    total, _ = output.losses(hidden, torch.randint(5, (5, 4)))
    total.backward()
    assert output.head.weight.grad.abs().sum() > 0
    assert all(not parameter.grad.any() for parameter in output.clusters.parameters())


def test_nothing_to_predict_costs_nothing(model, hidden):
    total, losses = model.decoder.losses(hidden.requires_grad_(), torch.full((5, 4), -100))
    total.backward()
    assert total.item() == 0
    assert not losses.any()


@pytest.mark.parametrize("kind", ["mixture", "adaptive"])
def test_bfloat16_comes_close(kind, hidden, target):
    output = made(KINDS[kind]).decoder
    exact, _ = output.losses(hidden, target)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, losses = output.losses(hidden.requires_grad_(), target)
        rounded.backward()
    assert losses.dtype == torch.float32
    # bfloat16 has 8 bits: each logit is off by less than a hundredth of its size
    torch.testing.assert_close(rounded, exact, rtol=0.01, atol=0.01)
    assert all(parameter.grad.isfinite().all() for parameter in output.parameters())


@pytest.mark.parametrize("kind", ["mixture", "adaptive"])
def test_bfloat16_hidden_states_are_taken(kind, hidden, target):
    output = made(KINDS[kind]).decoder
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = output.losses(hidden.bfloat16(), target)
    torch.testing.assert_close(total, output.losses(hidden, target)[0], rtol=0.02, atol=0.02)


def test_a_tied_mixture_shares_one_matrix_of_embedding_size():
    model = made(KINDS["mixture"], tied=True)
    assert model.decoder.weight is model.embedding.weight
    assert model.decoder.weight.shape == (VOCABULARY, 6)
    assert "decoder.weight" not in model.weights()
    again = made(KINDS["mixture"], tied=True)
    again.load_weights(model.weights())
    tokens = torch.randint(VOCABULARY, (4, 2))
    torch.testing.assert_close(again(tokens, again.initial_state(2))[0], model(tokens, model.initial_state(2))[0])


@pytest.mark.parametrize("kind", ["softmax", "sampled"])
def test_the_plain_softmax_keeps_its_names(kind):
    names = set(made(KINDS[kind]).weights())
    assert {"decoder.weight", "decoder.bias"} == {name for name in names if name.startswith("decoder")}


def test_cutoffs_beyond_the_vocabulary_are_refused():
    with pytest.raises(InputError, match="cutoffs end with 23, but the vocabulary has 23 tokens"):
        made(AdaptiveOutput(cutoffs=(5, 23)))


def test_each_kind_has_its_class_and_generates_by_its_equations():
    classes = {
        "softmax": Softmax,
        "sampled": SampledSoftmax,
        "mixture": MixtureOfSoftmaxes,
        "adaptive": AdaptiveSoftmax,
    }
    for name, kind in classes.items():
        model = made(KINDS[name])
        assert type(model.decoder) is kind
        if not isinstance(model.decoder, Softmax):
            assert isinstance(open_stepper(model, model.initial_state(1)), PlainStepper)


@pytest.mark.parametrize("kind", ["softmax", "mixture", "adaptive"])
def test_training_losses_are_the_losses(kind, hidden, target):
    output = made(KINDS[kind]).decoder
    assert torch.equal(output.training_losses(hidden, target)[1], output.losses(hidden, target)[1])


def test_sampled_training_losses_come_close_on_average_and_change_with_the_sample(hidden, target):
    output = made(KINDS["sampled"]).decoder
    _, exact = output.losses(hidden, target)
    found = torch.stack([output.training_losses(hidden, target)[1] for _ in range(500)])
    assert not torch.equal(found[0], found[1])
    # the logarithm of an unbiased estimate is too small on average, by half its relative variance
    assert (found.exp().mean(0) / exact.exp())[target != -100].sub(1).abs().max() < 0.15
    assert (found[:, target == -100] == 0).all()


def test_a_sample_that_would_be_larger_than_the_vocabulary_is_all_of_it(hidden, target):
    output = made(SampledOutput(tokens=1000)).decoder
    torch.testing.assert_close(output.training_losses(hidden, target)[1], output.losses(hidden, target)[1])
    assert sample_size(output) is None
    assert sample_size(made(KINDS["sampled"]).decoder) == 9


def test_losses_of_rows_are_those_of_columns(model, hidden, target):
    total, losses = model.decoder.losses(hidden, target)
    flat_total, flat = model.decoder.losses(hidden.flatten(0, 1), target.flatten())
    torch.testing.assert_close(flat_total, total)
    torch.testing.assert_close(flat.view(target.shape), losses)
