"""The texts of a run: opened as the user or the run folder names them, and prepared as ids."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from recurlm.errors import InputError
from recurlm.progress import Watcher
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import RunFolder
from recurlm.text.codec import Codec
from recurlm.text.corpora import open_source
from recurlm.text.sources import FEW_DOCUMENTS, Corpus
from recurlm.text.store import PreparedCorpus, prepare
from recurlm.training.request import TrainingRequest
from recurlm.wording import counted, shown_name


def open_texts(request: TrainingRequest, folder: RunFolder, config: RunConfig) -> Corpus:
    """The texts of a run; texts that a run folder names, not the user, are held to what the folder recorded."""
    if folder.holds_run():
        texts = folder.corpus().open(request.places)
    elif request.start is not None and request.text is None:
        texts = RunFolder(request.start).corpus().open(request.places)
    else:
        texts = open_source(request.text or config.source, request.places, field=request.field)
    return replace(texts, test=None) if request.without_test else texts


def prepare_texts(
    texts: Corpus, config: RunConfig, codec: Codec | None, cache: Path, watcher: Watcher
) -> PreparedCorpus:
    """Tokenizes the texts with `codec`, or a new vocabulary. Raises InputError if the validation text is missing."""
    size, done = max(texts.train.size, 1), 0

    def report(characters: int) -> None:
        nonlocal done
        done += characters
        watcher.tick(min(done / size, 1.0), f"preparing {texts.name}  {done / 1e6:,.1f} million characters")

    corpus = prepare(texts, config.recipe.text, cache, report, codec)
    split = config.recipe.validation.split
    if split not in corpus.splits:
        raise InputError(f"{corpus.name}: has no {split} text; put {split}.txt beside the training text")
    return corpus


def file_lines(texts: Corpus) -> Iterator[str]:
    """What the user is told of texts that are read together."""
    if not texts.files:
        return
    size = sum(member.bytes for member in texts.files)
    where = "at ends of lines" if texts.documents < FEW_DOCUMENTS else "between documents"
    records = "" if texts.field is None else f", {counted(texts.documents, 'document')}"
    yield f"{counted(len(texts.files), 'file')}, {counted(size, 'byte')}{records}: cut in three {where}"
    if empty := [member.path for member in texts.files if member.is_empty]:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        yield f"left out, without a line: {shown_name(empty[0])}{more}"
    yield from _repeated_lines(texts)


def _repeated_lines(texts: Corpus) -> Iterator[str]:
    """Names files with the content of another one, since the parts of the text may then share lines."""
    first: dict[str, str] = {}
    repeated = [
        (member.path, other)
        for member in texts.files
        if not member.is_empty and (other := first.setdefault(member.text or member.digest, member.path)) != member.path
    ]
    if repeated:
        path, other = map(shown_name, repeated[0])
        more = f", and {len(repeated) - 1:,} more like it" if len(repeated) > 1 else ""
        yield f"the same text twice: {path} is {other} again{more}; the test part may hold text of the training part"


def given_codec(folder: RunFolder, config: RunConfig) -> Codec | None:
    """The vocabulary of the run to start from, kept by a run that has begun; None for a run with a new model."""
    if config.start is None:
        return None
    return (folder if folder.holds_run() else RunFolder(Path(config.start.run))).codec()
