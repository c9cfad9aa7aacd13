"""Tensors in the safetensors format. Each header is checked against its file before a tensor is read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError

LENGTH_BYTES = 8
"""Size of the number before the header, which is the header's length."""
LARGEST_HEADER = 16 << 20
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
METADATA = "__metadata__"


@dataclass(frozen=True)
class TensorPlace:
    """Type and shape of a tensor, and the range of its bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file."""

    tensors: dict[str, TensorPlace]
    metadata: dict[str, str]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor."""
        return {name: place.shape for name, place in self.tensors.items()}


def read_header(content: bytes, place: Path) -> Header:
    """The header of a whole file. Raises CorruptFileError where it contradicts itself or the size of the file."""
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    start = LENGTH_BYTES + length
    if length > LARGEST_HEADER or start > len(content):
        raise _not_whole(place, "the header does not fit into the file")
    values = parse_json_object(content[LENGTH_BYTES:start], f"{place}: not a whole safetensors file: header")
    metadata = values.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _not_whole(place, "the metadata in the header is not text")
    tensors = {name: _tensor_place(name, value, place) for name, value in values.items()}
    _check_order([(each.start, each.stop) for each in tensors.values()], len(content) - start, place)
    return Header(tensors, metadata)


def _tensor_place(name: str, value: Any, place: Path) -> TensorPlace:
    match value:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if (
            len(value) == 3 and dtype in ITEM_BYTES and all(type(size) is int and size >= 0 for size in shape)
        ):
            if stop - start == math.prod(shape) * ITEM_BYTES[dtype]:
                return TensorPlace(dtype, tuple(shape), start, stop)
    raise _not_whole(place, f"the header describes no tensor at {name!r:.60}")


def _check_order(ranges: list[tuple[int, int]], size: int, place: Path) -> None:
    """Raises CorruptFileError unless the tensors fill the file without gaps from the first byte to the last."""
    bounds = [(0, 0), *sorted(ranges), (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(bounds)):
        raise _not_whole(place, "the tensors in the header do not fill the file")


def _not_whole(place: Path, reason: str) -> CorruptFileError:
    return CorruptFileError(f"{place}: not a whole safetensors file: {reason}")


def tensors(content: bytes, place: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises CorruptFileError naming `place` where it is not whole."""
    read_header(content, place)
    try:
        return safetensors.torch.load(content)
    except Exception as error:
        raise _not_whole(place, str(error)) from error


def finite_tensors(content: bytes, place: Path) -> dict[str, Tensor]:
    """Like `tensors`. Raises CorruptFileError, naming the tensor, also for NaN or infinity."""
    loaded = tensors(content, place)
    for name, tensor in loaded.items():
        if not bool(tensor.isfinite().all()):
            raise CorruptFileError(f"{place}: {name} holds numbers that are not finite, so it cannot be used")
    return loaded


def check_shapes(header: Header, expected: Mapping[str, tuple[int, ...]], place: Path, maker: str) -> None:
    """Raises CorruptFileError where names, shapes or float types are not those that `maker` needs."""
    found = header.shapes
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            difference = _difference(found.get(name), expected.get(name))
            raise CorruptFileError(f"{place}: does not fit {maker}: {name} {difference}")
        if header.tensors[name].dtype not in FLOATS:
            raise CorruptFileError(f"{place}: does not fit {maker}: {name} holds {header.tensors[name].dtype}")


def _difference(found: tuple[int, ...] | None, expected: tuple[int, ...] | None) -> str:
    if found is None or expected is None:
        return "is missing" if found is None else "is not expected"
    return f"has the shape {list(found)}, not {list(expected)}"


def tensor_bytes(values: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors in the safetensors format."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in values.items()}
    return safetensors.torch.save(plain, None if metadata is None else dict(metadata))
