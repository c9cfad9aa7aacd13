"""`recurlm train`: from a text to a trained model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurlm.cli.choices import Device, Precision, TextUnit
from recurlm.cli.console import (
    LARGEST_SEED,
    MACHINE,
    OUTPUT,
    RECIPE,
    CacheDirectoryOption,
    DataDirectoryOption,
    DeviceOption,
    EpochsOption,
    FieldOption,
    JsonOption,
    OfflineOption,
    QuietOption,
    message,
    one_or_several,
    print_json,
    processes_option,
    recipe_changes,
)
from recurlm.cli.interrupts import interrupt_held
from recurlm.cli.process import process_began
from recurlm.cli.processes import refuse_with_seeds, settle_processes, told_by_first, told_once

if TYPE_CHECKING:
    from recurlm.training.request import TrainingRequest

FIRST, ONWARD = "Most used", "Go on with a run"
AFTER_A_LOSS = "go on from the last checkpoint with the same command and --resume"
TRAIN_EXAMPLES = (
    ("recurlm train my-text.txt --time-limit 10m --out runs/mine", "ten minutes on your own text"),
    ("recurlm train molecules.smi --unit character --time-limit 10m", "text without spaces: SMILES, Chinese"),
    ("recurlm train --resume --out runs/mine", "go on after Ctrl-C"),
)


def train(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Corpus name, text files (.gz too), a pattern such as 'texts/*.txt', a folder of text files or with "
            "train/valid/test files, or - for standard input. [default: the embedded corpus]",
            show_default=False,
        ),
    ] = None,
    unit: Annotated[
        TextUnit | None,
        typer.Option(
            "--unit",
            help="What one token is. Characters suit text without spaces, such as Chinese or SMILES; bpe are byte "
            "pairs, 8,000 unless --set text.merges=N. [default: the recipe's]",
            rich_help_panel=FIRST,
        ),
    ] = None,
    time_limit: Annotated[
        str | None,
        typer.Option(
            "--time-limit",
            metavar="TIME",
            help="Time limit of the whole process, such as 90s, 10m or 1h30m. [default: none]",
            rich_help_panel=FIRST,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="RUN",
            help="Run folder. [default: runs/CORPUS-RECIPE]",
            show_default=False,
            rich_help_panel=FIRST,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            envvar="RECURLM_RECIPE",
            help="A shipped recipe (`recurlm recipes`) or a TOML file. [default: default; demo without TEXT]",
            show_default=False,
            rich_help_panel=RECIPE,
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one key of the recipe, such as training.epochs=3; repeatable.",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            max=LARGEST_SEED,
            envvar="RECURLM_SEED",
            help="Seed of everything random. [default: 1]",
            rich_help_panel=RECIPE,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            metavar="LIST",
            help="Train a run for each seed of a list such as 1-5 or 1,3,7, in RUN/seed-N, and report mean, deviation "
            "and the perplexity of the ensemble.",
            show_default=False,
            rich_help_panel=RECIPE,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume the run in the folder; with more --epochs go on with a finished one.",
            rich_help_panel=ONWARD,
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Start from the model, vocabulary and recipe of another run, at a tenth of its learning rate without "
            "a schedule; --set and --recipe choose another.",
            show_default=False,
            rich_help_panel=ONWARD,
        ),
    ] = None,
    field: FieldOption = None,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    device: DeviceOption = Device.AUTO,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision",
            envvar="RECURLM_PRECISION",
            help="Type of matrix products. [default: the recipe's]",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Also write RUN/tensorboard; needs the extra `tensorboard`.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    processes: Annotated[
        int | None,
        processes_option(
            "Train with N processes on this machine, which share the columns of each batch; with --seeds, N seeds "
            "at a time. [default: 1]",
            MACHINE,
        ),
    ] = None,
    max_restarts: Annotated[
        int,
        typer.Option(
            "--max-restarts",
            metavar="N",
            min=0,
            help="With --processes: how often all start again from the last checkpoint after one was killed.",
            rich_help_panel=MACHINE,
        ),
    ] = 0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model on a text.

    Ctrl-C stops training after a checkpoint; --resume continues from it.
    """
    if seeds is not None:
        is_given = str(seed) != os.environ.get("RECURLM_SEED")
        refuse_with_seeds(seed if is_given else None, max_restarts)
    with interrupt_held():
        from recurlm.devices import keep_freed_memory, resolve_device
        from recurlm.distributed import open_team
        from recurlm.errors import StoppedError
        from recurlm.plots.training import write_training_pictures
        from recurlm.progress import Silent, open_watcher
        from recurlm.runs.folder import RunFolder
        from recurlm.text.places import DataPlaces
        from recurlm.training.opening import check_request
        from recurlm.training.request import TrainingRequest
        from recurlm.training.setup import prepare_training
        from recurlm.training.step import DivergedError
        from recurlm.training.stopping import StopRequest

    keep_freed_memory()
    request = TrainingRequest(
        text=one_or_several(texts),
        field=field,
        recipe=recipe,
        start=start,
        changes=recipe_changes(changes, epochs, unit),
        out=out,
        seed=seed if seeds is None else None,
        device=device,
        precision=precision,
        resume=resume,
        time_limit=time_limit,
        tensorboard=tensorboard,
        places=DataPlaces(data_directory, cache_directory, offline),
        began=process_began() if seeds is None else None,
    )
    if seeds is not None:
        _train_seeds(request, seeds, processes or 1, quiet=quiet, as_json=as_json)
        return
    with told_by_first():
        launched = settle_processes(
            processes, max_restarts, AFTER_A_LOSS, lambda: check_request(request, processes or 1)
        )
        if launched is not None:
            raise typer.Exit(launched)
        team = open_team(resolve_device(device).type)
    watcher = open_watcher(quiet=quiet) if team.leads else Silent()
    try:
        with told_once(team, AFTER_A_LOSS, StoppedError, DivergedError):
            trainer = prepare_training(request, watcher, team=team)
            with StopRequest() as stop:
                result = trainer.fit(stop)
        if not team.leads:
            return
        watcher.tick(None, "drawing the curves")
        write_training_pictures(RunFolder(Path(result.run)))
    finally:
        watcher.close()
    if as_json:
        if result.advice:
            message(result.advice)
        print_json(result.to_json())
        return
    message(result.summary())
    print(result.run)


def _train_seeds(request: "TrainingRequest", seeds: str, processes: int, *, quiet: bool, as_json: bool) -> None:
    """Trains a run for each seed and prints their results and spread."""
    from recurlm.progress import open_watcher
    from recurlm.training.seeds import parse_seeds, train_seeds

    named = parse_seeds(seeds, LARGEST_SEED)
    watcher = open_watcher(quiet=quiet)
    try:
        found = train_seeds(request, named, processes, watcher)
    finally:
        watcher.close()
    if as_json:
        print_json(found.to_json())
    elif found.results:
        print(found.table())
    found.raise_failure()
