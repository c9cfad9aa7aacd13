import math

import pytest
import torch

from recurlm.config import ModelOptions, UniformInitialisation
from recurlm.errors import UsageError
from recurlm.evaluation.neural_cache import NeuralCache, cache_losses
from recurlm.evaluation.protocols import stream_perplexity
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import EncodedText

VOCABULARY = 9


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    torch.manual_seed(0)
    made = LanguageModel(ModelOptions(embedding_size=6, hidden_sizes=(7, 5)), VOCABULARY)
    initialise(made, UniformInitialisation(scale=0.8))
    return made.eval()


@pytest.fixture(scope="module")
def text(encoded) -> EncodedText:
    torch.manual_seed(1)
    return encoded(torch.randint(1, VOCABULARY, (6, 7)).tolist())


@torch.no_grad()
def losses_by_hand(model: LanguageModel, ids: list[int], options: NeuralCache) -> list[float]:
    """One token after another; the cache is a list of pairs, and its distribution a dictionary over words."""
    state, before, found = model.initial_state(1), [], []
    for previous, token in zip([0, *ids[:-1]], ids, strict=True):
        hidden, state = model.hidden(torch.tensor([[previous]]), state)
        own = model.decoder(hidden)[0, 0].double().softmax(-1)
        weights = dict.fromkeys(range(VOCABULARY), 0.0)
        for key, word in before[-options.window :]:
            weights[word] += math.exp(options.theta * float(hidden[0, 0] @ key))
        total = sum(weights.values())
        share = options.share if total else 0.0
        mixed = [(1 - share) * own[word].item() + share * weights[word] / (total or 1) for word in range(VOCABULARY)]
        assert sum(mixed) == pytest.approx(1)
        found.append(-math.log(mixed[token]))
        before.append((hidden[0, 0], token))
    return found


@pytest.mark.parametrize("chunk", [1, 4, 512])
@pytest.mark.parametrize("window", [1, 3, 10, 500])
def test_the_cache_is_a_loop_over_tokens(model, text, window, chunk):
    options = NeuralCache(window=window, theta=1.7, share=0.3)
    found = torch.cat(list(cache_losses(model, text, options, chunk=chunk)))
    assert found.tolist() == pytest.approx(losses_by_hand(model, text.ids.tolist(), options), rel=1e-5)


def test_a_share_of_zero_is_the_static_figure(model, text):
    nats = sum(losses.sum().item() for losses in cache_losses(model, text, NeuralCache(share=0.0)))
    assert nats == pytest.approx(stream_perplexity(model, text).nats, rel=1e-6)


@pytest.mark.parametrize("values", [{"window": 0}, {"theta": -1.0}, {"share": 1.0}, {"share": float("nan")}])
def test_values_that_cannot_be_are_refused(values):
    with pytest.raises(UsageError, match=f"{next(iter(values))} .*must be"):
        NeuralCache(**values)
