"""The Python interface. docs/python.md lists its names; `import recurlm` hands them out when they are asked for."""

from recurlm.interface.model import Model, load
from recurlm.interface.run import Picture, Run, open_run
from recurlm.interface.training import train

__all__ = ["Model", "Picture", "Run", "load", "open_run", "train"]
