"""The project's C++, compiled on first use with the system's compiler and kept in the cache folder.

Whoever asks gets the library or None, and takes a plain path on None: no compiler, no cache folder, a compiler that
fails, RECURLM_NATIVE=0. `native_status` tells which.
"""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch  # the library borrows its OpenMP threads, which must be there when it is loaded
from platformdirs import user_cache_path
from torch import Tensor

from recurlm.files import keep, temporary_file

SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
COMPILERS = ("g++", "c++", "clang++")
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
COMPILING_SECONDS = 120
SLACK_ROWS = 48  # a tile reads up to 15 rows and 31 columns too far, and a row may be one number
TILE_COLUMNS, TILE_DEPTH, TILE_SIZE = 16, 32, 16 * 32


def native_library() -> ctypes.CDLL | None:
    """The compiled functions of this room, or None where they cannot be had."""
    return _outcome()[0]


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
def _outcome() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("RECURLM_NATIVE") == "0":
        return None, "switched off by RECURLM_NATIVE=0"
    try:
        compiler = _compiler()
        if compiler is None:
            return None, f"no C++ compiler: none of {', '.join(COMPILERS)} is installed, and CXX names none"
        path = _compiled(compiler)
        return ctypes.CDLL(str(path)), str(path)
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").strip() or f"exit code {error.returncode}"
        return None, f"{error.cmd[0]} fails: {told.splitlines()[0]}"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return None, f"cannot be built or loaded: {error}"


def _compiler() -> list[str] | None:
    """The words that start a C++ compiler: CXX's, or the first that is installed."""
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen:
        return chosen if shutil.which(chosen[0]) else None
    return next(([path] for name in COMPILERS if (path := shutil.which(name))), None)


def _compiled(compiler: list[str]) -> Path:
    """The library's file, compiled unless the same source, compiler and processor have been met before."""
    macros = _run(compiler, "-dM", "-E", "-x", "c++", os.devnull)  # they tell the compiler's version and the processor
    sources = [path.read_bytes() for path in (*SOURCES, *HEADERS)]
    key = hashlib.sha256(b"\0".join([*sources, shlex.join((*compiler, *OPTIONS)).encode(), macros])).hexdigest()[:24]
    target = user_cache_path("recurlm", appauthor=False) / "native" / f"{key}.so"
    if not target.exists():
        with temporary_file(target.parent) as file:
            _run(compiler, "-shared", "-fPIC", *map(str, SOURCES), "-o", file.name)
            with open(file.name, "r+b") as written:  # a linker may replace the file instead of filling it
                keep(written, target)
    return target


def _run(compiler: list[str], *arguments: str) -> bytes:
    return subprocess.run(
        [*compiler, *OPTIONS, *arguments],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=COMPILING_SECONDS,
    ).stdout
