"""The models that take part in a comparison or a mixture, from run folders and ARPA files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recurlm.config import DocumentRule
from recurlm.errors import InputError, UsageError
from recurlm.evaluation.perplexity import Perplexity, perplexity_of, state_of
from recurlm.evaluation.protocols import token_nats
from recurlm.files import digest_of
from recurlm.files.suggestions import did_you_mean
from recurlm.models.language_model import LanguageModel
from recurlm.ngrams.arpa import read_arpa
from recurlm.ngrams.model import NGramModel
from recurlm.runs.opening import open_model
from recurlm.text.codec import Codec, EncodedText
from recurlm.text.recorded import RecordedCorpus
from recurlm.text.sources import Text
from recurlm.text.tokenization import BytePairs, Tokenization, Words

COMPARABLE_PROTOCOLS = ("stream", "sentence")
"""The protocols that count every token of a text, so that models can be compared token by token."""


@dataclass(frozen=True)
class Measurement:
    """One model's measurement of a text: -ln p of each token (N,), and the perplexity with its signature."""

    name: str
    text: EncodedText
    nats: NDArray[np.float64]
    perplexity: Perplexity


@dataclass(frozen=True)
class Contender:
    """A model that takes part, from a run folder or an ARPA file.

    digest: ``sha256:`` and the first eight hex digits of a run's model digest, as `score` prints it, or ``arpa:`` and
    those of the file's SHA-256 · corpus: what a run learned from; None for ARPA files · document: where the state of a
    run restarts.
    """

    name: str
    digest: str
    codec: Codec
    model: LanguageModel | NGramModel
    corpus: RecordedCorpus | None = None
    document: DocumentRule = "file"

    def learned_from(self, text: Text) -> bool:
        """Whether the model is recorded as having learned from a text or a part of it."""
        if isinstance(self.model, NGramModel):
            return any(each.overlaps(text) for each in self.model.learned)
        return self.corpus is not None and self.corpus.learned_from(text)

    def measure(self, text: Text, protocol: str) -> Measurement:
        """Measures a text under stream or sentence; under both, an n-gram model starts every sentence with ``<s>``."""
        if protocol not in COMPARABLE_PROTOCOLS:
            raise UsageError(
                f"--protocol {protocol}: several models are measured by {' or '.join(COMPARABLE_PROTOCOLS)}"
            )
        encoded = self._encoded(text)
        if isinstance(self.model, NGramModel):
            nats, extra = self.model.token_nats(encoded.ids), {"order": self.model.order}
        else:
            nats, extra = token_nats(self.model, encoded, protocol), {}
        result = perplexity_of(encoded, nats, protocol, state=self.state(protocol, encoded), model=self.digest, **extra)
        if self.learned_from(text):
            result = result.seen_by(self.digest)
        return Measurement(self.name, encoded, nats, result)

    def state(self, protocol: str, text: EncodedText) -> str:
        """What signatures say about the state between the sentences of a text."""
        return "<s>" if isinstance(self.model, NGramModel) else state_of(protocol, text)

    def _encoded(self, text: Text) -> EncodedText:
        try:
            return self.codec.encode(text, document=self.document)
        except InputError as error:
            if isinstance(self.model, NGramModel) and self.codec.vocabulary.unknown_id is None:
                raise InputError(f"{error}\n{self.name} lacks it; `recurlm ngram --vocabulary RUN` adds it") from error
            raise


def learning_warnings(contenders: Sequence[Contender], text: Text) -> list[str]:
    """One warning for each model that learned from the text, or whose own copy of the text was altered since."""
    altered = [None if contender.corpus is None else contender.corpus.altered(text) for contender in contenders]
    return list(dict.fromkeys(filter(None, altered))) + [
        f"{contender.name} learned from {text.place} or a part of it: its figure there says nothing about new text"
        for contender in contenders
        if contender.learned_from(text)
    ]


def open_contenders(paths: Sequence[Path], device: str = "cpu") -> list[Contender]:
    """Opens the models of run folders and ARPA files; n-grams take the tokens of the runs, or words without a run.

    Raises InputError where the models do not cut text into the same tokens, and for a file that cannot be read.
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


def _run(path: Path, device: str) -> Contender:
    if not path.exists():
        raise InputError(f"{path}: no such run folder or ARPA file{did_you_mean(path)}")
    model = open_model(path, device)
    return Contender(
        str(path), f"sha256:{model.digest[:8]}", model.codec, model.network, model.corpus, model.recipe.text.document
    )


def _arpa(path: Path, tokenization: Tokenization) -> Contender:
    model = read_arpa(path)
    return Contender(str(path), f"arpa:{_first_digits(path)}", Codec(tokenization, model.vocabulary), model)


def _first_digits(path: Path) -> str:
    return digest_of(path).partition(":")[2][:8]


def _same_tokens(one: Tokenization, other: Tokenization) -> bool:
    if isinstance(one, BytePairs) and isinstance(other, BytePairs):
        return one.serialized == other.serialized
    return (one.unit, one.cut) == (other.unit, other.cut)
