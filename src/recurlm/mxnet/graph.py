"""Reads MXNet's ``symbol.json``, a graph of named operators, as untrusted text."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from recurlm.documents import parse_json
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import opened
from recurlm.files.limits import raised

# parsed JSON needs up to a hundred bytes per element, so these limits keep a graph under 64 MB
_MAXIMUM_BYTES = 8 << 20
_MAXIMUM_ELEMENTS = 400_000
_MAXIMUM_SIZE = 1 << 31
_ATTRIBUTE_KEYS = ("param", "attr", "attrs")


@dataclass(frozen=True, slots=True)
class Node:
    """One operator; an input is (number of an earlier node, number of its output), attributes are text."""

    path: Path
    number: int
    op: str
    name: str
    inputs: tuple[tuple[int, int], ...]
    attributes: dict[str, str]

    def refuse(self, reason: str) -> NoReturn:
        """Raises InputError: this node is sound but cannot be imported."""
        raise InputError(f"{self.path}: node {self.name!r} ({self.op}): {reason}")

    def corrupt(self, expected: str) -> NoReturn:
        """Raises CorruptFileError: this node is damaged."""
        raise CorruptFileError(f"{self.path}: node {self.name!r} ({self.op}): expected {expected}")

    def text(self, key: str, default: str | None = None) -> str:
        """An attribute; it is required unless there is a default."""
        value = self.attributes.get(key, default)
        if value is None:
            self.corrupt(f"an attribute {key!r}")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """An attribute that is a whole number."""
        value = self.text(key, None if default is None else str(default))
        if not re.fullmatch(r"-?[0-9]{1,10}", value):
            self.corrupt(f"a whole number as {key!r}, not {value[:40]!r}")
        return int(value)

    def size(self, key: str) -> int:
        """An attribute that is a size, 1 or more."""
        value = self.integer(key)
        if not 0 < value < _MAXIMUM_SIZE:
            self.corrupt(f"a plausible size as {key!r}, not {value}")
        return value

    def flag(self, key: str) -> bool:
        """An attribute that is true or false; false when absent."""
        value = self.text(key, "False").lower()
        if value not in ("true", "false", "1", "0"):
            self.corrupt(f"True or False as {key!r}, not {value[:40]!r}")
        return value in ("true", "1")

    def probability(self, key: str, default: str) -> float:
        """An attribute from 0 to below 1."""
        value = self.text(key, default)
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number < 1:
            self.corrupt(f"a probability below 1 as {key!r}, not {value[:40]!r}")
        return number

    def integers(self, key: str) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        value = self.text(key)
        parts = [part.strip(" L") for part in value.strip("()[] ").split(",")]
        if not all(re.fullmatch(r"-?[0-9]{1,10}", part) for part in parts if part):
            self.corrupt(f"whole numbers as {key!r}, not {value[:40]!r}")
        return tuple(int(part) for part in parts if part)


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order where each follows its inputs, and the (node, output) pairs that are the results."""

    path: Path
    nodes: tuple[Node, ...]
    heads: tuple[tuple[int, int], ...]

    def needed_for(self, number: int) -> list[Node]:
        """The node and all nodes it depends on, in order."""
        needed = {number}
        waiting = [number]
        while waiting:
            sources = {source for source, _ in self.nodes[waiting.pop()].inputs} - needed
            needed |= sources
            waiting.extend(sources)
        return [self.nodes[each] for each in sorted(needed)]


def read_graph(path: Path) -> Graph:
    """Reads a graph. Raises InputError for a missing file, CorruptFileError for a damaged or absurdly large one."""
    document = _parse(path)
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        raise CorruptFileError(f"{path}: expected a JSON object with a list of nodes, as MXNet writes it")
    nodes = tuple(_node(path, number, value) for number, value in enumerate(document["nodes"]))
    heads = _references(document.get("heads"), len(nodes))
    if not heads:
        raise CorruptFileError(f"{path}: expected heads that name nodes of the graph")
    return Graph(path, nodes, heads)


def _parse(path: Path) -> Any:
    with opened(path) as file:
        content = file.read(raised(_MAXIMUM_BYTES) + 1)
    if len(content) > raised(_MAXIMUM_BYTES):
        raise CorruptFileError(f"{path}: larger than {_MAXIMUM_BYTES} bytes, which no language model needs")
    if sum(content.count(mark) for mark in (b"[", b"{", b",")) > raised(_MAXIMUM_ELEMENTS):
        raise CorruptFileError(f"{path}: more than {_MAXIMUM_ELEMENTS} elements, which no language model needs")
    return parse_json(content, str(path))


def _node(path: Path, number: int, value: Any) -> Node:
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("op", "name")):
        raise CorruptFileError(f"{path}: node number {number}: expected an operator and a name")
    inputs = _references(value.get("inputs"), number)
    if inputs is None:
        raise CorruptFileError(
            f"{path}: node number {number} ({value['name']!r}): expected inputs that name earlier nodes"
        )
    return Node(path, number, value["op"], value["name"], inputs, _attributes(path, number, value))


def _references(value: Any, node_count: int) -> tuple[tuple[int, int], ...] | None:
    if not isinstance(value, list) or not all(_is_reference(each, node_count) for each in value):
        return None
    return tuple((each[0], each[1]) for each in value)


def _is_reference(value: Any, node_count: int) -> bool:
    if not isinstance(value, list) or len(value) not in (2, 3):
        return False
    return all(type(each) is int and each >= 0 for each in value) and value[0] < node_count


def _attributes(path: Path, number: int, value: dict[str, Any]) -> dict[str, str]:
    groups = [value[key] for key in _ATTRIBUTE_KEYS if key in value]
    if not all(isinstance(group, dict) and _all_text(group.values()) for group in groups):
        raise CorruptFileError(f"{path}: node number {number}: expected attributes that are text")
    return {key: text for group in groups for key, text in group.items()}


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(each, str) for each in values)
