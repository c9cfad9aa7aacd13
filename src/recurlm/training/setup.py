"""From what the user asked for to a trainer that is ready to fit."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from recurlm.distributed import Team, agreed
from recurlm.errors import InputError
from recurlm.models.initialisation import initialise
from recurlm.models.language_model import LanguageModel
from recurlm.models.memory_estimate import check_training_fits
from recurlm.progress import Silent, Watcher
from recurlm.runs.computation import changed_computation, computing_threads, kernels
from recurlm.runs.config import RunConfig, Start
from recurlm.runs.folder import MODEL_FILE, RunFolder
from recurlm.runs.manifest import digest
from recurlm.runs.prolongation import record_epochs
from recurlm.tensor_files import tensors
from recurlm.text.batching import open_batches
from recurlm.text.corpora import is_read_once
from recurlm.text.sources import Corpus
from recurlm.text.store import PreparedCorpus
from recurlm.training.clock import Clock, now
from recurlm.training.cut import Noticed, with_cut
from recurlm.training.introduction import introduce
from recurlm.training.loop import AfterValidation, Trainer
from recurlm.training.opening import open_run, refuse_held, refuse_more_processes_than_columns
from recurlm.training.prepared import PreparedRun
from recurlm.training.request import TrainingRequest
from recurlm.training.tensorboard import TensorBoard
from recurlm.training.texts import file_lines, given_codec, open_texts, prepare_texts

TENSORBOARD_FOLDER = "tensorboard"


def prepare_training(
    request: TrainingRequest,
    watcher: Watcher,
    after_validation: AfterValidation | None = None,
    team: Team | None = None,
) -> Trainer:
    """Opens or begins the run of a request: its configuration, its texts, its model, and the trainer of them.

    The processes of a `team` call this together. Raises UsageError or InputError, before anything is written, for a
    request that cannot be met.
    """
    loaded, team = now(), team or Team()
    with team.first_before_others():
        run = _open(request, watcher, team) if team.leads else _join(request, team)
    mirror = TensorBoard(run.folder.path / TENSORBOARD_FOLDER) if request.tensorboard and team.leads else None
    began = loaded if request.began is None else request.began
    limit = run.config.time_limit
    clock = Clock(limit, began=team.first(began), loaded=team.first(loaded), now=agreed(team, now))
    return Trainer(run, watcher, clock, mirror=mirror, after_validation=after_validation)


def _open(request: TrainingRequest, watcher: Watcher, team: Team) -> PreparedRun:
    """Opens or begins a run, and holds its folder."""
    folder, config = open_run(request)
    refuse_more_processes_than_columns(config.recipe.batches.batch_size, team.count)
    begins = not folder.holds_run()
    texts = open_texts(request, folder, config)
    codec = given_codec(folder, config)
    if begins:
        config = replace(config, threads=config.threads * team.here)
    config, noticed = with_cut(config, texts, codec) if begins else (config, Noticed())
    noticed = replace(noticed, lines=(*file_lines(texts), *noticed.lines))
    corpus = prepare_texts(texts, config, codec, request.places.cache, watcher)
    run = _build(_with_kept_text(config, texts), corpus, folder, team)
    with ExitStack() as claim:
        claim.enter_context(folder.claimed())
        if begins:
            _write_config(run, texts)
        elif folder.recipe().training.epochs != config.recipe.training.epochs:
            record_epochs(folder, config.recipe.training.epochs)
        introduce(run, watcher, noticed)
        if not begins:
            _warn_of_changes(run, watcher, team.count)
        return replace(run, claim=claim.pop_all())


def _join(request: TrainingRequest, team: Team) -> PreparedRun:
    """Opens the run that the first process of a team has begun or resumed."""
    folder, config = open_run(replace(request, resume=True))
    texts = open_texts(request, folder, config)
    corpus = prepare_texts(texts, config, given_codec(folder, config), request.places.cache, Silent())
    kernels(config.device)  # a machine may have to build the compiled library first, while the others wait
    return _build(config, corpus, folder, team)


def _with_kept_text(config: RunConfig, texts: Corpus) -> RunConfig:
    """The same configuration, with the file that keeps a text from a pipe as its source."""
    if is_read_once(config.source):
        return replace(config, source=str(texts.train.path.resolve()))
    return config


def _build(config: RunConfig, corpus: PreparedCorpus, folder: RunFolder, team: Team) -> PreparedRun:
    """The batches and the model of a run. Raises InputError if training would not fit into memory."""
    recipe, size = config.recipe, len(corpus.codec.vocabulary)
    check_training_fits(recipe, size, len(corpus["train"].ids), team.here)
    batches = open_batches(corpus["train"], recipe.batches, config.seed)
    torch.manual_seed(config.seed)
    model = LanguageModel(recipe.model, size)
    if config.start is None:
        initialise(model, recipe.initialisation)
    elif not folder.checkpoints.folders:
        _load_start(model, config.start)
    return PreparedRun(config, corpus, batches, model.to(torch.device(config.device)), folder, team=team)


def _load_start(model: LanguageModel, start: Start) -> None:
    """Loads the weights of the run to start from. Raises InputError if they changed or have other sizes."""
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


def _write_config(run: PreparedRun, texts: Corpus) -> None:
    """Begins the run in its folder. Raises InputError if another process has begun one there since."""
    refuse_held(run.folder)
    run.folder.create(run.config.to_json(run.corpus, run.model.parameter_count(), texts), run.corpus.codec)


def _warn_of_changes(run: PreparedRun, watcher: Watcher, processes: int) -> None:
    """Warns if these processes cannot continue the run bit for bit."""
    with computing_threads(run.threads):
        changed = changed_computation(run.folder, run.config.device, processes)
    if changed is not None:
        watcher.warn(f"       {changed}")
