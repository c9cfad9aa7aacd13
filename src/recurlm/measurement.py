"""Several models on one text: run folders and ARPA files, compared pair by pair or mixed into one."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.checkpoints import MODEL_FILE, RunFolder, digest
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.comparison import (
    PermutationTest,
    TokenDifference,
    holm,
    permutation_test,
    perplexity_interval,
    sentence_sums,
    widest_differences,
)
from recurlm.evaluation.interpolation import AUTO, fit_weights, mixed_nats, parse_weights
from recurlm.evaluation.perplexity import STATES, Perplexity, finite, perplexity_of, token_nats
from recurlm.files import digest_of
from recurlm.interface import load
from recurlm.models.arpa import read_arpa
from recurlm.models.language_model import LanguageModel
from recurlm.models.ngram import NGramModel
from recurlm.text.codec import Codec, EncodedText, closed_blocks
from recurlm.text.corpora import is_single_file, open_part
from recurlm.text.sources import Text
from recurlm.text.tokenization import LINE_FEED, BytePairs, Tokenization, Words
from recurlm.text.vocabulary import EOS

PROTOCOLS = ("stream", "sentence")
FEW_SENTENCES = 30


@dataclass(frozen=True)
class Measurement:
    """What one model makes of a text: -ln p of each token (N,), and its perplexity with signature."""

    name: str
    text: EncodedText
    nats: NDArray[np.float64]
    perplexity: Perplexity


@dataclass(frozen=True)
class Contender:
    """A model that takes part: a run folder's or an ARPA file's.

    digest: ``run:`` or ``arpa:`` and the first eight hex digits of its file's SHA-256 · source: the corpus a run
    learned from, empty for ARPA.
    """

    name: str
    digest: str
    codec: Codec
    model: LanguageModel | NGramModel
    source: str = ""

    def measure(self, text: Text, protocol: str) -> Measurement:
        """Measure a text under stream or sentence; an n-gram model begins every sentence anew under either."""
        if protocol not in PROTOCOLS:
            raise UsageError(f"--protocol {protocol}: several models are measured by {' or '.join(PROTOCOLS)}")
        encoded = self._encoded(text)
        if isinstance(self.model, NGramModel):
            nats, extra = self.model.token_nats(encoded.ids), {"order": self.model.order}
        else:
            nats, extra = token_nats(self.model, encoded, protocol), {}
        result = perplexity_of(encoded, nats, protocol, state=self.state(protocol), model=self.digest, **extra)
        return Measurement(self.name, encoded, nats, result)

    def state(self, protocol: str) -> str:
        """What signatures say of the state at the end of a sentence."""
        return "<s>" if isinstance(self.model, NGramModel) else STATES[protocol]

    def _encoded(self, text: Text) -> EncodedText:
        try:
            return self.codec.encode(text)
        except InputError as error:
            if isinstance(self.model, NGramModel) and self.codec.vocabulary.unknown_id is None:
                raise InputError(f"{error}\n{self.name} lacks it; `recurlm ngram --vocabulary RUN` adds it") from error
            raise


@dataclass(frozen=True)
class Pair:
    """Two models, by their places: the test, its p adjusted for all pairs, and the tokens on which they differ most."""

    first: int
    second: int
    test: PermutationTest
    adjusted_p: float
    first_better: list[TokenDifference]
    second_better: list[TokenDifference]


@dataclass(frozen=True)
class Comparison:
    """Models side by side on one text: perplexities with 95 % intervals, and every pair of them."""

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


@dataclass(frozen=True)
class Mixture:
    """Models mixed by linear interpolation, each alone beside them.

    held_out: the text on which the weights were fitted, or None where they were given.
    """

    measurements: list[Measurement]
    weights: tuple[float, ...]
    held_out: Text | None
    perplexity: Perplexity

    def to_json(self) -> dict[str, Any]:
        """The object that `eval --with --json` prints: that of `eval`, and the models and their weights."""
        held_out = self.held_out
        return self.perplexity.to_json() | {
            "models": [
                {"model": each.name, "weight": weight} | each.perplexity.to_json()
                for each, weight in zip(self.measurements, self.weights, strict=True)
            ],
            "weights": "given" if held_out is None else "em",
            "held_out": None if held_out is None else {"text": held_out.name, "digest": f"sha256:{held_out.sha256}"},
        }


def open_contenders(paths: Sequence[Path], device: str = "cpu") -> list[Contender]:
    """The models of run folders and ARPA files. N-grams are over the tokens of the runs beside them, or over words.

    Raises InputError where the models do not cut text into the same tokens, and for what cannot be read.
    """
    runs = [_run(path, device) for path in paths if not path.is_file()]
    for run in runs[1:]:
        if not _same_tokens(runs[0].codec.tokenization, run.codec.tokenization):
            raise InputError(
                f"{runs[0].name} and {run.name} cut text into different tokens, so their perplexities say nothing "
                "about each other\ncompare the bits per character that `recurlm eval` prints for each"
            )
    tokenization: Tokenization = runs[0].codec.tokenization if runs else Words()
    if tokenization.unit == "character" and len(runs) < len(paths):
        raise InputError(f"{runs[0].name} is over characters; n-grams of ARPA files are over words")
    waiting = iter(runs)
    return [_arpa(path, tokenization) if path.is_file() else next(waiting) for path in paths]


def compare(contenders: Sequence[Contender], text: Text, *, protocol: str = "stream", seed: int = 1) -> Comparison:
    """Measure every model on a text and compare each pair.

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
    places = list(itertools.combinations(range(len(measurements)), 2))
    tests = [permutation_test(sums[first], sums[second], seed=seed) for first, second in places]
    adjusted = holm([test.p for test in tests])
    pairs = [
        Pair(
            first,
            second,
            test,
            p,
            *widest_differences(tokens, measurements[first].nats, measurements[second].nats),
        )
        for (first, second), test, p in zip(places, tests, adjusted, strict=True)
    ]
    warnings = _warnings(contenders, len(ends))
    return Comparison(text, protocol, seed, len(ends), measurements, intervals, pairs, warnings)


