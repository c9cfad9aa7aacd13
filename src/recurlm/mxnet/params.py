"""MXNet's ``.params`` files: named arrays, little-endian.

Layout: u64 0x112 · u64 0 · u64 count · arrays · u64 count of names · names (u64 length and bytes).
The first u32 of an array gives its version; it is followed by:

================== =================================================
V0: ndim itself    u32 dimensions · device · dtype · data
V1: 0xF993FAC8     i32 ndim · i64 dimensions · device · dtype · data
V2: 0xF993FAC9     i32 storage type · then as V1
V3: 0xF993FACA     as V2, where ndim 0 is a scalar and -1 unknown
================== =================================================

Up to V2, an array with ndim 0 is empty and ends there, as does one with ndim -1 in V3.

The first pass scans headers and names only and checks each length against the size of the file. The second pass reads
the data directly into the arrays.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import CorruptFileError, InputError
from recurlm.files import opened
from recurlm.files.partial import keep, temporary_file

BFLOAT16 = np.dtype([("bfloat16", "<u2")])
"""The form of a bfloat16 array: its raw bits, the upper half of a float32, in one named field."""

_FILE_MAGIC = 0x112
_VERSION_MAGIC = {0xF993FAC8: 1, 0xF993FAC9: 2, 0xF993FACA: 3}
_MAGIC_OF_VERSION = {version: magic for magic, version in _VERSION_MAGIC.items()}
_SPARSE_STORAGE = {1: ("row-sparse", 1), 2: ("csr", 2)}
_CPU = (1, 0)
_MAXIMUM_ARRAYS = 10_000
_MAXIMUM_NAME_BYTES = 1_000
_MAXIMUM_DIMENSIONS = 32
_MAXIMUM_EXTENT = 1 << 40
_CHUNK_BYTES = 1 << 20

_DTYPES = (
    *(np.dtype(name) for name in ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8", "?")),
    *(np.dtype(name) for name in ("<i2", "<u2", "<u4", "<u8")),
    BFLOAT16,
)
_EMPTY_DTYPE = _DTYPES[0]


def read_params(path: Path, *, widen: bool = True) -> dict[str, NDArray[Any]]:
    """Reads every array of a ``.params`` file under its stored name, ``arg:`` or ``aux:`` in front.

    ``widen`` turns float16 and bfloat16 into float32; otherwise float16 stays and bfloat16 has the dtype
    ``BFLOAT16``. Memory stays under twice the file. Device ids are ignored.
    Raises InputError for a missing file, sparse arrays and arrays without names, CorruptFileError for
    anything damaged.
    """
    with opened(path) as file:
        reader = _Reader(path, file)
        entries, names = _scan(reader)
        _refuse_sparse(path, entries, names)
        return {name: _load(reader, entry, widen) for name, entry in zip(names, entries, strict=True)}


def write_params(path: Path, arrays: Mapping[str, NDArray[Any]], version: int = 2) -> None:
    """Writes named arrays, ``arg:`` or ``aux:`` in front of the names, as MXNet itself stores them.

    ``version`` is 0 to 3. Raises ValueError for a dtype that the format lacks, and for a scalar before
    version 3, where no dimensions mean an empty array.
    """
    with temporary_file(path.parent) as file:
        file.write(struct.pack("<3Q", _FILE_MAGIC, 0, len(arrays)))
        for name, array in arrays.items():
            _write_array(file, name, array, version)
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            encoded = name.encode()
            file.write(struct.pack("<Q", len(encoded)) + encoded)
        keep(file, path)


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """A float16 or ``BFLOAT16`` array as float32; any other array unchanged."""
    if array.dtype == BFLOAT16:
        return (array["bfloat16"].astype("<u4") << 16).view("<f4")
    return array.astype("<f4") if array.dtype == np.float16 else array


@dataclass(frozen=True, slots=True)
class _Entry:
    """The place of an array's data in the file; ``sparse`` names the storage of an array that is not dense."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    sparse: str | None = None


