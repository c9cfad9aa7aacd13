"""From what the user asked to a trainer that is ready to fit."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from recurlm.devices import slower_than_fp32
from recurlm.errors import InputError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory_estimate import check_training_fits
from recurlm.models.outputs import sample_size
from recurlm.progress import Watcher, duration
from recurlm.runs.computation import changed_computation
from recurlm.runs.config import RunConfig, Start
from recurlm.runs.folder import MODEL_FILE, RunFolder, digest
from recurlm.tensor_files import tensors
from recurlm.text.batching import BatchSource, open_batches
from recurlm.text.codec import EncodedText
from recurlm.text.corpora import is_read_once, open_source
from recurlm.text.sources import Corpus
from recurlm.text.store import PreparedCorpus, prepare
from recurlm.text.unknown import many
from recurlm.training.clock import Clock, now
from recurlm.training.loop import AfterValidation, Trainer
from recurlm.training.request import TrainingRequest, open_run, refuse_held
from recurlm.training.tensorboard import TensorBoard
from recurlm.wording import counted

TENSORBOARD_FOLDER = "tensorboard"


def prepare_training(
    request: TrainingRequest, watcher: Watcher, after_validation: AfterValidation | None = None
) -> Trainer:
    """Open or begin the run folder, prepare the text, build the model.

    Raises UsageError or InputError for what cannot be, before anything is written.
    """
    loaded = now()
    folder, config = open_run(request)
    clock = Clock(config.time_limit, began=loaded if request.began is None else request.began, loaded=loaded)
    begins = not folder.holds_run()
    torch.set_num_threads(config.threads)
    source_text = _open_source(config, request, folder)
    if is_read_once(config.source):
        config = replace(config, source=str(source_text.train.path.resolve()))
    corpus = _prepare(source_text, config, folder, request, watcher)
    split = config.recipe.validation.split
    if split not in corpus.splits:
        raise InputError(f"{corpus.name}: has no {split} text; put {split}.txt beside the training text")
    check_training_fits(config.recipe, len(corpus.codec.vocabulary), len(corpus["train"].ids))
    source = open_batches(corpus["train"], config.recipe.batches, config.seed)
    torch.manual_seed(config.seed)
    model = LanguageModel(config.recipe.model, len(corpus.codec.vocabulary))
    if config.start is None:
        initialise(model, config.recipe.initialisation)
    elif not folder.has_checkpoint():
        _load_start(model, config.start)
    model.to(torch.device(config.device))
    with ExitStack() as claim:
        claim.enter_context(folder.claimed())
        if begins:
            refuse_held(folder)  # another process may have been quicker
            folder.create(config.to_json(corpus, model.parameter_count(), source_text), corpus.codec)
        _introduce(watcher, config, corpus, source, model, folder)
        changed = None if begins else changed_computation(folder, config.device)
        if changed is not None:
            watcher.warn(f"       {changed}")
        return Trainer(
            config.recipe,
            model,
            source,
            corpus,
            folder,
            watcher,
            precision=config.precision,
            clock=clock,
            mirror=TensorBoard(folder.path / TENSORBOARD_FOLDER) if request.tensorboard else None,
            after_validation=after_validation,
            claim=claim.pop_all(),
        )


def _load_start(model: LanguageModel, start: Start) -> None:
    folder = RunFolder(Path(start.run))
    content = folder.read(MODEL_FILE)
    if digest(content) != start.model:
        raise InputError(f"{folder.path}: its model is no longer the one this run started from; bring that back")
    try:
        model.load_weights(tensors(content, folder.path / MODEL_FILE))
    except RuntimeError as error:
        raise InputError(
            f"{folder.path}: its model has other sizes than the recipe asks for; leave them out"
        ) from error


def _open_source(config: RunConfig, request: TrainingRequest, folder: RunFolder) -> Corpus:
    """The corpus; one that no command names but a run folder is held to what that recorded."""
    if folder.holds_run():
        source = folder.corpus().open(request.places)
    elif request.start is not None and request.text is None:
        source = RunFolder(request.start).corpus().open(request.places)
    else:
        source = open_source(config.source, request.places)
    return replace(source, test=None) if request.without_test else source


def _prepare(
    source: Corpus, config: RunConfig, folder: RunFolder, request: TrainingRequest, watcher: Watcher
) -> PreparedCorpus:
    size = max(source.train.size, 1)
    done = 0

    def report(characters: int) -> None:
        nonlocal done
        done += characters
        watcher.tick(min(done / size, 1.0), f"preparing {source.name}: {done / 1e6:,.0f} million characters")

    codec = None
    if config.start is not None:
        codec = (folder if folder.holds_run() else RunFolder(Path(config.start.run))).codec()
    return prepare(source, config.recipe.text, request.places.cache, report, codec)


def _introduce(
    watcher: Watcher,
    config: RunConfig,
    corpus: PreparedCorpus,
    source: BatchSource,
    model: LanguageModel,
    folder: RunFolder,
) -> None:
    unit = {"word": "words", "character": "characters", "bpe": "pieces"}[config.recipe.text.unit]
    watcher.say(f"text   {corpus.name}: {_size(corpus['train'])}, {len(corpus.codec.vocabulary):,} different {unit}")
    replaced = corpus["train"].oov
    if replaced:
        watcher.say(f"       {counted(replaced, 'token')} ({replaced / len(corpus['train'].ids):.1%}) read as <unk>")
    if config.start is not None and many(replaced, len(corpus["train"].ids)):
        watcher.warn(
            f"warning: {config.start.run} lacks so many of these words that perplexities look better than they are\n"
            f"add them first: recurlm vocabulary {config.start.run} --extend FILE --out NEW, then train --from NEW"
        )
    for line in source.report():
        watcher.say(f"       {line}")
    watcher.say(f"model  {config.recipe.model.layers_in_words}, {model.parameter_count():,} parameters")
    estimated_from = sample_size(model.decoder)
    if estimated_from is not None:
        watcher.say(f"       training losses are estimates from {estimated_from:,} {unit} a step")
    limit = "" if config.time_limit is None else f", {duration(config.time_limit)} at most"
    training = config.recipe.training
    length = counted(training.epochs, "epoch") if training.until == "epochs" else "as many epochs as fit"
    watcher.say(f"run    {folder.path}: {length}{limit}, {config.device}, {config.precision}, seed {config.seed}")
    slower = slower_than_fp32(config.precision, torch.device(config.device))
    if slower is not None:
        watcher.say(f"       {slower}")
    if not config.repeatable:
        watcher.say("       the clock has a say in it, so it cannot be repeated bit for bit")


def _size(text: EncodedText) -> str:
    return f"{counted(len(text.ends), 'sentence')}, {counted(len(text.ids), 'token')} with <eos>"