def mix(
    contenders: Sequence[Contender],
    text: Text,
    *,
    protocol: str = "stream",
    weights: tuple[float, ...] | None = None,
    held_out: Text | None = None,
) -> Mixture:
    """Measure the mixture of several models, with these weights or those that fit `held_out` best.

    Raises InputError where the models have different vocabularies, or where `held_out` has to do with the text.
    """
    _check_vocabularies(contenders)
    if weights is None:
        assert held_out is not None
        if held_out.overlaps(text):
            raise InputError(
                f"{held_out.name} is the text that is measured, or shares some of it; name another with --held-out"
            )
        fitted = [contender.measure(held_out, protocol).nats for contender in contenders]
        weights = fit_weights(np.stack(fitted)).weights
    measurements = [contender.measure(text, protocol) for contender in contenders]
    nats = mixed_nats(np.stack([each.nats for each in measurements]), weights)
    result = perplexity_of(
        measurements[0].text,
        nats,
        protocol,
        state="+".join(dict.fromkeys(contender.state(protocol) for contender in contenders)),
        models=",".join(contender.digest for contender in contenders),
        weights=",".join(f"{weight:.4f}" for weight in weights),
        chosen="given" if held_out is None else f"em:{held_out.sha256[:8]}",
    )
    return Mixture(measurements, weights, held_out, result)


