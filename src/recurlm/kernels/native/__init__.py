"""The project's C++, compiled on first use with the system's compiler and kept in the cache folder.

`native_library` returns the library, or None; callers then use the plain path. Reasons for None are a missing compiler
or cache folder, a compiler that fails, a library that another user could have written, and RECURLM_NATIVE=0;
`native_status` says which. `building.py` compiles and checks.
"""

import ctypes
import functools
import os
from collections.abc import Sequence

import torch  # the library borrows its OpenMP threads, which must be there when it is loaded
from torch import Tensor

from recurlm.kernels.native.building import Library, UnusableError, load_library

SLACK_ROWS = 48  # a tile reads up to 15 rows and 31 columns too far, and a row may be one number
TILE_COLUMNS, TILE_DEPTH, TILE_SIZE = 16, 32, 16 * 32


def native_library() -> ctypes.CDLL | None:
    """The compiled functions of this room, or None where they cannot be had."""
    library = _outcome()[0]
    return None if library is None else library.functions


def native_digest() -> str | None:
    """SHA-256 of the library's file, in hexadecimal, or None where there is no library."""
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
    """Where the library is, or why there is none, in a line for people."""
    return _outcome()[1]


@functools.cache
def has_tiles() -> bool:
    """Whether the library is there and the system lets it multiply tiles of bfloat16, on any processor."""
    library = native_library()
    return library is not None and bool(library.recurlm_has_tiles())


@functools.cache
def has_bfloat16_tiles() -> bool:
    """Whether the processor multiplies them in hardware (AMX or AVX-512 BF16), quicker than float32."""
    library = native_library()
    return library is not None and bool(library.recurlm_has_bfloat16_tiles())


def call(name: str, tensors: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
    """A function of the library on contiguous tensors (None is a null pointer), sizes, and torch's thread count.

    Types and room are the caller's to check: the library cannot.
    """
    function = getattr(native_library(), name)
    function.argtypes = [*[ctypes.c_void_p] * len(tensors), *[ctypes.c_int64] * (len(sizes) + 1)]
    function.restype = None
    function(*(None if t is None else t.data_ptr() for t in tensors), *sizes, torch.get_num_threads())


def tiles(size: int, tile: int) -> int:
    """How many tiles hold `size` rows or columns."""
    return -(-size // tile)


def with_slack(rows: int, columns: int) -> Tensor:
    """A matrix (rows, columns) of bfloat16 with zeros behind it: a tile may read past the last row."""
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
