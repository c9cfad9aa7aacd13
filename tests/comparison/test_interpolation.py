import math

import numpy as np
import pytest

from recurlm.comparison.interpolation import fit_weights, mixed_nats, parse_weights
from recurlm.errors import UsageError


def nats(probabilities: list[list[float]]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -np.log(np.array(probabilities))


def test_a_mixture_by_hand():
    mixed = mixed_nats(nats([[0.5, 0.1, 0.0, 0.0], [0.25, 0.3, 0.8, 0.0]]), [0.4, 0.6])
    assert np.exp(-mixed).tolist() == pytest.approx([0.2 + 0.15, 0.04 + 0.18, 0.48, 0.0])


def test_tiny_probabilities_do_not_vanish():
    far = np.array([[2000.0], [2001.0]])
    assert mixed_nats(far, [0.5, 0.5])[0] == pytest.approx(2000 - math.log(0.5 + 0.5 * math.exp(-1)))


def test_one_em_step_by_hand_where_it_is_the_last():
    # one model always twice as good: its weight is one; two models that swap roles evenly: half and half
    assert fit_weights(nats([[0.4] * 6, [0.2] * 6])).weights == pytest.approx((1, 0), abs=1e-6)
    assert fit_weights(nats([[0.8, 0.2], [0.2, 0.8]])).weights == pytest.approx((0.5, 0.5))


def test_em_finds_what_a_search_over_weights_finds():
    generator = np.random.default_rng(1)
    values = generator.gamma(2, 2, (2, 500)) + 0.01
    values[0] *= 0.9
    fitted = fit_weights(values)
    grid = np.linspace(0, 1, 10_001)
    losses = [mixed_nats(values, [weight, 1 - weight]).mean() for weight in grid]
    assert fitted.weights[0] == pytest.approx(grid[int(np.argmin(losses))], abs=1e-3)
    assert fitted.nats == pytest.approx(min(losses), abs=1e-6)
    assert sum(fitted.weights) == pytest.approx(1)


def test_em_with_three_models_satisfies_the_condition_of_the_maximum():
    values = np.random.default_rng(2).gamma(2, 2, (3, 800)) + 0.01
    fitted = fit_weights(values)
    ratios = np.exp(mixed_nats(values, fitted.weights) - values).mean(1)
    # at the maximum the mean of p_i / p is one for every model that has weight (Kuhn and Tucker 1951)
    assert ratios == pytest.approx(np.ones(3), abs=1e-3)


def test_zero_probabilities_are_left_to_the_other_model():
    fitted = fit_weights(nats([[0.9, 0.0, 0.0], [0.1, 0.5, 0.0]]))
    assert all(0 < weight < 1 for weight in fitted.weights)
    assert math.isfinite(fitted.nats)


@pytest.mark.parametrize("endless", [False, True])
def test_em_ends_where_a_step_gains_less_than_a_billionth_or_after_a_thousand_steps(monkeypatch, endless):
    if endless:
        monkeypatch.setattr("recurlm.comparison.interpolation.TOLERANCE", -1.0)
    first, second = ([0.5, 0.5], [0.499, 0.5]) if endless else ([0.5, 0.4], [0.05, 0.5])
    weight, before, steps = 0.5, math.inf, 0
    while steps < 1000:
        mixture = [weight * one + (1 - weight) * other for one, other in zip(first, second, strict=True)]
        reached = -sum(map(math.log, mixture)) / 2
        if before - reached < 1e-9 and not endless:
            break
        weight *= sum(one / mixed for one, mixed in zip(first, mixture, strict=True)) / 2
        before, steps = reached, steps + 1
    assert fit_weights(nats([first, second])).weights[0] == pytest.approx(weight, rel=1e-12)
    assert (steps == 1000) == endless


def test_weights_may_miss_one_by_a_millionth():
    assert parse_weights("0.3333333,0.3333333,0.3333333", 3) == (0.3333333,) * 3
    assert parse_weights("0,1", 2) == (0.0, 1.0)
    assert parse_weights("1", 2) == (1.0, 0.0)
    with pytest.raises(UsageError, match="sum to 1"):
        parse_weights("0.5,0.500002", 2)


def test_weights_as_written():
    assert parse_weights("auto", 2) is None
    assert parse_weights("0.7", 2) == pytest.approx((0.7, 0.3))
    assert parse_weights("0.5,0.3,0.2", 3) == (0.5, 0.3, 0.2)


@pytest.mark.parametrize(
    ("given", "models"), [("x", 2), ("0.5", 3), ("0.5,0.6", 2), ("1.5", 2), ("-0.5,1.5", 2), ("nan", 2)]
)
def test_weights_that_are_none_are_refused(given, models):
    with pytest.raises(UsageError, match=f"--weight {given}"):
        parse_weights(given, models)
