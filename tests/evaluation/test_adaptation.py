import dataclasses
import math

import numpy as np
import pytest
import torch

from recurlm.config import Dropout, ModelOptions, UniformInitialisation
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.adaptation import (
    GRIDS,
    METHODS,
    MonteCarloDropout,
    Temperature,
    TuningText,
    adapted_losses,
    adapted_perplexity,
    gathered_roots,
    parse_adaptation,
    tune_adaptation,
)
from recurlm.evaluation.dynamic import STATISTICS_COLUMNS, DynamicRMS, DynamicSGD, root_mean_squares
from recurlm.evaluation.neural_cache import NeuralCache
from recurlm.evaluation.protocols import stream_perplexity
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.text.codec import EncodedText
from recurlm.text.unknown import UnknownRule
from recurlm.version import CODE_VERSION

VOCABULARY = 9


def made(dropout: Dropout, scale: float = 0.8, cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    options = ModelOptions(cell=cell, embedding_size=6, hidden_sizes=(7, 5), dropout=dropout)
    model = LanguageModel(options, VOCABULARY)
    initialise(model, UniformInitialisation(scale=scale))
    return model.eval()


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return made(Dropout(input=0.3, output=0.4))


@pytest.fixture(scope="module")
def text(encoded) -> EncodedText:
    torch.manual_seed(1)
    return encoded(torch.randint(1, VOCABULARY, (6, 7)).tolist(), oov=3)


def nats(model, text, options) -> float:
    return sum(losses.sum().item() for losses in adapted_losses(model, text, options))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_temperature_raises_probabilities_to_a_power(model, text, temperature):
    ids = text.ids.tolist()
    with torch.no_grad():
        logits, _ = model(torch.tensor([0, *ids[:-1]])[:, None], model.initial_state(1))
    powers = logits[:, 0].double().softmax(-1) ** (1 / temperature)
    expected = -(powers / powers.sum(-1, keepdim=True))[range(len(ids)), ids].log()
    found = torch.cat(list(adapted_losses(model, text, Temperature(temperature))))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_dropout_probabilities_are_averaged(text):
    """With dropout of inputs only and one mask a piece, a reading is one of 2 ** E models, and all are known."""
    model = made(Dropout(input=0.5), scale=2.5)
    ids = torch.tensor(text.ids.tolist())
    every = torch.cartesian_prod(*[torch.tensor([0.0, 2.0])] * 6)
    with torch.no_grad():
        embedded = model.embedding(torch.cat([torch.zeros(1, dtype=torch.long), ids[:-1]]))
        hidden, _ = model.stack(embedded[:, None] * every, model.initial_state(len(every)))
        each = model.decoder(hidden).double().softmax(-1)[torch.arange(len(ids)), :, ids]
    passes = 2000
    found = torch.cat(list(adapted_losses(model, text, MonteCarloDropout(passes=passes, segment=len(ids)))))
    tolerance = 5 * each.std(1).max() / math.sqrt(passes)
    assert ((-found).exp() - each.mean(1)).abs().max() < tolerance
    static, geometric = torch.cat(list(adapted_losses(model, text, Temperature()))), each.log().mean(1).neg()
    assert all(((-other).exp() - each.mean(1)).abs().max() > 2 * tolerance for other in (static, geometric))


def test_dropout_without_dropout_is_the_static_figure(text):
    model = made(Dropout())
    static = stream_perplexity(model, text).nats
    assert nats(model, text, MonteCarloDropout(passes=3, segment=5)) == pytest.approx(static, rel=1e-6)


def test_dropout_follows_its_seed_and_leaves_mode_and_generator_alone(model, text):
    torch.manual_seed(7)
    expected = torch.rand(1).item()
    torch.manual_seed(7)
    first = nats(model, text, MonteCarloDropout(passes=2, seed=1))
    assert torch.rand(1).item() == expected
    assert not model.training
    assert nats(model, text, MonteCarloDropout(passes=2, seed=1)) == first
    assert nats(model, text, MonteCarloDropout(passes=2, seed=2)) != first


@pytest.mark.parametrize("method", METHODS)
def test_both_figures_stand_apart_and_say_what_they_are(model, text, encoded, method):
    options = parse_adaptation(method)
    roots = gathered_roots(model, encoded([[1, 2, 3]] * 20), options) if method == "dynamic-rms" else None
    result = adapted_perplexity(model, text, options, roots=roots)
    static = stream_perplexity(model, text)
    assert result.static == static
    assert result.adapted.tokens == len(text.ids)
    assert result.adapted.signature.startswith(f"stream|adapted={method}(")
    assert result.adapted.signature.endswith(
        f"|tokens=48|eos=counted|state=carried|oov=3|text=sha256:01234567|recurlm={CODE_VERSION}"
    )
    assert "adapted" not in result.static.signature
    json = result.to_json()
    assert json["static"] == static.to_json()
    assert json["adapted"]["signature"] == result.adapted.signature
    assert (json["method"], json["options"], json["tuning"]) == (method, dataclasses.asdict(options), None)


def test_the_signature_names_every_option(model, text):
    signature = adapted_perplexity(model, text, NeuralCache(window=9, theta=0.5, share=0.2)).adapted.signature
    assert "|adapted=cache(window=9,theta=0.5,share=0.2)|" in signature


def test_tuning_takes_the_best_of_every_combination_on_the_first_tokens(model, text):
    part = dataclasses.replace(text, ids=text.ids[:30])
    start = NeuralCache(window=7)
    tuning = tune_adaptation(model, TuningText(text, "valid", 30), start)
    expected = {
        (theta, share): nats(model, part, NeuralCache(7, theta, share)) / 30 / math.log(2)
        for theta in GRIDS[NeuralCache]["theta"]
        for share in GRIDS[NeuralCache]["share"]
    }
    found = {(trial.theta, trial.share): bits for trial, bits in tuning.trials}
    assert found == pytest.approx(expected)
    assert (tuning.best.theta, tuning.best.share) == min(expected, key=expected.__getitem__)
    assert tuning.best.window == 7
    result = adapted_perplexity(model, text, tuning.best, tuning=tuning)
    assert "|tuned=valid:30|" in result.adapted.signature
    assert result.to_json()["tuning"]["tokens"] == 30


def test_a_tuned_temperature_flattens_a_model_that_is_too_sure(text):
    sure = made(Dropout())
    with torch.no_grad():
        sure.decoder.weight.mul_(8)
    tuning = tune_adaptation(sure, TuningText(text, "valid"), Temperature())
    assert tuning.best.temperature > 1
    assert adapted_perplexity(sure, text, tuning.best).adapted.nats < stream_perplexity(sure, text).nats


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_tuned_on_test(model, text, method):
    with pytest.raises(UsageError, match="never chosen on a split named test"):
        tune_adaptation(model, TuningText(text, "test"), METHODS[method]())


def test_dropout_has_nothing_to_tune(model, text):
    with pytest.raises(UsageError, match="mc-dropout has nothing to tune"):
        tune_adaptation(model, TuningText(text, "valid"), MonteCarloDropout())


def test_rms_asks_for_the_training_text(model, text):
    with pytest.raises(UsageError, match="needs the training text"):
        adapted_perplexity(model, text, DynamicRMS())


def test_learning_that_diverges_is_an_error_and_leaves_the_model_whole(text):
    model = made(Dropout(), cell="relu")
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(InputError, match="dynamic-sgd diverged on made"):
        adapted_perplexity(model, text, DynamicSGD(rate=1e6))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_options_are_read_from_changes():
    assert parse_adaptation("cache", ["window=20", " share = 0.25 "]) == NeuralCache(window=20, share=0.25)
    assert parse_adaptation("dynamic-rms", ["rate=1e-4"]) == DynamicRMS(rate=1e-4)


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("caches", [], "no method named 'caches'; there are cache, dynamic-sgd"),
        ("cache", ["windw=3"], "did you mean window"),
        ("cache", ["zz=3"], "it has window, theta, share"),
        ("cache", ["window"], "write it as key=value"),
        ("cache", ["window=2.5"], "a whole number is needed"),
        ("cache", ["theta=warm"], "a number is needed"),
        ("cache", ["window=0"], "window 0: must be from 1"),
        ("temperature", ["temperature=0"], "must be above 0"),
        ("mc-dropout", ["passes=0"], "must be from 1 to 1,000,000"),
        ("dynamic-sgd", ["rate=1e7"], "must be at least 0 and at most 1e"),
        ("mc-dropout", ["seed=-1"], "must be at least 0"),
    ],
)
def test_what_cannot_be_read_is_refused(method, changes, message):
    with pytest.raises(UsageError, match=message):
        parse_adaptation(method, changes)


