import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from recurlm.comparison import statistics
from recurlm.comparison.statistics import (
    TokenDifference,
    holm,
    permutation_test,
    perplexity_interval,
    sentence_sums,
    widest_differences,
)


def test_sums_of_sentences_by_hand():
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    assert sentence_sums(values, np.array([2, 3, 5])).tolist() == [3, 4, 24]


def test_the_interval_of_equal_sentences_is_a_point():
    low, high = perplexity_interval(np.full(20, 3 * math.log(7)), np.full(20, 3), seed=1)
    assert (low, high) == pytest.approx((7, 7))


def test_the_interval_is_that_of_a_ratio_of_sums():
    # two sentences: a resample is (a, a), (a, b) twice, or (b, b), so the outer 2.5 % are the sentences themselves
    nats, tokens = np.array([2.0, 30.0]), np.array([4, 10])
    assert perplexity_interval(nats, tokens, seed=1) == pytest.approx((math.exp(0.5), math.exp(3)))
    assert perplexity_interval(nats, tokens, seed=1, confidence=0.4)[0] == pytest.approx(math.exp(32 / 14))


def test_the_interval_of_many_sentences_is_that_of_the_central_limit():
    nats = np.random.default_rng(3).normal(5, 2, 4000)
    low, high = perplexity_interval(nats, np.ones(4000, np.int64), seed=1, resamples=4000)
    half = NormalDist().inv_cdf(0.975) * nats.std() / math.sqrt(4000)
    # the standard error of a bootstrap quantile here is about 0.03 of the half width
    assert math.log(low) == pytest.approx(nats.mean() - half, abs=0.15 * half)
    assert math.log(high) == pytest.approx(nats.mean() + half, abs=0.15 * half)


def test_the_interval_does_not_depend_on_what_is_drawn_at_once(monkeypatch):
    nats, tokens = np.arange(50.0), np.arange(1, 51)
    whole = perplexity_interval(nats, tokens, seed=2, resamples=500)
    monkeypatch.setattr(statistics, "NUMBERS_AT_ONCE", 70)
    assert perplexity_interval(nats, tokens, seed=2, resamples=500) == whole
    assert perplexity_interval(np.full(3, 900.0), np.ones(3, np.int64), seed=1) == (math.inf, math.inf)


@pytest.mark.parametrize("confidence", [0.95, 0.6])
def test_the_interval_is_scipy_s_percentile_bootstrap(confidence):
    generator = np.random.default_rng(4)
    tokens = generator.integers(1, 40, 60)
    nats = tokens * generator.normal(5, 1, 60)
    # both draw the same sentences from the same seed
    outside = scipy.stats.bootstrap(
        (nats, tokens),
        lambda nats, tokens, axis: nats.sum(axis) / tokens.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=2000,
        confidence_level=confidence,
        rng=np.random.default_rng(8),
    ).confidence_interval
    found = perplexity_interval(nats, tokens, seed=8, resamples=2000, confidence=confidence)
    assert found == pytest.approx((math.exp(outside.low), math.exp(outside.high)), rel=1e-12)


def scipy_p(first: np.ndarray, second: np.ndarray, resamples: float) -> float:
    """The p-value of scipy's paired permutation test of the mean difference; exact with infinite resamples."""
    return scipy.stats.permutation_test(
        (first, second),
        lambda first, second, axis: (second - first).mean(axis),
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(9),
    ).pvalue


@pytest.mark.parametrize("sentences", [2, 7, 11, 14])
def test_few_sentences_are_tested_as_scipy_tests_them(sentences):
    generator = np.random.default_rng(sentences)
    first, second = generator.normal(5, 1, sentences), generator.normal(5.5, 1, sentences)
    found = permutation_test(first, second, seed=1)
    assert found.exact
    assert found.p == pytest.approx(scipy_p(first, second, math.inf), rel=1e-12)


@pytest.mark.parametrize("shift", [0.05, 0.2, 0.4])
def test_many_sentences_are_tested_as_scipy_tests_them(shift):
    generator = np.random.default_rng(6)
    first = generator.normal(5, 1, 100)
    second = first + generator.normal(shift, 1, 100)
    found, outside = permutation_test(first, second, seed=1), scipy_p(first, second, 9999)
    # both are random: five standard errors of their difference
    error = math.sqrt(2 * outside * (1 - outside) / 10_000)
    assert not found.exact
    assert found.p == pytest.approx(outside, abs=5 * error)


