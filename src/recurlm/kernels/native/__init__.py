"""The project's C++ library, compiled on first use with the system's compiler and kept in the cache folder.

`native_library` returns the library, or None; callers then use the reference path. It is None without a compiler or
cache folder, when the compiler fails, when another user could have written the library, and with RECURLM_NATIVE=0.
`native_status` gives the reason. `building.py` compiles and checks.
"""

import ctypes
import functools
import os
from collections.abc import Sequence

import torch  # imported first, because the library uses torch's OpenMP threads
from torch import Tensor

from recurlm.kernels.native.building import Library, UnusableError, load_library

SLACK_ROWS = 48  # a tile reads up to 15 rows and 31 columns past the end, and a row may have one column
TILE_COLUMNS, TILE_DEPTH, TILE_SIZE = 16, 32, 16 * 32


def native_library() -> ctypes.CDLL | None:
    """The compiled library, or None; callers then use the reference path."""
    library = _outcome()[0]
    return None if library is None else library.functions


def native_digest() -> str | None:
    """Hex SHA-256 of the library's file; None where there is no library."""
    library = _outcome()[0]
    return None if library is None else library.digest


def native_instructions() -> str | None:
    """The widest instructions that the library was compiled for; None where there is no library."""
    library = native_library()
    if library is None:
        return None
    library.recurlm_instructions.restype = ctypes.c_char_p
    name: bytes = library.recurlm_instructions()
    return name.decode()


def native_status() -> str:
    """One line that says where the library is, or why there is none."""
    return _outcome()[1]


@functools.cache
def has_tiles() -> bool:
    """Whether the library exists and can multiply bfloat16 tiles here, in hardware or not."""
    library = native_library()
    return library is not None and bool(library.recurlm_has_tiles())


@functools.cache
def has_bfloat16_tiles() -> bool:
    """Whether the processor multiplies bfloat16 tiles in hardware (AMX or AVX-512 BF16), faster than float32."""
    library = native_library()
    return library is not None and bool(library.recurlm_has_bfloat16_tiles())


def call(name: str, tensors: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
    """Calls a function of the library with contiguous tensors, sizes, and torch's thread count.

    None among the tensors is a null pointer. The caller must check types and sizes; the library cannot.
    """
    function = getattr(native_library(), name)
    function.argtypes = [*[ctypes.c_void_p] * len(tensors), *[ctypes.c_int64] * (len(sizes) + 1)]
    function.restype = None
    function(*(None if t is None else t.data_ptr() for t in tensors), *sizes, torch.get_num_threads())


def tiles(size: int, tile: int) -> int:
    """Number of tiles that hold `size` rows or columns."""
    return -(-size // tile)


def with_slack(rows: int, columns: int) -> Tensor:
    """An uninitialized bfloat16 matrix (rows, columns) followed by zeros, as tiles read past its last row."""
    whole = torch.empty(rows + SLACK_ROWS, columns, dtype=torch.bfloat16)
    whole[rows:] = 0
    return whole[:rows]


@functools.cache
def _outcome() -> tuple[Library | None, str]:
    if os.environ.get("RECURLM_NATIVE") == "0":
        return None, "switched off by RECURLM_NATIVE=0"
    try:
        library = load_library()
    except UnusableError as error:
        return None, str(error)
    except OSError as error:
        return None, f"cannot be built or loaded: {error}"
    return library, str(library.path)
