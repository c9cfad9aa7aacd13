"""Marks that tests of several rooms share."""

import pytest

from recurlm.kernels.native import has_tiles

needs_tiles = pytest.mark.skipif(
    not has_tiles(), reason="no products of bfloat16 tiles here: neither AMX nor AVX-512 BF16, or no compiler"
)
