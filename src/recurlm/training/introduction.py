"""What the user is told about a run before it trains: text, model, length, and how it computes."""

from collections.abc import Iterator

import torch

from recurlm.config import DocumentRule, Recipe
from recurlm.devices import slower_than_fp32
from recurlm.models.outputs import sample_size
from recurlm.progress import Watcher, duration, say_all
from recurlm.text.codec import EncodedText
from recurlm.text.tokenization import PLURALS
from recurlm.text.unknown import many
from recurlm.training.cut import Noticed
from recurlm.training.prepared import PreparedRun
from recurlm.wording import counted

BEGINNINGS: dict[DocumentRule, str] = {"file": "files", "blank-line": "blank lines", "line": "lines"}
"""What separates the documents of a text."""


def introduce(run: PreparedRun, watcher: Watcher, noticed: Noticed) -> None:
    """Tells the user what is about to train, and what was noticed about its text."""
    say_all(watcher, _text_lines(run))
    noticed.tell(watcher)
    _warn_of_unknown_words(run, watcher)
    say_all(watcher, (f"       {line}" for line in run.batches.report()))
    say_all(watcher, _model_lines(run))
    say_all(watcher, _run_lines(run))


def _text_lines(run: PreparedRun) -> Iterator[str]:
    train, vocabulary = run.corpus["train"], run.corpus.codec.vocabulary
    size = f"{counted(train.sentences, 'sentence')}, {counted(len(train.ids), 'token')} with <eos>"
    yield f"text   {run.corpus.name}: {size}, {len(vocabulary):,} different {PLURALS[run.recipe.text.unit]}"
    if train.oov:
        yield f"       {counted(train.oov, 'token')} ({train.oov / len(train.ids):.1%}) read as <unk>"
    yield from _document_lines(train, run.recipe)


def _document_lines(train: EncodedText, recipe: Recipe) -> Iterator[str]:
    """Where the state restarts, unless the text is one file and one document, or every batch starts from zeros."""
    rule, documents = train.document, 1 + len(train.further_documents)
    if rule == "file" and (documents == 1 or recipe.batches.kind == "sentences"):
        return
    effect = "the state restarts at each" if documents > 1 else "the state is carried through all of it"
    yield f"       documents: {documents:,} ({BEGINNINGS[rule]}); {effect}"


def _warn_of_unknown_words(run: PreparedRun, watcher: Watcher) -> None:
    train, start = run.corpus["train"], run.config.start
    if start is not None and many(train.oov, len(train.ids)):
        watcher.warn(
            f"warning: {start.run} does not know many of these words, so perplexities look better than they are\n"
            f"add them first: recurlm vocabulary {start.run} --extend FILE --out NEW, then train --from NEW"
        )


def _model_lines(run: PreparedRun) -> Iterator[str]:
    yield f"model  {run.recipe.model.layers_in_words}, {run.model.parameter_count():,} parameters"
    estimated_from = sample_size(run.model.decoder)
    if estimated_from is not None:
        unit = PLURALS[run.recipe.text.unit]
        yield f"       training losses are estimates from {estimated_from:,} {unit} a step"


def _run_lines(run: PreparedRun) -> Iterator[str]:
    config, training = run.config, run.recipe.training
    limit = "" if config.time_limit is None else f", {duration(config.time_limit)} at most"
    length = counted(training.epochs, "epoch") if training.until == "epochs" else "as many epochs as fit"
    yield f"run    {run.folder.path}: {length}{limit}, {config.device}, {config.precision}, seed {config.seed}"
    if config.start is not None:
        rate, schedule = run.recipe.optimizer.learning_rate, run.recipe.schedule.kind
        yield f"       starts from {config.start.run}: learning rate {rate:.3g}, schedule {schedule}"
    if run.recipe.batches.kind == "sentences" and run.recipe.validation.protocol == "stream":
        yield "       trains each line from a zero state, but validates with the state carried from line to line;"
        yield "       --set validation.protocol=sentence validates as it trains"
    slower = slower_than_fp32(config.precision, torch.device(config.device))
    if slower is not None:
        yield f"       {slower}"
    if not config.repeatable:
        yield "       not reproducible bit for bit: the run ends by wall-clock time"
