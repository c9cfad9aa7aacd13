"""Small language models with a memory of constant size.

import recurlm
model = recurlm.load("runs/ptb")
model.perplexity("text.txt").value
"""

from typing import TYPE_CHECKING, Any

from recurlm.version import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from recurlm.interface import Model, load

__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is wanted: `recurlm --help` must stay quick."""
    if name in ("Model", "load"):
        from recurlm import interface

        return getattr(interface, name)
    raise AttributeError(f"module 'recurlm' has no attribute {name!r}")
