"""`recurlm.train`: trains a model from Python, as the command `recurlm train` does."""

from __future__ import annotations

import difflib
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from recurlm.config import Recipe, sections
from recurlm.errors import StoppedError, UsageError
from recurlm.interface.run import Run
from recurlm.notebook import open_python_watcher
from recurlm.text.places import DataPlaces

if TYPE_CHECKING:
    from recurlm.progress import Watcher
    from recurlm.training.request import TrainingRequest


def train(
    source: str | Path | Iterable[str | Path] | None = None,
    /,
    *,
    field: str | None = None,
    out: str | Path | None = None,
    recipe: str | Path | None = None,
    start: str | Path | None = None,
    unit: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    precision: str | None = None,
    resume: bool = False,
    time_limit: str | float | None = None,
    tensorboard: bool = False,
    places: DataPlaces | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Run:
    """Trains a model on a text and returns its run.

    The parameters are the options of `recurlm train`; more than six, because most calls leave most of them out.
    `source` is a file, a folder, a pattern such as ``texts/*.txt``, a list of files, or the name of a corpus; `field`
    names the text in files of records (.jsonl, .parquet). `start` is the run to start from (`--from`). `time_limit` is
    in seconds, or written as 90s, 10m or 1h30m. All other keywords change keys of the recipe: `training__epochs=3`,
    or a section as a dictionary, `training={"epochs": 3}`. `quiet` shows warnings only.

    Ctrl-C writes a checkpoint and raises StoppedError; the same call with `resume=True` continues. Raises UsageError
    or InputError, before anything is written, for a call that cannot be carried out.
    """
    from recurlm.training.request import TrainingRequest

    if unit is not None:
        changes["text__unit"] = unit
    if epochs is not None:
        changes["training__epochs"] = epochs
    request = TrainingRequest(
        text=_given(source),
        field=field,
        recipe=None if recipe is None else str(recipe),
        start=None if start is None else Path(start),
        changes=tuple(_changes(changes)),
        out=None if out is None else Path(out),
        seed=seed,
        device=device,
        precision=precision,
        resume=resume,
        time_limit=f"{time_limit:.3f}s" if isinstance(time_limit, int | float) else time_limit,
        tensorboard=tensorboard,
        places=places or DataPlaces.from_environment(),
    )
    watcher = open_python_watcher(quiet=quiet)
    try:
        return Run(_trained(request, watcher))
    finally:
        watcher.close()


def _given(source: str | Path | Iterable[str | Path] | None) -> str | tuple[str, ...] | None:
    """The text as a request names it."""
    if source is None or isinstance(source, str | Path):
        return None if source is None else str(source)
    texts = tuple(map(str, source))
    if not texts:
        raise UsageError("no text is given; leave the list out to train on the text of the recipe")
    return texts if len(texts) > 1 else texts[0]


def _trained(request: TrainingRequest, watcher: Watcher) -> Path:
    """The folder of the run of a request, trained to its end, with its pictures."""
    from recurlm.devices import keep_freed_memory, return_freed_memory
    from recurlm.plots.training import write_training_pictures
    from recurlm.runs.folder import RunFolder
    from recurlm.training.setup import prepare_training
    from recurlm.training.stopping import StopRequest

    trainer = prepare_training(request, watcher)
    path = trainer.run.folder.path
    keep_freed_memory()
    try:
        with StopRequest(_interrupt()) as stop:
            result = trainer.fit(stop)
    except StoppedError as stopped:
        step = trainer.counters.step
        raise StoppedError(
            f"stopped at step {step:,}; go on with the same call and resume=True (checkpoint in {path})"
        ) from stopped
    finally:
        return_freed_memory()
    if result.advice:
        watcher.say(f"note   {result.advice}")
    watcher.tick(None, "drawing the curves")
    write_training_pictures(RunFolder(path))
    return path


def _interrupt() -> list[int]:
    """Ctrl-C, which Python delivers to the main thread alone; other signals stay the caller's."""
    return [signal.SIGINT] if threading.current_thread() is threading.main_thread() else []


def _changes(keywords: Mapping[str, Any]) -> Iterator[str]:
    """The changes of a recipe that keywords ask for, as `--set` takes them."""
    for name, value in keywords.items():
        _check_keyword(name, value)
    for key, value in _flat(keywords):
        yield f"{key}={_toml(value, key)}"


def _check_keyword(name: str, value: Any) -> None:
    """Raises UsageError for a keyword that is no key of a recipe, or that replaces a whole section by a value."""
    top = name.replace(".", "__").partition("__")[0]
    if top not in Recipe.model_fields:
        raise UsageError(f"train() has no keyword {name}; {_suggestion(name)}")
    if name in sections(Recipe) and not isinstance(value, Mapping):
        first = " (the text to train on is the first argument, without a keyword)" if name == "text" else ""
        raise UsageError(f"{name}: is a section of the recipe; write {name}__key=value or {name}={{…}}{first}")


def _suggestion(name: str) -> str:
    """The keyword that was probably meant: one of `train`, a section, or a key inside a section."""
    inside = {key: f"{section}__{key}" for section, kinds in sections(Recipe).items() for key in _keys(kinds)}
    known = [*(train.__kwdefaults__ or {}), *Recipe.model_fields, *inside, *inside.values()]
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {inside.get(found[0], found[0])}?" if found else "docs/python.md lists the keywords"


def _keys(kinds: tuple[type[Any], ...]) -> Iterator[str]:
    for kind in kinds:
        yield from kind.model_fields


def _flat(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Values by whole key, such as training.epochs."""
    for name, value in values.items():
        key = path + str(name).replace("__", ".")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{key}.")
        else:
            yield key, value


def _toml(value: Any, key: str) -> str:
    """A value as TOML on one line. Raises UsageError for a value that a recipe cannot hold."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item, key) for item in value)}]"
    try:
        return tomli_w.dumps({"value": value}).partition("=")[2].strip()
    except TypeError as error:
        raise UsageError(
            f"{key}: a recipe holds numbers, strings, True, False and lists of them, not {type(value).__name__}; "
            "leave the key out for its default"
        ) from error
