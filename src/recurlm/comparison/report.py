"""A comparison of models on one text: perplexities, intervals, and a test of each pair."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recurlm.comparison.contenders import Contender, Measurement, learning_warnings
from recurlm.comparison.statistics import (
    Floats,
    PermutationTest,
    TokenDifference,
    holm,
    permutation_test,
    perplexity_interval,
    sentence_sums,
    widest_differences,
)
from recurlm.errors import InputError
from recurlm.evaluation.perplexity import finite
from recurlm.text.codec import closed_blocks
from recurlm.text.sources import Text
from recurlm.text.tokenization import LINE_FEED, Tokenization
from recurlm.text.unknown import many
from recurlm.text.vocabulary import EOS
from recurlm.wording import counted

FEW_SENTENCES = 30


@dataclass(frozen=True)
class Pair:
    """Two models, by index: the test, its p-value adjusted for all pairs, and the tokens on which they differ most."""

    first: int
    second: int
    test: PermutationTest
    adjusted_p: float
    first_better: list[TokenDifference]
    second_better: list[TokenDifference]


@dataclass(frozen=True)
class Comparison:
    """Models on one text: perplexities with 95 % intervals, and every pair of models."""

    text: Text
    protocol: str
    seed: int
    sentences: int
    measurements: list[Measurement]
    intervals: list[tuple[float, float]]
    pairs: list[Pair]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object that `compare --json` prints."""
        return {
            "text": self.text.name,
            "digest": f"sha256:{self.text.sha256}",
            "protocol": self.protocol,
            "sentences": self.sentences,
            "seed": self.seed,
            "models": [
                {"model": each.name, "interval": [finite(low), finite(high)]} | each.perplexity.to_json()
                for each, (low, high) in zip(self.measurements, self.intervals, strict=True)
            ],
            "pairs": [self._pair(pair) for pair in self.pairs],
            "warnings": self.warnings,
        }

    def _pair(self, pair: Pair) -> dict[str, Any]:
        return {
            "models": [self.measurements[place].name for place in (pair.first, pair.second)],
            "difference": pair.test.difference,
            "p": pair.test.p,
            "p_holm": pair.adjusted_p,
            "test": "exact" if pair.test.exact else "random",
            "patterns": pair.test.patterns,
            "first_better": [token.to_json() for token in pair.first_better],
            "second_better": [token.to_json() for token in pair.second_better],
        }


def compare(contenders: Sequence[Contender], text: Text, *, protocol: str = "stream", seed: int = 1) -> Comparison:
    """Measures every model on a text and compares each pair.

    Raises InputError where a model gives a token probability zero.
    """
    measurements = [contender.measure(text, protocol) for contender in contenders]
    tokens = _written(text, contenders[0].codec.tokenization)
    for measurement in measurements:
        _check_finite(measurement, tokens)
    ends = measurements[0].text.ends
    sums = [sentence_sums(each.nats, ends) for each in measurements]
    lengths = np.diff(ends, prepend=0)
    intervals = [perplexity_interval(each, lengths, seed=seed) for each in sums]
    pairs = _pairs(measurements, sums, tokens, seed)
    warnings = [
        *_warnings(contenders, len(ends)),
        *_unknown_warnings(measurements),
        *learning_warnings(contenders, text),
    ]
    return Comparison(text, protocol, seed, len(ends), measurements, intervals, pairs, warnings)


def _pairs(measurements: Sequence[Measurement], sums: Sequence[Floats], tokens: Sequence[str], seed: int) -> list[Pair]:
    """Every pair of models, tested on the sums (sentences,) of their nats."""
    places = list(itertools.combinations(range(len(measurements)), 2))
    tests = [permutation_test(sums[first], sums[second], seed=seed) for first, second in places]
    adjusted = holm([test.p for test in tests])
    return [
        Pair(first, second, test, p, *widest_differences(tokens, measurements[first].nats, measurements[second].nats))
        for (first, second), test, p in zip(places, tests, adjusted, strict=True)
    ]


def _written(text: Text, tokenization: Tokenization) -> list[str]:
    """The tokens as they are written in the text; an end of line is ``<eos>``."""
    split = (token for block in closed_blocks(text) for token in tokenization.split(block))
    return [EOS if token == LINE_FEED else token for token in split]


def _check_finite(measurement: Measurement, tokens: Sequence[str]) -> None:
    zero = np.flatnonzero(~np.isfinite(measurement.nats))
    if len(zero):
        line = 1 + int(np.searchsorted(measurement.text.ends, zero[0], side="right"))
        raise InputError(
            f"{measurement.name} gives probability zero to {counted(len(zero), 'token')}, first to {tokens[zero[0]]!r} "
            f"in line {line}: its perplexity is infinite and cannot be compared"
        )


def _unknown_warnings(measurements: Sequence[Measurement]) -> list[str]:
    return [
        f"{each.name} lacks {each.perplexity.oov:,} of {each.perplexity.tokens:,} tokens "
        f"({each.perplexity.oov / each.perplexity.tokens:.1%}), which count as <unk> and are easy to predict; "
        f"`recurlm vocabulary {each.name} --extend FILE --out NEW` adds words"
        for each in measurements
        if many(each.perplexity.oov, each.perplexity.tokens)
    ]


def _warnings(contenders: Sequence[Contender], sentences: int) -> list[str]:
    warnings = []
    if len({frozenset(contender.codec.vocabulary.tokens) for contender in contenders}) > 1:
        sizes = ", ".join(f"{len(contender.codec.vocabulary):,}" for contender in contenders)
        warnings.append(
            f"the vocabularies differ (sizes {sizes}): <unk> stands for other words in each, and a model that knows "
            "fewer words looks better than it is"
        )
    if sentences < FEW_SENTENCES:
        warnings.append(f"only {counted(sentences, 'sentence')}: intervals are too narrow, and tests see little")
    return warnings
