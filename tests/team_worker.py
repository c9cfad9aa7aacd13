"""One of several processes of a test: trains the runs of a plan, one after the other. Started by torch's launcher.

The plan is a JSON file: a list of objects with the text, the recipe, the run folder, whether to resume, the looks after
which the run is asked to stop, the type of the weights, the epochs, the seconds that a process waits for another, and
whether processes share memory.
"""

import json
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import torch

from recurlm import distributed
from recurlm.distributed import Team, open_team
from recurlm.errors import StoppedError
from recurlm.progress import Silent
from recurlm.text.places import DataPlaces
from recurlm.training import gradients
from recurlm.training.request import TrainingRequest
from recurlm.training.setup import prepare_training
from small_runs import StopAfter


def train(work: dict, team: Team) -> None:
    """Trains one run of a plan, to its end or until it is asked to stop."""
    torch.set_default_dtype(getattr(torch, work["type"]))
    request = TrainingRequest(
        text=work["text"],
        recipe=work["recipe"],
        out=Path(work["out"]),
        device="cpu",
        precision="fp32",
        changes=(f"training.epochs={work['epochs']}",) if "epochs" in work else (),
        resume=work.get("resume", False),
        places=DataPlaces(cache_directory=Path(work["cache"])),
    )
    with suppress(StoppedError):
        prepare_training(request, Silent(), team=team).fit(StopAfter(work.get("looks", 1 << 30)))


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    distributed.STALLED = timedelta(seconds=plan[0].get("stalled", 60))
    # small models, too, send while they compute or sum in shared memory
    gradients.MESSAGE_BYTES = distributed.LEAST_SHARED = 1000
    torch.set_num_threads(1)
    with open_team("cpu", shares_memory=plan[0].get("shares_memory", True)) as team:
        for work in plan:
            train(work, team)
