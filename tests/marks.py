"""Marks that tests of several rooms share."""

import pytest

from recurlm.kernels.native import has_bfloat16_tiles, has_tiles

needs_tiles = pytest.mark.skipif(not has_tiles(), reason="no native library here, or a system that keeps AMX from it")
needs_bfloat16_tiles = pytest.mark.skipif(
    not has_bfloat16_tiles(), reason="no products of bfloat16 in hardware here: neither AMX nor AVX-512 BF16"
)
