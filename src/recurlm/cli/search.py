"""`recurlm search`: the values of a recipe that suit a text best."""

from pathlib import Path
from typing import Annotated

import typer

from recurlm.cli.choices import Device
from recurlm.cli.console import (
    LARGEST_SEED,
    MOST_AT_ONCE,
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


def search(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            help="Corpus name, text files, pattern or folder, as for train. [default: the recipe's corpus]",
            show_default=False,
        ),
    ] = None,
    field: FieldOption = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            envvar="RECURLM_RECIPE",
            help="Recipe to start from: a shipped one or a TOML file. [default: default; demo without TEXT]",
            show_default=False,
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=VALUES",
            help="Key and its range or choices: key=0.1..0.6, key=log:1e-3..2e-2 or key=16|32|64; repeatable. "
            "[default: around the recipe's learning rate, weight decay and dropouts]",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", min=1, max=MOST_AT_ONCE, help="Number of trials, resumed ones included.")
    ] = 20,
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="TIME",
            help="Time limit of all trials together, such as 90s, 60m or 1h30m.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the search. [default: runs/CORPUS-RECIPE-search]", show_default=False),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe for all trials."),
    ] = None,
    epochs: EpochsOption = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            min=0,
            max=LARGEST_SEED,
            envvar="RECURLM_SEED",
            help="Seed of the search and of each trial. [default: 1]",
        ),
    ] = None,
    device: DeviceOption = Device.AUTO,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the search in the folder.")] = False,
    processes: Annotated[
        int | None,
        processes_option(
            "Carry out N trials at a time. The same command on another machine, with the same --out, joins in."
        ),
    ] = None,
    data_directory: DataDirectoryOption = None,
    cache_directory: CacheDirectoryOption = None,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search a recipe's values by validation perplexity.

    Writes the best recipe and never reads the test text. Ctrl-C stops the search; --resume continues it. Needs the
    extra `search`.
    """
    from recurlm.devices import keep_freed_memory
    from recurlm.progress import open_watcher
    from recurlm.search.search import SearchRequest
    from recurlm.search.search import search as find
    from recurlm.search.together import search_together
    from recurlm.text.places import DataPlaces
    from recurlm.training.request import TrainingRequest

    keep_freed_memory()
    training = TrainingRequest(
        text=one_or_several(texts),
        field=field,
        recipe=recipe,
        changes=recipe_changes(changes, epochs),
        out=out,
        seed=seed,
        device=device,
        resume=resume,
        places=DataPlaces(data_directory, cache_directory, offline),
    )
    watcher = open_watcher(quiet=quiet)
    try:
        request = SearchRequest(training, tuple(vary or ()), trials, time, processes)
        findings = find(request, watcher) if processes is None else search_together(request, watcher)
    finally:
        watcher.close()
    if as_json:
        print_json(findings.to_json())
        return
    print(findings.table())
    message(findings.summary())
