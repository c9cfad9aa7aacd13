"""The learning rate of a run that starts from the model of another run."""

from collections.abc import Iterable, Mapping
from typing import Any

from recurlm.recipe_files import changed_key
from recurlm.runs.growth import is_fine_tuned

FINE_TUNING_SHARE = 0.1
"""The learning rate of fine-tuning, as a share of the highest rate of the run that it starts from."""
RATE_KEYS = {"optimizer.kind", "optimizer.learning_rate"}


def fit_for_fine_tuning(values: dict[str, Any], config: Mapping[str, Any], changes: Iterable[str]) -> None:
    """Gives the plain values of the recipe of a run to start from a tenth of its learning rate, and no schedule.

    The highest rate of a recipe is meant for a model that has learned nothing; at that rate a trained model forgets.
    `config` is the config.json of the run; a run that was fine-tuned itself keeps its rate, also
    with words that were added afterwards. A rate or an optimizer among the changes leaves the rate to the changes, a
    key of the schedule leaves the schedule to them.
    """
    keys = set(map(changed_key, changes))
    if not keys & RATE_KEYS and not is_fine_tuned(config):
        values["optimizer"]["learning_rate"] *= FINE_TUNING_SHARE
    if not any(key.startswith("schedule.") for key in keys):
        values["schedule"] = {"kind": "constant"}
