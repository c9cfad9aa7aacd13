"""Models mixed into one by linear interpolation, with weights that are given or fitted on held-out text."""

from collections.abc import Sequence
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
    """Models mixed by linear interpolation, each alone beside them.

    held_out: the text on which the weights were fitted, or None where they were given · warnings: about texts that
    one of the models learned from.
    """

    measurements: list[Measurement]
    weights: tuple[float, ...]
    held_out: Text | None
    perplexity: Perplexity
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object that `eval --with --json` prints: that of `eval`, and the models and their weights."""
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
    warnings = learning_warnings(contenders, text)
    if held_out is not None:
        warnings += [f"weights fitted on it are of no use: {each}" for each in learning_warnings(contenders, held_out)]
    nats = mixed_nats(np.stack([each.nats for each in measurements]), weights)
    result = perplexity_of(
        measurements[0].text,
        nats,
        protocol,
        state="+".join(dict.fromkeys(contender.state(protocol) for contender in contenders)),
        models=",".join(contender.digest for contender in contenders),
        weights=",".join(f"{weight:.4f}" for weight in weights),
        chosen="given" if held_out is None else _chosen(contenders, held_out),
    )
    seen = [contender.digest for contender in contenders if contender.learned_from(text)]
    if seen:
        result = result.seen_by(",".join(seen))
    return Mixture(measurements, weights, held_out, result, warnings)


def evaluate_mixture(
    paths: Sequence[Path],
    text: str | None,
    *,
    split: str | None = None,
    protocol: str = "stream",
    weight: str = AUTO,
    held_out: str | None = None,
    device: str = "cpu",
    places: DataPlaces | None = None,
) -> Mixture:
    """Mix the models of run folders and ARPA files on a text, or without one on the corpus the first learned from.

    weight: as `parse_weights` has it · held_out: a file, or a corpus of which the valid split is taken; without it the
    valid split beside the text · places: where texts are looked for; without them the environment says. Raises
    UsageError where weights have nothing to be fitted on, or both weights and a text to fit them on are given.
    """
    weights = parse_weights(weight, len(paths))
    if weights is not None and held_out is not None:
        raise UsageError("--held-out belongs to --weight auto; weights that are given are not fitted")
    contenders = open_contenders(paths, device)
    if text is not None:
        measured, beside = _open(text, split, places)
    else:
        measured, beside = _own_texts(contenders[0], split or "test", places)
    if weights is None:
        beside = beside if held_out is None else _held_out(held_out, places)
        if beside is None:
            raise UsageError("--weight auto needs --held-out TEXT here: weights are never fitted on what is measured")
    return mix(contenders, measured, protocol=protocol, weights=weights, held_out=beside if weights is None else None)


def _chosen(contenders: Sequence[Contender], held_out: Text) -> str:
    """What the signature says of the text on which weights were fitted, and of the models that learned from it."""
    seen = [contender.digest for contender in contenders if contender.learned_from(held_out)]
    return f"em:{held_out.sha256[:8]}" + (f"(seen by {','.join(seen)})" if seen else "")


def _own_texts(contender: Contender, split: str, places: DataPlaces | None) -> tuple[Text, Text | None]:
    """The split of the corpus that a run learned from, and the valid split beside it where there is another."""
    corpus = contender.corpus
    if corpus is None or not corpus.source:
        raise UsageError(f"name a text: {contender.name} does not say which corpus it learned from")
    measured = corpus.part(split, places)
    return measured, corpus.part("valid", places) if split != "valid" and "valid" in corpus.splits else None


def _open(source: str, split: str | None, places: DataPlaces | None) -> tuple[Text, Text | None]:
    """The text to measure, and the valid split beside it where there is another; the source is read once."""
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
                f"{len(others - words):,} only in the second), so their mixture is no distribution\n"
                "`recurlm ngram --vocabulary RUN` estimates n-grams over a run's words"
            )
