"""Train and use small recurrent language models.

import recurlm
model = recurlm.load("runs/ptb")
model.perplexity("text.txt").value
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recurlm.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from recurlm.interface import Model, load
    from recurlm.models.memory import State
    from recurlm.scoring.scorer import ScoringOptions
    from recurlm.text.places import DataPlaces

__all__ = ["DataPlaces", "Model", "ScoringOptions", "State", "__version__", "load"]


_MODULES = {
    "DataPlaces": "recurlm.text.places",
    "Model": "recurlm.interface",
    "ScoringOptions": "recurlm.scoring.scorer",
    "State": "recurlm.models.memory",
    "load": "recurlm.interface",
}


def __getattr__(name: str) -> Any:
    """Import torch only when a model is wanted: `recurlm --help` must stay quick."""
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'recurlm' has no attribute {name!r}")
