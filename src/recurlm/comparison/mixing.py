"""Mixtures of models by linear interpolation, with given weights or weights fitted on held-out text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recurlm.comparison.contenders import Contender, Measurement, learning_warnings, open_contenders
from recurlm.comparison.interpolation import AUTO, fit_weights, mixed_nats, parse_weights
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import Perplexity, perplexity_of
from recurlm.text.corpora import is_single_file, open_part, open_source
from recurlm.text.places import DataPlaces
from recurlm.text.sources import Text
from recurlm.wording import counted


@dataclass(frozen=True)
class Mixture:
    """The perplexity of a mixture, and of each of its models alone.

    held_out: the text on which the weights were fitted, or None for given weights · warnings: about texts that one of
    the models learned from.
    """

    measurements: list[Measurement]
    weights: tuple[float, ...]
    held_out: Text | None
    perplexity: Perplexity
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object that `eval --with --json` prints: that of `eval`, plus the models and their weights."""
        held_out = self.held_out
        return self.perplexity.to_json() | {
            "models": [
                {"model": each.name, "weight": weight} | each.perplexity.to_json()
                for each, weight in zip(self.measurements, self.weights, strict=True)
            ],
            "warnings": self.warnings,
            "weights": "given" if held_out is None else "em",
            "held_out": None if held_out is None else {"text": held_out.name, "digest": f"sha256:{held_out.sha256}"},
        }


def mix(
    contenders: Sequence[Contender],
    text: Text,
    *,
    protocol: str = "stream",
    weights: tuple[float, ...] | None = None,
    held_out: Text | None = None,
) -> Mixture:
    """Measures the mixture of several models, with these weights or with those that fit `held_out` best.

    Raises InputError where the models have different vocabularies, or where `held_out` overlaps the text.
    """
    _check_vocabularies(contenders)
    if weights is None:
        assert held_out is not None
        weights = _fitted(contenders, text, held_out, protocol)
    measurements = [contender.measure(text, protocol) for contender in contenders]
    warnings = learning_warnings(contenders, text)
    if held_out is not None:
        warnings += [f"weights fitted on it are of no use: {each}" for each in learning_warnings(contenders, held_out)]
    result = perplexity_of(
        measurements[0].text,
        mixed_nats(np.stack([each.nats for each in measurements]), weights),
        protocol,
        state="+".join(dict.fromkeys(_states(contenders, measurements, protocol))),
        models=",".join(contender.digest for contender in contenders),
        weights=",".join(f"{weight:.4f}" for weight in weights),
        chosen="given" if held_out is None else _chosen(contenders, held_out),
    )
    seen = [contender.digest for contender in contenders if contender.learned_from(text)]
    if seen:
        result = result.seen_by(",".join(seen))
    return Mixture(measurements, weights, held_out, result, warnings)


def _states(contenders: Sequence[Contender], measurements: Sequence[Measurement], protocol: str) -> Iterator[str]:
    for contender, measurement in zip(contenders, measurements, strict=True):
        yield contender.state(protocol, measurement.text)


def _fitted(contenders: Sequence[Contender], text: Text, held_out: Text, protocol: str) -> tuple[float, ...]:
    if held_out.overlaps(text):
        raise InputError(f"{held_out.name} is the measured text, or shares some of it; name another with --held-out")
    nats = [contender.measure(held_out, protocol).nats for contender in contenders]
    return fit_weights(np.stack(nats)).weights


@dataclass(frozen=True)
class MixtureTexts:
    """The texts that a mixture is measured on and that its weights are fitted on.

    text: a file or corpus; None for the corpus that the first model learned from · split: the part to measure, by
    default test, or a file as a whole · held_out: a file, or a corpus whose valid split is used; None for the valid
    split beside the text · places: where corpora are looked for; None for those of the environment.
    """

    text: str | None = None
    split: str | None = None
    held_out: str | None = None
    places: DataPlaces | None = None


def evaluate_mixture(
    paths: Sequence[Path],
    texts: MixtureTexts,
    *,
    protocol: str = "stream",
    weight: str = AUTO,
    device: str = "cpu",
) -> Mixture:
    """Measures the mixture of the models in run folders and ARPA files; `weight` as `parse_weights` takes it.

    Raises UsageError where there is no text to fit weights on, or where both weights and such a text are given.
    """
    weights = parse_weights(weight, len(paths))
    if weights is not None and texts.held_out is not None:
        raise UsageError("--held-out belongs to --weight auto; weights that are given are not fitted")
    contenders = open_contenders(paths, device)
    measured, beside = _measured_and_beside(contenders[0], texts)
    if weights is not None:
        return mix(contenders, measured, protocol=protocol, weights=weights)
    held_out = beside if texts.held_out is None else _held_out(texts.held_out, texts.places)
    if held_out is None:
        raise UsageError("--weight auto needs --held-out TEXT here: weights are never fitted on the measured text")
    return mix(contenders, measured, protocol=protocol, held_out=held_out)


def _chosen(contenders: Sequence[Contender], held_out: Text) -> str:
    """What the signature says of the held-out text, and of the models that learned from it."""
    seen = [contender.digest for contender in contenders if contender.learned_from(held_out)]
    return f"em:{held_out.sha256[:8]}" + (f"(seen by {','.join(seen)})" if seen else "")


def _measured_and_beside(first: Contender, texts: MixtureTexts) -> tuple[Text, Text | None]:
    """The text to measure, and the valid split beside it where there is a different one."""
    if texts.text is not None:
        return _open(texts.text, texts.split, texts.places)
    corpus = first.corpus
    if corpus is None or not corpus.source:
        raise UsageError(f"name a text: {first.name} does not say which corpus it learned from")
    split = texts.split or "test"
    measured = corpus.part(split, texts.places)
    return measured, corpus.part("valid", texts.places) if split != "valid" and "valid" in corpus.splits else None


def _open(source: str, split: str | None, places: DataPlaces | None) -> tuple[Text, Text | None]:
    # one call opens both, because a pipe can be read only once
    if split is None and is_single_file(source):
        return open_part(source, places=places), None
    corpus = open_source(source, places)
    return corpus.split(split or "test"), None if split == "valid" else corpus.valid


def _held_out(given: str, places: DataPlaces | None) -> Text:
    return open_part(given, None if is_single_file(given) else "valid", places)


def _check_vocabularies(contenders: Sequence[Contender]) -> None:
    first = contenders[0]
    words = set(first.codec.vocabulary.tokens)
    for other in contenders[1:]:
        others = set(other.codec.vocabulary.tokens)
        if words != others:
            raise InputError(
                f"{first.name} and {other.name} have different vocabularies "
                f"({counted(len(words - others), 'token')} only in the first, "
                f"{len(others - words):,} only in the second), so their mixture is not a distribution\n"
                "`recurlm ngram --vocabulary RUN` estimates n-grams over a run's words"
            )