def test_roots_are_gathered_from_the_first_tokens_only(model, encoded):
    first, other = encoded([[1, 2, 3]] * 5), encoded([[1, 2, 3]] * 5 + [[4, 5, 6]] * 5)
    options = DynamicRMS(gathered=20)
    pairs = zip(gathered_roots(model, other, options), root_mean_squares(model, first, 5), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)


def test_ticks_tell_every_token_that_is_read(model, text):
    ticks: list[int] = []
    adapted_perplexity(model, text, NeuralCache(), tick=ticks.append)
    assert sum(ticks) == 2 * 48
    ticks.clear()
    tune_adaptation(model, TuningText(text, "valid", 30), NeuralCache(), tick=ticks.append)
    assert sum(ticks) == 12 * 30
    ticks.clear()
    gathered_roots(model, text, DynamicRMS(gathered=20), tick=ticks.append)
    assert sum(ticks) == 20


def test_defaults_and_grids_are_the_documented_ones():
    assert NeuralCache() == NeuralCache(window=500, theta=1.0, share=0.1)
    assert DynamicSGD() == DynamicSGD(rate=0.1, decay=0.0, segment=5)
    assert DynamicRMS() == DynamicRMS(rate=5e-5, decay=0.002, epsilon=2e-5, segment=5, gathered=200_000)
    assert MonteCarloDropout() == MonteCarloDropout(passes=20, segment=70, seed=0)
    assert Temperature() == Temperature(1.0)
    assert GRIDS[NeuralCache] == {"theta": (0.1, 0.3, 1.0), "share": (0.05, 0.1, 0.2, 0.3)}
    assert GRIDS[DynamicSGD] == {"rate": (0.03, 0.1, 0.3, 1.0), "decay": (0.0, 0.001, 0.01)}
    assert GRIDS[DynamicRMS] == {"rate": (2e-5, 5e-5, 1e-4), "decay": (0.001, 0.003, 0.01)}
    assert GRIDS[Temperature]["temperature"] == pytest.approx([0.7 + 0.05 * step for step in range(17)])
    assert TuningText(None, "valid").tokens == 10_000
    assert STATISTICS_COLUMNS == 100


def test_known_tokens_are_told_apart_under_adaptation_too(model, text):
    missing = np.array([2, 3, 30])
    marked = dataclasses.replace(text, missing=missing)
    options = NeuralCache(share=0.3)
    costs = torch.cat(list(adapted_losses(model, text, options))).tolist()
    expected = sum(cost for place, cost in enumerate(costs) if place not in missing)
    result = adapted_perplexity(model, marked, options).adapted
    assert result.known == (pytest.approx(expected), 45)
    assert result.nats == pytest.approx(sum(costs))


def test_other_rules_for_unknown_tokens_are_refused(model, text):
    with pytest.raises(UsageError, match="counts unknown words as <unk> only"):
        adapted_perplexity(model, dataclasses.replace(text, rule=UnknownRule("skip")), NeuralCache())
