"""Runs that go on beyond their epochs: whether more epochs give what a longer run would have given from the start."""

from dataclasses import replace

from recurlm.config import Recipe
from recurlm.documents import json_text
from recurlm.runs.config import RunConfig
from recurlm.runs.folder import CONFIG_FILE, METRICS_FILE, RunFolder
from recurlm.wording import counted

PLANNED_SCHEDULES = ("cosine", "one-cycle")
"""Schedules that follow the share of the run, so another length changes every learning rate."""


def obstacle(recipe: Recipe, time_limit: float | None) -> str | None:
    """Why a run cannot go on beyond its epochs, as a clause after a colon; None if it can.

    A run can go on if no earlier step depends on the number of epochs: with another number, every step until then would
    have been the same.
    """
    epochs = counted(recipe.training.epochs, "epoch")
    if time_limit is not None or recipe.training.until == "time":
        return "a time limit decides its length, and the time is used up"
    if recipe.schedule.kind in PLANNED_SCHEDULES:
        return f"its schedule {recipe.schedule.kind} was planned for {epochs} and has no learning rate beyond them"
    if recipe.average.kind == "tail":
        return f"its average begins at a share of {epochs}, so a longer run would have begun it later"
    return None


def with_epochs(config: RunConfig, epochs: int) -> RunConfig:
    """The same configuration with another number of epochs."""
    training = config.recipe.training.model_copy(update={"epochs": epochs})
    return replace(config, recipe=config.recipe.model_copy(update={"training": training}))


def record_epochs(folder: RunFolder, epochs: int) -> None:
    """Writes another number of epochs into config.json, and takes metrics.jsonl, which will grow, out of the manifest.

    The caller holds the folder, see `RunFolder.claimed`.
    """
    config = folder.config("recipe")
    training = config["recipe"].get("training", {}) | {"epochs": epochs}
    content = json_text(config | {"recipe": config["recipe"] | {"training": training}}, indent=2)
    folder.unseal([METRICS_FILE])
    folder.write({CONFIG_FILE: content.encode()})
