"""The runs that a server serves, each with its engine and the thread that scores."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from recurlm.errors import UsageError
from recurlm.interface.model import Model, load
from recurlm.serving.engine import Engine

NAME = re.compile(r"(?! )[^\s/?#%\x00-\x1f\x7f]([^/?#%\x00-\x1f\x7f]{0,198}[^\s/?#%])?")
"""What an address holds and a client writes into one: `%20` stands for a space, but `?`, `#` and `%` go unescaped."""


@dataclass
class ServedModel:
    """A model under the name by which requests choose it.

    The engine draws texts; `scoring` is the one thread that scores, one request after another.
    """

    name: str
    model: Model
    engine: Engine
    started: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.scoring = ThreadPoolExecutor(1, f"recurlm-scoring-{self.name}")
        self.waiting_scores = 0
        self.is_open = True

    def close(self, seconds: float | None = None) -> bool:
        """Ends both threads; returns False where the engine did not end in time."""
        self.is_open = False
        self.scoring.shutdown(wait=False, cancel_futures=True)
        return self.engine.close(seconds)


def serve_model(name: str, model: Model, *, slots: int, queue: int) -> ServedModel:
    """Starts the engine of a model. Raises UsageError for a name that an address cannot hold."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r}: a served model needs a name of up to 200 characters without /, ?, # and %; give --name"
        )
    model.network.eval()  # two threads compute with it, and neither may turn dropout on again
    return ServedModel(name, model, Engine(model.network, model.codec, model.digest, slots=slots, queue=queue))


def serve_runs(
    runs: Sequence[Path], names: Sequence[str], *, slots: int, queue: int, device: str
) -> dict[str, ServedModel]:
    """Loads runs, each under its folder's name or the name given in its place.

    Raises UsageError where two have the same name or there are names without a run.
    """
    if names and len(names) != len(runs):
        raise UsageError(f"--name is given {len(names)} times for {len(runs)} runs; give one for each run, or none")
    chosen = names or [run.resolve().name for run in runs]
    if twice := next((name for name in chosen if chosen.count(name) > 1), None):
        raise UsageError(f"two runs are named {twice!r}; give each a --name of its own")
    loaded = [load(run, device=device) for run in runs]
    return {
        name: serve_model(name, model, slots=slots, queue=queue) for name, model in zip(chosen, loaded, strict=True)
    }