def evaluate_mixture(
    paths: Sequence[Path],
    text: str | None,
    *,
    split: str | None = None,
    protocol: str = "stream",
    weight: str = AUTO,
    held_out: str | None = None,
    device: str = "cpu",
    **where: Any,
) -> Mixture:
    """Mix the models of run folders and ARPA files on a text, or without one on the corpus the first learned from.

    weight: as `parse_weights` has it · held_out: a file, or a corpus of which the valid split is taken; without it the
    valid split beside the text · where: as for `open_part`. Raises UsageError where weights have nothing to be fitted
    on, or both weights and a text to fit them on are given.
    """
    weights = parse_weights(weight, len(paths))
    if weights is not None and held_out is not None:
        raise UsageError("--held-out belongs to --weight auto; weights that are given are not fitted")
    contenders = open_contenders(paths, device)
    source = text or contenders[0].source
    if not source:
        raise UsageError(f"name a text: {paths[0]} does not say which corpus it learned from")
    part = split if text else split or "test"
    return mix(
        contenders,
        open_part(source, part, **where),
        protocol=protocol,
        weights=weights,
        held_out=_held_out(source, part, held_out, where) if weights is None else None,
    )


def _held_out(measured: str, split: str | None, given: str | None, where: dict[str, Any]) -> Text:
    if given is not None:
        return open_part(given, None if is_single_file(given) else "valid", **where)
    if split == "valid" or (split is None and is_single_file(measured)):
        raise UsageError("--weight auto needs --held-out TEXT here: weights are never fitted on what is measured")
    return open_part(measured, "valid", **where)


def _run(path: Path, device: str) -> Contender:
    if not path.exists():
        raise InputError(f"{path}: no such run folder or ARPA file")
    model = load(path, device=device)
    weights = digest(RunFolder(path).read(MODEL_FILE))
    return Contender(str(path), f"run:{weights[:8]}", model.codec, model.network, model.source)


def _arpa(path: Path, tokenization: Tokenization) -> Contender:
    model = read_arpa(path)
    content = digest_of(path).partition(":")[2]
    return Contender(str(path), f"arpa:{content[:8]}", Codec(tokenization, model.vocabulary), model)


def _same_tokens(one: Tokenization, other: Tokenization) -> bool:
    if isinstance(one, BytePairs) and isinstance(other, BytePairs):
        return one.serialized == other.serialized
    return one.unit == other.unit


def _written(text: Text, tokenization: Tokenization) -> list[str]:
    """Tokens as they stand in the text, ends of lines as ``<eos>``."""
    split = (token for block in closed_blocks(text) for token in tokenization.split(block))
    return [EOS if token == LINE_FEED else token for token in split]


def _check_finite(measurement: Measurement, tokens: Sequence[str]) -> None:
    zero = np.flatnonzero(~np.isfinite(measurement.nats))
    if len(zero):
        line = 1 + int(np.searchsorted(measurement.text.ends, zero[0], side="right"))
        raise InputError(
            f"{measurement.name} gives probability zero to {len(zero):,} tokens, first to {tokens[zero[0]]!r} in line "
            f"{line}: its perplexity is infinite and cannot be compared"
        )


def _warnings(contenders: Sequence[Contender], sentences: int) -> list[str]:
    warnings = []
    if len({frozenset(contender.codec.vocabulary.tokens) for contender in contenders}) > 1:
        sizes = ", ".join(f"{len(contender.codec.vocabulary):,}" for contender in contenders)
        warnings.append(
            f"the vocabularies differ (sizes {sizes}): <unk> stands for other words in each, and a model that knows "
            "fewer words looks better than it is"
        )
    if sentences < FEW_SENTENCES:
        warnings.append(f"{sentences} sentences are few: intervals are too narrow, and tests see little")
    return warnings


def _check_vocabularies(contenders: Sequence[Contender]) -> None:
    first = contenders[0]
    words = set(first.codec.vocabulary.tokens)
    for other in contenders[1:]:
        others = set(other.codec.vocabulary.tokens)
        if words != others:
            raise InputError(
                f"{first.name} and {other.name} have different vocabularies ({len(words - others):,} tokens only in "
                f"the first, {len(others - words):,} only in the second), so their mixture is no distribution\n"
                "`recurlm ngram --vocabulary RUN` estimates n-grams over a run's words"
            )