def test_few_sentences_are_tested_exactly():
    # all three favour the first: of the eight patterns, +++ and --- are as extreme
    result = permutation_test(np.array([1.0, 1.0, 1.0]), np.array([2.0, 3.0, 5.0]), seed=1)
    assert (result.difference, result.p, result.patterns, result.exact) == pytest.approx((7 / 3, 2 / 8, 8, True))
    # 3, -1, -1: sums of size 1, 3, 3 and 5, each twice, and none is less extreme than 1
    result = permutation_test(np.zeros(3), np.array([3.0, -1.0, -1.0]), seed=1)
    assert result.p == pytest.approx(1)
    # 3, 1, -1: sizes 3, 5, 1, 3 each twice; those of size 1 are less extreme
    result = permutation_test(np.zeros(3), np.array([3.0, 1.0, -1.0]), seed=1)
    assert result.p == pytest.approx(6 / 8)


@pytest.mark.parametrize(("sentences", "patterns"), [(14, 2**14), (15, 10_000)])
def test_up_to_14_sentences_are_tested_exactly(sentences, patterns):
    result = permutation_test(np.zeros(sentences), np.ones(sentences), seed=1)
    assert (result.patterns, result.exact) == (patterns, sentences == 14)


def test_intervals_are_of_95_percent_of_10_000_resamples():
    nats, tokens = np.random.default_rng(3).normal(8, 2, 50), np.full(50, 4)
    usual = perplexity_interval(nats, tokens, seed=2)
    assert usual == perplexity_interval(nats, tokens, seed=2, resamples=10_000, confidence=0.95)
    assert usual != perplexity_interval(nats, tokens, seed=2, resamples=9_999)


def test_equal_models_have_p_one():
    same = np.arange(40.0)
    assert permutation_test(same, same, seed=1).p == 1
    assert permutation_test(same[:5], same[:5], seed=1).p == 1


def test_random_patterns_come_near_the_exact_value(monkeypatch):
    differences = np.random.default_rng(5).normal(0.4, 1, 12)
    exact = permutation_test(np.zeros(12), differences, seed=1)
    enumerated = [
        abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-9
        for signs in itertools.product((1, -1), repeat=12)
    ]
    assert exact.p == pytest.approx(np.mean(enumerated))
    monkeypatch.setattr(statistics, "EXACT_SENTENCES", 0)
    drawn = permutation_test(np.zeros(12), differences, seed=1)
    assert not drawn.exact
    # four standard errors
    assert drawn.p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 10_000))


def test_a_random_test_is_never_zero():
    result = permutation_test(np.zeros(200), np.full(200, 3.0), seed=1, resamples=999)
    assert result.p == 1 / 1000


def test_under_the_null_p_is_uniform():
    generator = np.random.default_rng(7)
    found = [
        permutation_test(np.zeros(30), generator.normal(0, 1, 30), seed=seed, resamples=199).p for seed in range(400)
    ]
    # 400 tests at level 0.1 reject 40 times, give or take four standard deviations of six
    assert 16 <= sum(p <= 0.1 for p in found) <= 64


def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04: times 3, 2, 1, never falling
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("tests", [1, 2, 3, 10, 45])
def test_holm_is_that_of_statsmodels(tests):
    p_values = np.random.default_rng(tests).beta(0.3, 2, tests).tolist()
    p_values += p_values[: tests // 3]  # equal ones too
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), rel=1e-12)


def test_tokens_that_differ_most_by_hand():
    tokens = ["a", "b", "a", "c", "d"]
    first, second = np.array([1.0, 2.0, 1.0, 5.0, 1.0]), np.array([2.0, 2.0, 4.0, 3.0, 1.5])
    better, worse = widest_differences(tokens, first, second)
    assert better == [TokenDifference("a", 2, 4.0), TokenDifference("d", 1, 0.5)]
    assert worse == [TokenDifference("c", 1, 2.0)]
    assert widest_differences(tokens, first, second, top=1)[0] == better[:1]


def test_the_ten_tokens_that_differ_most_are_shown():
    first, second = np.zeros(24), np.arange(24.0) - 12
    better, worse = widest_differences([f"w{number}" for number in range(24)], first, second)
    assert [each.nats for each in better] == list(range(11, 1, -1))
    assert [each.nats for each in worse] == list(range(12, 2, -1))
    assert better[0].to_json() == {"token": "w23", "count": 1, "nats": 11.0}
