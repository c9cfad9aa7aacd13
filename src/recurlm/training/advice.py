"""Advice about runs that train too briefly, or that validate on more text than they train on."""

import numpy as np
from numpy.typing import NDArray

from recurlm.config import Recipe
from recurlm.evaluation.perplexity import Perplexity, exponential
from recurlm.progress import duration
from recurlm.text.codec import EncodedText, id_blocks
from recurlm.text.store import PreparedCorpus
from recurlm.text.vocabulary import EOS_ID
from recurlm.training.counters import Counters
from recurlm.training.validation import Validator
from recurlm.wording import counted

LEAST_EPOCHS = 0.1
COUNTED_TOKENS = 10_000_000
"""Largest number of training tokens from which word frequencies are counted."""


def validation_warnings(corpus: PreparedCorpus, recipe: Recipe) -> list[str]:
    """A line if validation reads more text than training does."""
    split = recipe.validation.split
    validated, trained = len(corpus[split].ids), len(corpus["train"].ids)
    if validated <= trained * recipe.validation.every:
        return []
    return [
        f"       each validation reads {validated:,} tokens, more than an epoch of training with its {trained:,}\n"
        "       --time-limit TIME validates on a part of them; --set validation.every=N validates less often"
    ]


def advice(measured: Perplexity, counters: Counters, validator: Validator, epochs: int, limit: float | None) -> str:
    """A sentence if a run has learned next to nothing, with the time that it needs; else empty.

    Such a run read less than a tenth of its text, or its perplexity is not below the perplexity under the frequencies
    of the tokens in the training text. `measured` is of the first held-out text, `epochs` are those of the recipe.
    """
    train = validator.corpus["train"]
    read = counters.tokens / len(train.ids)
    text = validator.text(validator.held_out[0], exact=counters.exact)
    by_frequency = unigram_perplexity(train, text, eos=validator.options.protocol != "mxnet")
    worse = not measured.value < by_frequency
    if read >= LEAST_EPOCHS and not worse:
        return ""
    said = f"the model has learned next to nothing in {counted(counters.step, 'step')}, {_epochs(read)}"
    if worse:
        said += (
            f"; its perplexity of {measured.value:,.5g} is no better than word frequencies alone: {by_frequency:,.5g}"
        )
    return f"{said}\n       {_remedy(counters, read, epochs, limit)}"


def _epochs(read: float) -> str:
    return f"{read:.2g} of an epoch" if read < 1 else counted(round(read), "epoch")


def _remedy(counters: Counters, read: float, epochs: int, limit: float | None) -> str:
    seconds = (counters.seconds - counters.validation_seconds) / max(read, 1e-9)
    needed = (
        f"one epoch takes {duration(seconds)} at this speed, the recipe's {epochs:,} take {duration(epochs * seconds)}"
    )
    if limit is None or read >= epochs:
        return f"{needed}: train for more epochs, or with another optimizer.learning_rate"
    return f"{needed}: give a longer --time-limit, or a smaller recipe, such as --recipe demo"


def unigram_perplexity(train: EncodedText, text: EncodedText, *, eos: bool = True) -> float:
    """The perplexity of a text under the frequencies of the tokens in `train`, each count raised by one.

    Without `eos`, the ends of sentences are not counted.
    """
    counts, measured = _counts(train, COUNTED_TOKENS), _counts(text, len(text.ids))
    if not eos:
        measured[EOS_ID] = 0
    size = max(len(counts), len(measured))
    counts, measured = (np.pad(each, (0, size - len(each))) for each in (counts, measured))
    nats = measured @ -np.log((counts + 1) / (counts + 1).sum())
    return exponential(float(nats), max(int(measured.sum()), 1))


def _counts(text: EncodedText, tokens: int) -> NDArray[np.int64]:
    """How often each id occurs among the first tokens of a text."""
    counts = np.zeros(1, np.int64)
    for _, block in id_blocks(text.ids[:tokens]):
        here = np.bincount(block, minlength=len(counts))
        here[: len(counts)] += counts
        counts = here
    return counts
