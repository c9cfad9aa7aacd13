import math

import pytest
import torch
import torch.nn.functional as F

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import UsageError
from recurlm.evaluation.dynamic import DynamicRMS, DynamicSGD, dynamic_losses, root_mean_squares
from recurlm.evaluation.protocols import stream_perplexity
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import EncodedText

VOCABULARY = 11


@pytest.fixture(params=["untied", "tied"])
def model(request) -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(7, 6), tied=request.param == "tied"), VOCABULARY)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


@pytest.fixture
def text(encoded) -> EncodedText:
    torch.manual_seed(1)
    return encoded(torch.randint(1, VOCABULARY, (6, 7)).tolist())  # 48 tokens, which 5 does not divide


def copied(model: LanguageModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def losses_by_hand(model, ids, segment, rule) -> list[float]:
    """One segment after another through all logits and autograd; `rule` gives new weights."""
    weights, before = list(model.parameters()), copied(model)
    state, inputs, found = model.initial_state(1), [0, *ids[:-1]], []
    for start in range(0, len(ids), segment):
        logits, state = model(torch.tensor(inputs[start : start + segment])[:, None], state)
        losses = F.cross_entropy(logits[:, 0], torch.tensor(ids[start : start + segment]), reduction="none")
        losses.mean().backward()
        found += losses.tolist()
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        with torch.no_grad():
            for number, (weight, anchor) in enumerate(zip(weights, before, strict=True)):
                weight.copy_(rule(number, weight, anchor, weight.grad))
                weight.grad = None
    with torch.no_grad():
        for weight, anchor in zip(weights, before, strict=True):
            weight.copy_(anchor)
    return found


@pytest.mark.parametrize("segment", [1, 5, 100])
def test_sgd_is_a_loop_over_segments(model, text, segment):
    options = DynamicSGD(rate=0.7, decay=0.05, segment=segment)
    expected = losses_by_hand(model, text.ids.tolist(), segment, lambda _, w, w0, g: w + 0.05 * (w0 - w) - 0.7 * g)
    found = torch.cat(list(dynamic_losses(model, text, segment, options.update)))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_rms_is_a_loop_over_segments(model, text):
    options = DynamicRMS(rate=0.02, decay=0.3, epsilon=0.01)
    roots = [torch.rand_like(parameter) * (number + 1) for number, parameter in enumerate(model.parameters())]
    mean = sum(root.mean().item() for root in roots) / len(roots)

    def rule(number, weight, anchor, gradient):
        pull = torch.minimum(0.3 * roots[number] / mean, torch.tensor(1.0))
        return weight + pull * (anchor - weight) - 0.02 * gradient / (roots[number] + 0.01)

    assert any((0.3 * root / mean > 1).any() for root in roots), "nothing is clipped"
    expected = losses_by_hand(model, text.ids.tolist(), 5, rule)
    found = torch.cat(list(dynamic_losses(model, text, 5, options.update_by(roots))))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_the_roots_are_those_of_the_gradients_of_mean_losses(model, encoded, monkeypatch):
    monkeypatch.setattr("recurlm.evaluation.dynamic.STATISTICS_COLUMNS", 2)
    ids = [3, 4, 0, 5, 6, 7, 0, 1, 2, 0, 9, 0]
    text = encoded([[3, 4], [5, 6, 7], [1, 2], [9]])
    assert text.ids.tolist() == ids
    squares = [torch.zeros_like(parameter) for parameter in model.parameters()]
    state = model.initial_state(2)
    inputs, targets = torch.tensor([[0, *ids[:5]], ids[5:11]]).t(), torch.tensor([ids[:6], ids[6:]]).t()
    for start in (0, 3):
        logits, state = model(inputs[start : start + 3], state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[start : start + 3].flatten())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        state = tuple(tuple(part.detach() for part in layer) for layer in state)
        squares = [square + gradient**2 for square, gradient in zip(squares, gradients, strict=True)]
    for root, square in zip(root_mean_squares(model, text, 3), squares, strict=True):
        torch.testing.assert_close(root, (square / 2).sqrt())


@pytest.mark.parametrize(("sentence", "columns"), [([3, 4], 1), ([3, 4, 5, 6], 1), ([3, 4, 5, 6, 7], 2)])
def test_a_short_training_text_has_a_whole_segment_in_each_column(model, encoded, monkeypatch, sentence, columns):
    shapes: list[tuple[int, ...]] = []
    hidden = LanguageModel.hidden
    monkeypatch.setattr(
        LanguageModel, "hidden", lambda self, ids, *rest: (shapes.append(tuple(ids.shape)), hidden(self, ids, *rest))[1]
    )
    root_mean_squares(model, encoded([sentence]), 3)
    assert {width for _, width in shapes} == {columns}


@pytest.mark.parametrize("method", ["sgd", "rms"])
def test_a_rate_of_zero_is_the_static_figure(model, text, method):
    if method == "sgd":
        update = DynamicSGD(rate=0.0, decay=0.1).update
    else:
        update = DynamicRMS(rate=0.0).update_by(root_mean_squares(model, text, 5))
    before, nats = copied(model), 0.0
    for losses in dynamic_losses(model, text, 5, update):
        nats += losses.sum().item()
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    # with a gradient to come, the library computes the layers by another kernel
    assert nats == pytest.approx(stream_perplexity(model, text, chunk=5).nats, rel=1e-7)


def test_a_text_that_repeats_itself_is_learnt(model, encoded):
    text = encoded([[1, 2, 3, 4]] * 80)
    losses = torch.cat(list(dynamic_losses(model, text, 5, DynamicSGD(rate=1.0).update)))
    # five tokens equally often: who knows no more than that pays ln 5 for each
    assert losses[-50:].mean().item() < math.log(5) < losses[:50].mean().item()


def test_no_token_is_predicted_by_weights_that_saw_it(model, encoded):
    same, other = encoded([[1, 2, 3, 4, 5, 6]]), encoded([[1, 2, 3, 4, 9, 9]])
    update = DynamicSGD(rate=1.0).update
    first, second = (torch.cat(list(dynamic_losses(model, text, 2, update))) for text in (same, other))
    assert first[:4].tolist() == second[:4].tolist()
    assert first[4] != second[4]


@pytest.mark.parametrize("end", ["whole", "closed", "failed"])
def test_the_model_comes_back_unchanged(model, text, end):
    before = copied(model)
    model.train()
    pieces = dynamic_losses(model, text, 5, DynamicSGD(rate=1.0).update)
    next(pieces)
    assert not torch.equal(before[0], model.embedding.weight)
    if end == "whole":
        list(pieces)
    elif end == "closed":
        pieces.close()
    else:
        with pytest.raises(RuntimeError, match="stop"):
            pieces.throw(RuntimeError("stop"))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


@pytest.mark.parametrize(
    "options",
    [
        lambda: DynamicSGD(rate=-1.0),
        lambda: DynamicSGD(rate=float("nan")),
        lambda: DynamicSGD(decay=1.0),
        lambda: DynamicSGD(segment=0),
        lambda: DynamicRMS(epsilon=0.0),
        lambda: DynamicRMS(gathered=0),
    ],
)
def test_values_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError, match="must be"):
        options()
