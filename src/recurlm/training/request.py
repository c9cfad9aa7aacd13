"""What the user asked for, and the run that it begins or goes on with."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recurlm.config import Recipe
from recurlm.devices import resolve_device, resolve_precision
from recurlm.errors import InputError, UsageError
from recurlm.recipe_files import (
    apply_changes,
    changed_key,
    differing_keys,
    load_recipe,
    parse_recipe,
    parse_recorded_recipe,
)
from recurlm.runs.config import CONFIG_KEYS, RunConfig, Start
from recurlm.runs.folder import MODEL_FILE, RunFolder, digest
from recurlm.text.corpora import STANDARD_INPUT, is_read_once, named_corpora
from recurlm.text.places import DataPlaces
from recurlm.wording import counted, shown_name

DESCRIPTIVE_KEYS = ("description", "source", "result", "corpus")
"""What a recipe says about itself, which decides nothing in a run that has its text."""


@dataclass(frozen=True)
class TrainingRequest:
    """What the command line or a notebook asks for; None means the recipe's or the program's own choice.

    places: where texts are looked for and kept; without it the environment says · without_test: leave the corpus's
    test text unread · began: when the process began, by `time.monotonic`; the time limit counts from then, or from
    the call where it is None.
    """

    text: str | None = None
    recipe: str | None = None
    start: Path | None = None
    changes: tuple[str, ...] = ()
    out: Path | None = None
    seed: int | None = None
    device: str = "auto"
    precision: str | None = None
    resume: bool = False
    time_limit: str | None = None
    tensorboard: bool = False
    places: DataPlaces = field(default_factory=DataPlaces.from_environment)
    without_test: bool = False
    began: float | None = None


def open_run(request: TrainingRequest) -> tuple[RunFolder, RunConfig]:
    if request.resume and request.out is not None and RunFolder(request.out).holds_run():
        folder = RunFolder(request.out)
        return folder, _resumed_config(folder, request)
    config = new_config(request)
    if config.recipe.training.until == "time" and config.time_limit is None:
        raise UsageError("the recipe trains until a time is up; say which with --time-limit, such as --time-limit 10m")
    folder = RunFolder(request.out or default_folder(config))
    if request.resume and not folder.holds_run() and not _names_a_run(request):
        raise InputError(
            f"nothing to resume: {folder.path} holds no run; name the run with --out, or begin one with: recurlm train"
        )
    if folder.holds_run() and request.resume:
        return folder, _resumed_config(folder, request)
    refuse_held(folder)
    return folder, config


def _names_a_run(request: TrainingRequest) -> bool:
    """Whether the request says which run to begin where there is none to resume."""
    return any(each is not None for each in (request.text, request.recipe, request.start, request.out))


def refuse_held(folder: RunFolder) -> None:
    """Raises InputError where a run that is to begin would meet another."""
    if folder.holds_run():
        raise InputError(
            f"{folder.path} already holds a run; add --resume to go on with it, or name another folder with --out"
        )


def new_config(request: TrainingRequest) -> RunConfig:
    """The configuration of a run that begins. Raises UsageError or InputError for what cannot be."""
    recipe = _asked_recipe(request)
    if recipe.training.until == "time" and "training.epochs" in map(changed_key, request.changes):
        raise UsageError(
            "the recipe trains until a time is up, in as many epochs as fit; add --set training.until=epochs"
        )
    device = resolve_device(request.device)
    return RunConfig(
        recipe,
        shown_name(Path(_recipe_name(request)).stem),
        _source_name(request.text or _own_corpus(request, recipe)),
        1 if request.seed is None else request.seed,
        device.type,
        resolve_precision(request.precision or recipe.training.precision, device),
        torch.get_num_threads(),
        None if request.time_limit is None else parse_duration(request.time_limit),
        None if request.start is None else _start(request.start),
    )


def _own_corpus(request: TrainingRequest, recipe: Recipe) -> str:
    """The text to train on where none is named: the recipe's, or that of the run to start from."""
    if request.start is None:
        return recipe.corpus
    source: str = RunFolder(request.start).config("corpus")["corpus"]["source"]
    if not source:
        raise InputError(f"{request.start}: does not say which corpus it learned from; name a text to train on")
    return source


