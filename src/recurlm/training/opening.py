"""The run that a request begins or resumes: its folder and its configuration."""

from recurlm.distributed import check_gpus
from recurlm.errors import InputError, UsageError
from recurlm.files import check_output_folder
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import CONFIG_FILE, RunFolder
from recurlm.text.corpora import check_source
from recurlm.training.request import TrainingRequest, default_folder, new_config
from recurlm.training.resuming import resumed_config
from recurlm.wording import counted


def open_run(request: TrainingRequest) -> tuple[RunFolder, RunConfig]:
    """The folder and the configuration of a run: the recorded one to resume it, a new one to begin it.

    Raises UsageError or InputError for a request that cannot be met. Writes nothing.
    """
    if request.resume and request.out is not None and RunFolder(request.out).holds_run():
        folder = RunFolder(request.out)
        return folder, resumed_config(folder, request)
    config = new_config(request)
    if config.recipe.training.until == "time" and config.time_limit is None:
        raise UsageError("the recipe trains until a time is up; say which with --time-limit, such as --time-limit 10m")
    folder = RunFolder(request.out or default_folder(config, request.text))
    if request.resume and not folder.holds_run() and not request.names_a_run:
        raise InputError(
            f"nothing to resume: {folder.path} holds no run; name the run with --out, or begin one with: recurlm train"
        )
    if folder.holds_run() and request.resume:
        return folder, resumed_config(folder, request)
    refuse_held(folder)
    return folder, config


def check_request(request: TrainingRequest, processes: int = 1) -> None:
    """Raises, as training would, for what shows about a request before its texts are read.

    That is its recipe, options, device, run folder and the names of its texts.
    """
    folder, config = open_run(request)
    refuse_more_processes_than_columns(config.recipe.batches.batch_size, processes)
    if config.device == "cuda":
        check_gpus(processes)
    check_output_folder(folder.path)
    if not folder.holds_run():
        check_named_text(request, config)


def check_named_text(request: TrainingRequest, config: RunConfig) -> None:
    """Raises InputError or CorruptFileError if the text of a new run is not there. A text of `--from` is not read."""
    if request.text is not None or request.start is None:
        check_source(request.text or config.source, request.places)


def refuse_more_processes_than_columns(columns: int, processes: int) -> None:
    """Raises UsageError if a process would have no column of a batch."""
    if processes > columns:
        raise UsageError(
            f"{processes} processes cannot share the {counted(columns, 'column')} of a batch; start at most "
            f"{columns}, or begin a run with a larger batches.batch_size"
        )


def refuse_held(folder: RunFolder) -> None:
    """Raises InputError if the folder of a new run holds another run, or the checkpoints of one."""
    if folder.holds_run():
        raise InputError(
            f"{folder.path} already holds a run; add --resume to go on with it, or name another folder with --out"
        )
    if folder.checkpoints.folders:
        raise InputError(
            f"{folder.checkpoints.path} holds the checkpoints of a run whose {CONFIG_FILE} is gone; remove them, or "
            "name another folder with --out"
        )
