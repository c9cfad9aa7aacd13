"""Tries a compiled library: `python trial.py LIBRARY` exits with 0 if each kind of operation gives the right result.

It runs in a separate process, without torch, because an instruction that the processor lacks kills the process.
"""

import ctypes
import sys

SIZE, SLACK = 32, 48
ONE = 0x3F80
"""1.0 as a bfloat16."""


def try_library(path: str) -> None:
    """Packs, multiplies, and steps tiles of ones, and computes one softmax loss. Raises AssertionError or OSError."""
    library = ctypes.CDLL(path)
    logits, loss = (ctypes.c_float * 4)(), (ctypes.c_float * 1)()
    target = (ctypes.c_int64 * 1)(0)
    library.recurlm_softmax_loss_float32(
        logits, None, target, loss, None, ctypes.c_int64(1), ctypes.c_int64(4), ctypes.c_int64(1), ctypes.c_int32(1)
    )
    assert abs(loss[0] - 1.3863) < 1e-3, "a softmax loss is wrong"
    if library.recurlm_has_tiles():
        try_product(library)
        try_lstm(library)


def try_product(library: ctypes.CDLL) -> None:
    weight = (ctypes.c_float * (SIZE * SIZE))(*[1.0] * (SIZE * SIZE))
    packed = (ctypes.c_uint16 * (SIZE * SIZE))()
    input = (ctypes.c_uint16 * ((1 + SLACK) * SIZE))(*[ONE] * SIZE)
    output = (ctypes.c_float * SIZE)()
    one, size = ctypes.c_int64(1), ctypes.c_int64(SIZE)
    library.recurlm_linear_pack(weight, packed, size, size, one)
    library.recurlm_linear(input, packed, None, output, one, size, size, one)
    assert list(output) == [float(SIZE)] * SIZE, "a product is wrong"


def try_lstm(library: ctypes.CDLL) -> None:
    weight = (ctypes.c_float * (4 * SIZE * SIZE))()
    packed = (ctypes.c_uint16 * (4 * SIZE * SIZE))()
    bias = (ctypes.c_float * (4 * SIZE))()
    rows = 2 + SLACK
    input, hidden = (ctypes.c_uint16 * (rows * SIZE))(), (ctypes.c_uint16 * (rows * SIZE))()
    cell = (ctypes.c_float * (2 * SIZE))(*[1.0] * SIZE)
    one, size = ctypes.c_int64(1), ctypes.c_int64(SIZE)
    library.recurlm_lstm_pack(weight, packed, size, size, one)
    library.recurlm_lstm_forward(input, packed, packed, bias, hidden, cell, None, one, one, size, size, one)
    assert all(abs(value - 0.5) < 1e-3 for value in cell[SIZE:]), "an LSTM step is wrong"


if __name__ == "__main__":
    try_library(sys.argv[1])
