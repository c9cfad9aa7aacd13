"""A worker of `train --seeds`: trains the runs that it is asked for, one after another.

It answers with the run's result. When the process that asked ends, the run stops with a checkpoint.
"""

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recurlm.devices import keep_freed_memory
from recurlm.plots.training import write_training_pictures
from recurlm.progress import Silent, hours_minutes_seconds
from recurlm.runs.folder import RunFolder
from recurlm.runs.metrics import LastEntries
from recurlm.text.places import DataPlaces
from recurlm.training.request import TrainingRequest
from recurlm.training.resuming import resumed_config
from recurlm.training.setup import prepare_training
from recurlm.training.stopping import StopRequest
from recurlm.workers import NUMBER, Tell, Values, serve

TELL_SECONDS = 0.5


class TellingWatcher(Silent):
    """Tells progress events to the process that asked: a line an epoch, and the live line from time to time."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._told, self._began = tell, 0.0, time.monotonic()

    def say(self, text: str) -> None:
        self._tell({"say": text})

    def warn(self, text: str) -> None:
        self._tell({"warn": text})

    def epoch(self, text: str, specimen: str | None) -> None:
        self.say(f"{text}  {hours_minutes_seconds(time.monotonic() - self._began)}")

    def tick(self, done: float | None, text: str) -> None:
        now = time.monotonic()
        if now - self._told > TELL_SECONDS:
            self._told = now
            self._tell({"done": done, "tick": text})


def as_values(request: TrainingRequest) -> dict[str, Any]:
    """A request as JSON holds it."""
    values = asdict(request)
    places = {name: str(value) if isinstance(value, Path) else value for name, value in values["places"].items()}
    paths = {name: None if values[name] is None else str(values[name]) for name in ("start", "out")}
    return values | paths | {"places": places}


def from_values(values: Values) -> TrainingRequest:
    """The request that `as_values` wrote."""

    def path(name: str | None) -> Path | None:
        return None if name is None else Path(name)

    places, text = values["places"], values["text"]
    kept = {
        "text": tuple(text) if isinstance(text, list) else text,
        "start": path(values["start"]),
        "out": path(values["out"]),
        "changes": tuple(values["changes"]),
        "places": DataPlaces(path(places["data_directory"]), path(places["cache_directory"]), places["offline"]),
    }
    return TrainingRequest(**{**values, **kept})


def train_seed(values: dict[str, Any], tell: Tell) -> Values:
    """Trains the run of a request, or goes on with it; the result of a finished run is read."""
    request = from_values(values)
    finished = _finished(request)
    if finished is not None:
        return finished | {"kept": True}
    keep_freed_memory()
    take_gpu()
    watcher = TellingWatcher(tell)
    trainer = prepare_training(request, watcher)
    with StopRequest() as stop:
        result = trainer.fit(stop)
    write_training_pictures(RunFolder(Path(result.run)))
    if result.advice:
        watcher.say(f"note   {result.advice}")
    return result.to_json() | {"kept": False}


def _finished(request: TrainingRequest) -> dict[str, Any] | None:
    """The result of a run that is over, and that the request does not prolong; None for any other."""
    folder = RunFolder(request.out or Path())
    if not (request.resume and folder.holds_run()):
        return None
    asked, last = resumed_config(folder, request), LastEntries.of(folder)
    if not last.final or folder.is_claimed or asked.recipe.training.epochs != folder.recipe().training.epochs:
        return None
    return {name: value for name, value in last.final.items() if name not in ("event", "step")}


def take_gpu() -> None:
    """Gives each worker a GPU of its own, as far as there are enough."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ[NUMBER]) % torch.cuda.device_count())


if __name__ == "__main__":
    # the first signal asks the run to stop with a checkpoint
    serve(train_seed, stop=lambda: signal.raise_signal(signal.SIGTERM))
