"""MXNet's graphs as JSON, to be changed by tests and read again."""

import json
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent / "mxnet" / "fixtures"


def graph_of(name: str) -> dict[str, Any]:
    """A recorded graph of `mxnet/fixtures`."""
    content: dict[str, Any] = json.loads((FIXTURES / f"{name}-symbol.json").read_text())
    return content


def node(graph: dict[str, Any], name: str) -> dict[str, Any]:
    """The node of this name."""
    return next(each for each in graph["nodes"] if each["name"] == name)


def stored(folder: Path, graph: object) -> Path:
    """Writes a graph into a folder."""
    path = folder / "model-symbol.json"
    path.write_text(json.dumps(graph))
    return path
