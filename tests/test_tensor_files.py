import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from recurlm.errors import CorruptFileError
from recurlm.tensor_files import check_shapes, finite_tensors, read_header, tensor_bytes, tensors

PLACE = Path("x.safetensors")


def file_with(header: dict | bytes, size: int = 0) -> bytes:
    """A file with this header and this number of tensor bytes."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + bytes(size)


def one(**changes) -> dict:
    """A header with one tensor of two float32 numbers, changed."""
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


def test_the_header_of_what_the_library_writes_is_read():
    values = {"a": torch.zeros(2, 3), "n": torch.tensor(3), "h": torch.zeros(0, 4, dtype=torch.float16)}
    header = read_header(safetensors.torch.save(values, {"format": "x"}), PLACE)
    assert header.shapes == {"a": (2, 3), "n": (), "h": (0, 4)}
    assert {name: place.dtype for name, place in header.tensors.items()} == {"a": "F32", "n": "I64", "h": "F16"}
    assert header.metadata == {"format": "x"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\xff" * 64,
        struct.pack("<Q", 1 << 62),
        file_with(b"[]"),
        file_with(b"{"),
        file_with(b'{"a": ' * 5000),
        file_with({"__metadata__": {"a": 1}}),
        file_with(one(), 7),
        file_with(one(), 9),
        file_with(one(data_offsets=[0, 12]), 12),
        file_with(one(data_offsets=[4, 12]), 12),
        file_with(one(data_offsets=[-8, 0])),
        file_with(one(shape=[-2]), 8),
        file_with(one(shape=[2.0]), 8),
        file_with(one(shape=[True, 2]), 8),
        file_with(one(shape=[1 << 40, 1 << 40], data_offsets=[0, 1 << 82])),
        file_with(one(dtype="F33"), 8),
        file_with(one(extra=1), 8),
        file_with({"x": 1}),
        file_with(one() | {"y": one()["x"]}, 8),
    ],
    ids=range(21),
)
def test_a_header_that_contradicts_itself_or_the_file_is_refused(content):
    with pytest.raises(CorruptFileError, match=r"x\.safetensors: not a whole safetensors file: "):
        tensors(content, PLACE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named(value):
    content = tensor_bytes({"good": torch.ones(2), "bad": torch.tensor([1.0, value])})
    with pytest.raises(CorruptFileError, match="bad holds numbers that are not finite"):
        finite_tensors(content, PLACE)


def test_names_shapes_and_types_are_compared():
    header = read_header(tensor_bytes({"a": torch.zeros(2, 3), "b": torch.tensor([1])}), PLACE)
    for expected, message in [
        ({"a": (3, 2), "b": (1,)}, r"a has the shape \[2, 3\], not \[3, 2\]"),
        ({"a": (2, 3)}, r"b is not expected"),
        ({"a": (2, 3), "b": (1,), "aa": ()}, r"aa is missing"),
        ({"a": (2, 3), "b": (1,)}, "b holds I64"),
    ]:
        with pytest.raises(CorruptFileError, match=f"does not fit the model: {message}"):
            check_shapes(header, expected, PLACE, "the model")
