"""One of several processes of a test: trains the runs of a plan, one after the other. Started by torch's launcher.

The plan is a JSON file: a list of objects with the text, the recipe, the run folder, whether to resume, the looks after
which the run is asked to stop, and the type of the weights.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path

import torch
from small_runs import StopAfter

from recurlm.distributed import Team, open_team
from recurlm.errors import StoppedError
from recurlm.progress import Silent
from recurlm.text.places import DataPlaces
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training


def train(work: dict, team: Team) -> None:
    """Trains one run of a plan, to its end or until it is asked to stop."""
    torch.set_default_dtype(getattr(torch, work["type"]))
    request = TrainingRequest(
        text=work["text"],
        recipe=work["recipe"],
        out=Path(work["out"]),
        device="cpu",
        precision="fp32",
        resume=work.get("resume", False),
        places=DataPlaces(cache_directory=Path(work["cache"])),
    )
    with suppress(StoppedError):
        prepare_training(request, Silent(), team=team).fit(StopAfter(work.get("looks", 1 << 30)))


if __name__ == "__main__":
    team = open_team("cpu")
    torch.set_num_threads(1)
    for work in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        train(work, team)
    team.end()