def _asked_recipe(request: TrainingRequest) -> Recipe:
    """The recipe with its changes; a run to start from gives all of it, or text and model to the one named."""
    if request.start is None:
        return load_recipe(_recipe_name(request), request.changes)
    values = RunFolder(request.start).recipe().model_dump(mode="json")
    if request.recipe is not None:
        own = {key: values[key] for key in ("text", "model")}
        values = load_recipe(request.recipe).model_dump(mode="json") | own
    apply_changes(values, request.changes)
    return parse_recipe(values, f"--from {request.start}")


def _start(path: Path) -> Start:
    return Start(str(path.resolve()), digest(RunFolder(path).read(MODEL_FILE)))


def _source_name(text: str) -> str:
    """A corpus by name, standard input or a pipe as it is, a file or folder by its whole path."""
    if text in named_corpora() or is_read_once(text):
        return text
    return str(Path(text).resolve())


def _asked_source(request: TrainingRequest) -> str | None:
    """The text that a resumed run is asked for; a pipe was kept when the run began and is not read again."""
    if request.text is None or is_read_once(request.text):
        return None
    return _source_name(request.text)


def _recipe_name(request: TrainingRequest) -> str:
    if request.start is not None:
        return request.recipe or request.start.resolve().name
    return request.recipe or ("demo" if request.text is None else "default")


def default_folder(config: RunConfig) -> Path:
    """Where a run goes that nobody named a folder for."""
    corpus = STANDARD_INPUT if is_read_once(config.source) else Path(config.source).name.split(".")[0]
    return Path("runs") / f"{corpus}-{config.recipe_name}"


def _resumed_config(folder: RunFolder, request: TrainingRequest) -> RunConfig:
    """The run's own configuration. Raises InputError where the command asks for another."""
    values = folder.config("corpus", "recipe", *CONFIG_KEYS)
    if not values["corpus"]["source"] or "extended" in values:
        made = "imported" if "extended" not in values else "made by adding words"
        raise InputError(
            f"{folder.path}: was {made}, not trained here, so there is nothing to go on with\n"
            f"train it further with: recurlm train TEXT --from {folder.path} --out NEW"
        )
    recipe = parse_recorded_recipe(values["recipe"], str(folder.path / "config.json"))
    config = RunConfig(
        recipe,
        values["recipe_name"],
        values["corpus"]["source"],
        values["seed"],
        values["device"],
        values["precision"],
        values["threads"],
        values["time_limit"],
        None if values["start"] is None else Start(**values["start"]),
    )
    asked = {
        "text": (_asked_source(request), config.source),
        "--seed": (request.seed, config.seed),
        "--device": (None if request.device == "auto" else request.device, config.device),
        "--precision": (None if request.precision == "auto" else request.precision, config.precision),
        "--time-limit": (request.time_limit and parse_duration(request.time_limit), config.time_limit),
    }
    for name, (wanted, recorded) in asked.items():
        if wanted is not None and wanted != recorded:
            raise InputError(f"{folder.path}: was begun with {name} {recorded}, not {wanted}; leave it out to go on")
    if request.start is not None and _start(request.start) != config.start:
        raise InputError(f"{folder.path}: was not begun with --from {request.start}; leave it out to go on")
    if request.recipe or request.changes:
        _refuse_other_recipe(folder, differing_keys(_asked_recipe(request), values["recipe"]))
    resolve_device(config.device)
    return config


def _refuse_other_recipe(folder: RunFolder, differing: dict[str, tuple[Any, Any]]) -> None:
    """Raises InputError with the keys that the command would change in a run that was begun."""
    deciding = [key for key in differing if key not in DESCRIPTIVE_KEYS]
    if not deciding:
        return
    shown = ", ".join(f"{key}={_toml(differing[key][1])}, not {_toml(differing[key][0])}" for key in deciding[:3])
    more = f" (and {counted(len(deciding) - 3, 'other key')})" if len(deciding) > 3 else ""
    raise InputError(
        f"{folder.path}: was begun with {shown}{more}; leave --recipe, --set and --epochs out to go on\n"
        f"to train its model further: recurlm train TEXT --from {folder.path} --out NEW"
    )


def _toml(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def parse_duration(text: str, option: str = "--time-limit") -> float:
    """Seconds from such as 90s, 10m, 1.5h or 1h30m. Raises UsageError."""
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        hours, minutes, seconds = (float(part or 0) for part in match.groups()) if match else (0.0, 0.0, 0.0)
    except ValueError:
        hours = minutes = seconds = 0.0
    total = hours * 3600 + minutes * 60 + seconds
    if total <= 0:
        raise UsageError(f"{option} {text}: write it as 90s, 10m, 1.5h or 1h30m")
    return total
