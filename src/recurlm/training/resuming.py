"""A run that is resumed: its own configuration, held against what the user asks for."""

import json
from collections.abc import Mapping
from typing import Any

from recurlm.devices import resolve_device
from recurlm.errors import InputError
from recurlm.recipe_files import apply_changes, differing_keys, parse_recipe, parse_recorded_recipe
from recurlm.runs.config import CONFIG_KEYS, RunConfig
from recurlm.runs.folder import CONFIG_FILE, RunFolder
from recurlm.runs.metrics import LastEntries
from recurlm.runs.prolongation import obstacle, with_epochs
from recurlm.text.corpora import is_read_once
from recurlm.training.request import TrainingRequest, asked_recipe, parse_duration, source_name, start_of
from recurlm.wording import counted

DESCRIPTIVE_KEYS = ("description", "source", "result", "corpus")
"""Keys with which a recipe describes itself; they decide nothing in a run that has its text."""
EPOCHS_KEY = "training.epochs"
SHOWN_KEYS = 3
"""Largest number of differing keys that an error names."""


def resumed_config(folder: RunFolder, request: TrainingRequest) -> RunConfig:
    """The recorded configuration of a run, with more epochs if the request asks for them and the run can go on.

    Raises InputError if the request asks for another configuration.
    """
    values = folder.config("corpus", "recipe", *CONFIG_KEYS)
    _refuse_untrained(folder, values)
    config = RunConfig.from_json(values, parse_recorded_recipe(values["recipe"], str(folder.path / CONFIG_FILE)))
    _refuse_other_options(folder, config, request)
    if request.start is not None and start_of(request.start) != config.start:
        raise InputError(f"{folder.path}: was not begun with --from {request.start}; leave it out to go on")
    differing = _differing(request, config, values) if request.recipe or request.changes else {}
    more = _more_epochs(differing)
    if more is None:
        _refuse_other_recipe(folder, differing)
    else:
        _refuse_longer(folder, config, more)
        config = with_epochs(config, more)
    resolve_device(config.device)
    return config


def _differing(request: TrainingRequest, config: RunConfig, values: Mapping[str, Any]) -> Mapping[str, tuple[Any, Any]]:
    """The keys that a request asks for otherwise than the run records; changes alone are changes of its own recipe."""
    if request.recipe is not None or request.start is not None:
        return differing_keys(asked_recipe(request), values["recipe"])
    own = config.recipe.model_dump(mode="json")
    apply_changes(own, request.changes)
    return differing_keys(parse_recipe(own, f"--resume of {request.out or config.recipe_name}"), values["recipe"])


def _more_epochs(differing: Mapping[str, tuple[Any, Any]]) -> int | None:
    """The epochs of a request that asks for more of them and for nothing else; else None."""
    if {key for key in differing if key not in DESCRIPTIVE_KEYS} != {EPOCHS_KEY}:
        return None
    asked, recorded = differing[EPOCHS_KEY]
    return int(asked) if asked > recorded else None


def _refuse_longer(folder: RunFolder, config: RunConfig, epochs: int) -> None:
    """Raises InputError if a run cannot go on beyond its epochs."""
    reason = obstacle(config.recipe, config.time_limit) or _early_end(folder, config)
    if reason is not None:
        raise InputError(
            f"{folder.path}: cannot go on to {epochs:,} epochs: {reason}\n"
            f"train its model further: recurlm train TEXT --from {folder.path} --out NEW"
        )


def _early_end(folder: RunFolder, config: RunConfig) -> str | None:
    """Why a run that ended has nothing to go on from; None if it has."""
    last = LastEntries.of(folder)
    if last.final and last.epochs < config.recipe.training.epochs:
        return f"training.patience ended it after {counted(last.epochs, 'epoch')}"
    if last.final and not folder.checkpoints.folders:
        return "its checkpoints are gone"
    return None


def _refuse_untrained(folder: RunFolder, values: Mapping[str, Any]) -> None:
    """Raises InputError if training did not write this run."""
    if values["corpus"]["source"] and "extended" not in values:
        return
    made = "imported" if "extended" not in values else "made by adding words"
    raise InputError(
        f"{folder.path}: was {made}, not trained here, so there is nothing to go on with\n"
        f"train it further with: recurlm train TEXT --from {folder.path} --out NEW"
    )


def _refuse_other_options(folder: RunFolder, config: RunConfig, request: TrainingRequest) -> None:
    """Raises InputError if an option has another value than the run was begun with."""
    # a pipe was kept when the run began, and is not read again
    piped = isinstance(request.text, str) and is_read_once(request.text)
    text = None if request.text is None or piped else source_name(request.text)
    asked = {
        "text": (text, config.source),
        "--field": (request.field, folder.corpus().field),
        "--seed": (request.seed, config.seed),
        "--device": (None if request.device == "auto" else request.device, config.device),
        "--precision": (None if request.precision == "auto" else request.precision, config.precision),
        "--time-limit": (request.time_limit and parse_duration(request.time_limit), config.time_limit),
    }
    for name, (wanted, recorded) in asked.items():
        if wanted is None or wanted == recorded:
            continue
        begun = f"without {name}" if recorded is None else f"with {name} {recorded}, not {wanted}"
        raise InputError(f"{folder.path}: was begun {begun}; leave it out to go on")


def _refuse_other_recipe(folder: RunFolder, differing: Mapping[str, tuple[Any, Any]]) -> None:
    """Raises InputError if a key that decides the run differs; `differing` has asked and recorded values by key."""
    # the run recorded what auto chose for its text
    chosen = {key for key, (asked, _) in differing.items() if (key, asked) == ("text.cut", "auto")}
    deciding = [key for key in differing if key not in {*DESCRIPTIVE_KEYS, *chosen}]
    if not deciding:
        return
    shown = ", ".join(
        f"{key}={_toml(differing[key][1])}, not {_toml(differing[key][0])}" for key in deciding[:SHOWN_KEYS]
    )
    hidden = len(deciding) - SHOWN_KEYS
    more = f" (and {counted(hidden, 'other key')})" if hidden > 0 else ""
    raise InputError(
        f"{folder.path}: was begun with {shown}{more}; leave --recipe, --set and --epochs out to go on\n"
        f"to train its model further: recurlm train TEXT --from {folder.path} --out NEW"
    )


def _toml(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
