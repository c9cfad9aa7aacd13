"""Whether one model is really better: intervals and tests over the sentences of a text.

All functions take nats of tokens, -ln p, in the order of the text. See docs/comparing.md.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.evaluation.perplexity import exponential

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RESAMPLES = 10_000
CONFIDENCE = 0.95
EXACT_SENTENCES = 14
"""Most sentences for which all 2^n sign patterns are computed; they are fewer than twice the random ones."""
NUMBERS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class PermutationTest:
    """A paired test over sentences.

    difference: mean over sentences of the second model's nats minus the first's; above zero the first is better · p:
    probability of a difference at least as large in either direction if the models were exchangeable · patterns:
    number of sign patterns · exact: whether these are all patterns.
    """

    difference: float
    p: float
    patterns: int
    exact: bool


@dataclass(frozen=True)
class TokenDifference:
    """A token as written: how often it occurs, and how many nats it costs the other model more, in total."""

    token: str
    count: int
    nats: float

    def to_json(self) -> dict[str, Any]:
        """An entry of what `compare --json` prints."""
        return {"token": self.token, "count": self.count, "nats": self.nats}


def sentence_sums(values: NDArray[Any], ends: Integers) -> NDArray[Any]:
    """Sums over sentences; `ends` are the positions just after each sentence, up to the end of the text."""
    return np.add.reduceat(values, np.concatenate([[0], ends[:-1]]))


def perplexity_interval(
    nats: Floats, tokens: Integers, *, seed: int, resamples: int = RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile bootstrap interval of exp(sum of nats / sum of tokens); sentences are drawn with replacement.

    nats and tokens are sums over sentences. Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    generator = np.random.default_rng(seed)
    sentences = len(nats)

    def means(count: int) -> Floats:
        drawn = generator.integers(0, sentences, (count, sentences))
        return np.asarray(nats[drawn].sum(1) / tokens[drawn].sum(1))

    drawn = _drawn_in_batches(means, resamples, sentences)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return exponential(low, 1), exponential(high, 1)


def permutation_test(first: Floats, second: Floats, *, seed: int, resamples: int = RESAMPLES) -> PermutationTest:
    """Tests whether the mean difference of sentences' nats is zero, by exchanging the two models at random.

    Few sentences are tested with every sign pattern, more with `resamples` random ones; then p = (as extreme + 1) /
    (patterns + 1) (Phipson and Smyth 2010, "Permutation p-values should never be zero").
    """
    differences = second - first
    sentences = len(differences)
    observed = abs(differences.sum()) * (1 - 1e-9)  # sums that differ only by the order of addition are equal
    if exact := sentences <= EXACT_SENTENCES:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=sentences)))
        sums = signs @ differences
    else:
        generator = np.random.default_rng(seed)
        sums = _drawn_in_batches(
            lambda count: generator.choice((-1.0, 1.0), (count, sentences)) @ differences, resamples, sentences
        )
    extreme = int((np.abs(sums) >= observed).sum())
    p = extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)
    return PermutationTest(float(differences.mean()), p, len(sums), exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for testing all of them at once (Holm 1979); returns them in the given order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def widest_differences(
    tokens: Sequence[str], first: Floats, second: Floats, top: int = 10
) -> tuple[list[TokenDifference], list[TokenDifference]]:
    """The token types that the first model predicts better than the second, and vice versa; the largest first.

    Differences are summed over all occurrences of a type.
    """
    types: dict[str, int] = {}
    indices = np.fromiter((types.setdefault(token, len(types)) for token in tokens), np.int64, len(tokens))
    sums = np.bincount(indices, second - first).astype(np.float64)
    counts = np.bincount(indices)
    names = list(types)

    def best(gains: Floats) -> list[TokenDifference]:
        order = np.argsort(-gains, kind="stable")[:top]
        return [TokenDifference(names[i], int(counts[i]), float(gains[i])) for i in order if gains[i] > 0]

    return best(sums), best(-sums)


def _drawn_in_batches(draw: Callable[[int], Floats], resamples: int, sentences: int) -> Floats:
    """Calls `draw` with parts of `resamples`, so that each part is small in memory, and joins the results."""
    return np.concatenate([draw(count) for count in _batch_sizes(resamples, max(1, NUMBERS_AT_ONCE // sentences))])


def _batch_sizes(total: int, size: int) -> Iterator[int]:
    for start in range(0, total, size):
        yield min(size, total - start)
