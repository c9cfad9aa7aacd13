"""Train and use small recurrent language models.

import recurlm
run = recurlm.train("my.txt", out="runs/mine", time_limit="10m")
model = recurlm.load("runs/ptb")
model.perplexity("text.txt").value

docs/python.md lists all public names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recurlm.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from recurlm.errors import RecurlmError, RecurlmWarning, StoppedError
    from recurlm.generation.text_generator import Generation
    from recurlm.interface.model import Model, load
    from recurlm.interface.run import Run, open_run
    from recurlm.interface.training import train
    from recurlm.models.memory import State
    from recurlm.scoring.scorer import ScoringOptions
    from recurlm.scoring.scores import LineScore, Scores
    from recurlm.text.places import DataPlaces

__all__ = [
    "DataPlaces",
    "Generation",
    "LineScore",
    "Model",
    "RecurlmError",
    "RecurlmWarning",
    "Run",
    "Scores",
    "ScoringOptions",
    "State",
    "StoppedError",
    "__version__",
    "load",
    "open_run",
    "train",
]


_MODULES = {
    "DataPlaces": "recurlm.text.places",
    "Generation": "recurlm.generation.text_generator",
    "LineScore": "recurlm.scoring.scores",
    "Model": "recurlm.interface.model",
    "RecurlmError": "recurlm.errors",
    "RecurlmWarning": "recurlm.errors",
    "Run": "recurlm.interface.run",
    "Scores": "recurlm.scoring.scores",
    "ScoringOptions": "recurlm.scoring.scorer",
    "State": "recurlm.models.memory",
    "StoppedError": "recurlm.errors",
    "load": "recurlm.interface.model",
    "open_run": "recurlm.interface.run",
    "train": "recurlm.interface.training",
}
"""Where each public name lives; docs/python.md describes them."""


def __getattr__(name: str) -> Any:
    """Import torch only when a model is wanted: `recurlm --help` must stay quick."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'recurlm' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*globals(), *__all__})