class _Reader:
    """Reads a file from front to back and checks each length against the rest of the file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.size = file.seek(0, 2)
        self.position = file.seek(0)

    def corrupt(self, expected: str, *, position: int | None = None) -> NoReturn:
        """Raises CorruptFileError: something else was expected at ``position``, by default the current one."""
        position = self.position if position is None else position
        raise CorruptFileError(f"{self.path}: damaged at byte {position}: expected {expected}")

    def require(self, count: int, what: str) -> None:
        """Raises CorruptFileError unless at least ``count`` more bytes follow."""
        left = self.size - self.position
        if count > left:
            self.corrupt(f"{count} bytes of {what}, but only {left} are left")

    def take(self, count: int, what: str) -> bytes:
        """Reads the next ``count`` bytes."""
        self.require(count, what)
        data = self.file.read(count)
        if len(data) != count:
            self.corrupt(f"{count} bytes of {what}")
        self.position += count
        return data

    def skip(self, count: int, what: str) -> None:
        """Skips ``count`` bytes, which must exist."""
        self.require(count, what)
        self.seek(self.position + count)

    def seek(self, position: int) -> None:
        """Moves to a byte of the file."""
        self.position = self.file.seek(position)

    def numbers(self, form: str, count: int, what: str) -> tuple[int, ...]:
        """Reads ``count`` little-endian integers; ``form`` is a letter of the struct module."""
        return struct.unpack(f"<{count}{form}", self.take(count * struct.calcsize(f"<{form}"), what))

    def number(self, form: str, what: str) -> int:
        """Reads one little-endian integer."""
        return self.numbers(form, 1, what)[0]


def _scan(reader: _Reader) -> tuple[list[_Entry], list[str]]:
    _expect(reader, "Q", _FILE_MAGIC, "the number 0x112 of an MXNet parameter file")
    _expect(reader, "Q", 0, "a reserved zero")
    count = reader.number("Q", "the count of arrays")
    if count > _MAXIMUM_ARRAYS:
        reader.corrupt(f"at most {_MAXIMUM_ARRAYS} arrays, not {count}", position=reader.position - 8)
    entries = [_scan_array(reader) for _ in range(count)]
    names = _scan_names(reader, count)
    if reader.position != reader.size:
        reader.corrupt(f"the end of the file, but {reader.size - reader.position} bytes follow")
    return entries, names


def _expect(reader: _Reader, form: str, value: int, what: str) -> None:
    start = reader.position
    if reader.number(form, what) != value:
        reader.corrupt(what, position=start)


def _scan_array(reader: _Reader) -> _Entry:
    magic = reader.number("I", "an array's version")
    version = _VERSION_MAGIC.get(magic, 0)
    if version == 0:
        return _scan_dense(reader, _dimensions(reader, magic, "I"), ends_without_dimensions=True)
    if version > 1:
        storage = reader.number("i", "a storage type")
        if storage in _SPARSE_STORAGE and version == 2:
            return _scan_sparse(reader, *_SPARSE_STORAGE[storage])
        if storage != 0:
            reader.corrupt("storage type 0 (dense)", position=reader.position - 4)
    shape = _shape(reader, unknown_allowed=version == 3)
    return _scan_dense(reader, shape, ends_without_dimensions=version < 3)


def _shape(reader: _Reader, *, unknown_allowed: bool = False) -> tuple[int, ...] | None:
    count = reader.number("i", "a number of dimensions")
    if count == -1 and unknown_allowed:
        return None
    return _dimensions(reader, count, "q")


def _dimensions(reader: _Reader, count: int, form: str) -> tuple[int, ...]:
    if not 0 <= count <= _MAXIMUM_DIMENSIONS:
        reader.corrupt(f"0 to {_MAXIMUM_DIMENSIONS} dimensions, not {count}", position=reader.position - 4)
    start = reader.position
    shape = reader.numbers(form, count, "dimensions")
    if min(shape, default=0) < 0 or math.prod(max(extent, 1) for extent in shape) > _MAXIMUM_EXTENT:
        reader.corrupt(f"plausible dimensions, not {shape}", position=start)
    return shape


def _scan_dense(reader: _Reader, shape: tuple[int, ...] | None, *, ends_without_dimensions: bool) -> _Entry:
    if shape is None or (shape == () and ends_without_dimensions):
        return _Entry((0,), _EMPTY_DTYPE, reader.position)
    reader.skip(8, "a device type and number")
    dtype = _dtype(reader)
    entry = _Entry(shape, dtype, reader.position)
    reader.skip(math.prod(shape) * dtype.itemsize, f"data of shape {shape} and type {_dtype_name(dtype)}")
    return entry


def _scan_sparse(reader: _Reader, storage: str, auxiliary_count: int) -> _Entry:
    stored = _shape(reader) or ()
    shape = _shape(reader) or ()
    if shape == ():
        return _Entry((0,), _EMPTY_DTYPE, reader.position, storage)
    reader.skip(8, "a device type and number")
    dtype = _dtype(reader)
    size = math.prod(stored) * dtype.itemsize
    for _ in range(auxiliary_count):
        auxiliary_dtype = _dtype(reader)
        size += math.prod(_shape(reader) or ()) * auxiliary_dtype.itemsize
    reader.skip(size, f"{storage} data")
    return _Entry(shape, dtype, reader.position, storage)


def _dtype(reader: _Reader) -> np.dtype[Any]:
    code = reader.number("i", "a dtype")
    if not 0 <= code < len(_DTYPES):
        reader.corrupt(f"a dtype from 0 to {len(_DTYPES) - 1}, not {code}", position=reader.position - 4)
    return _DTYPES[code]


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return "bfloat16" if dtype == BFLOAT16 else dtype.name


def _scan_names(reader: _Reader, count: int) -> list[str]:
    start = reader.position
    name_count = reader.number("Q", "the count of names")
    if name_count == 0 and count > 0 and reader.position == reader.size:
        raise InputError(f"{reader.path}: its arrays have no names; save the model's parameters by name")
    if name_count != count:
        reader.corrupt(f"{count} names, one for each array, not {name_count}", position=start)
    names: dict[str, None] = {}
    for _ in range(count):
        start = reader.position
        name = _scan_name(reader)
        if name in names:
            reader.corrupt(f"a name not used before, not {name!r}", position=start)
        names[name] = None
    return list(names)


def _scan_name(reader: _Reader) -> str:
    start = reader.position
    length = reader.number("Q", "a name's length")
    if length > _MAXIMUM_NAME_BYTES:
        reader.corrupt(f"a name of at most {_MAXIMUM_NAME_BYTES} bytes, not {length}", position=start)
    encoded = reader.take(length, "a name")
    try:
        return encoded.decode()
    except UnicodeDecodeError:
        reader.corrupt("a name in UTF-8", position=start + 8)


def _refuse_sparse(path: Path, entries: list[_Entry], names: list[str]) -> None:
    for name, entry in zip(names, entries, strict=True):
        if entry.sparse is not None:
            raise InputError(
                f"{path}: array {name!r} is {entry.sparse}; only dense arrays can be imported: "
                "convert it with tostype('default') and save again"
            )


def _load(reader: _Reader, entry: _Entry, widen: bool) -> NDArray[Any]:
    convert = widen and entry.dtype in (np.float16, BFLOAT16)
    array = np.empty(entry.shape, np.float32 if convert else entry.dtype)
    flat = array.reshape(-1)
    reader.seek(entry.offset)
    step = _CHUNK_BYTES // entry.dtype.itemsize
    for start in range(0, flat.size, step):
        part = flat[start : start + step]
        raw = np.frombuffer(reader.take(part.size * entry.dtype.itemsize, "data"), entry.dtype)
        _check_truth_values(reader, raw)
        part[:] = widened(raw) if convert else raw
    return array


def _check_truth_values(reader: _Reader, raw: NDArray[Any]) -> None:
    if raw.dtype == np.bool_ and raw.size and raw.view(np.uint8).max() > 1:
        reader.corrupt("truth values 0 and 1", position=reader.position - raw.size)


def _write_array(file: BinaryIO, name: str, array: NDArray[Any], version: int) -> None:
    dtype = array.dtype.newbyteorder("<") if array.dtype != BFLOAT16 else BFLOAT16
    if dtype not in _DTYPES:
        raise ValueError(f"array {name!r} of type {array.dtype} has no place in an MXNet file")
    if array.ndim == 0 and version < 3:
        raise ValueError(f"array {name!r} has no dimensions, which only version 3 can store")
    file.write(_header(array.shape, version))
    file.write(struct.pack("<3i", *_CPU, _DTYPES.index(dtype)))
    flat = array.reshape(-1)
    step = _CHUNK_BYTES // dtype.itemsize
    for start in range(0, flat.size, step):
        file.write(flat[start : start + step].astype(dtype, copy=False).tobytes())


def _header(shape: tuple[int, ...], version: int) -> bytes:
    if version == 0:
        return struct.pack(f"<I{len(shape)}I", len(shape), *shape)
    dense = struct.pack("<i", 0) if version > 1 else b""
    magic = struct.pack("<I", _MAGIC_OF_VERSION[version])
    return magic + dense + struct.pack(f"<i{len(shape)}q", len(shape), *shape)
