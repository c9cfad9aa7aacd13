"""The product by the library chosen, against float64, for every layout that callers use."""

import pytest
import torch
from torch import Tensor

from recurlm.kernels import matrix_product as module
from recurlm.kernels.matrix_product import matrix_product

LAYOUTS = {
    "rows": lambda m: m.contiguous(),
    "columns": lambda m: m.t().contiguous().t(),
    "cut from rows": lambda m: torch.cat([m, m], 1)[:, : m.shape[1]],
    "cut from columns": lambda m: torch.cat([m, m], 0).t().contiguous().t()[: len(m)],
}


@pytest.mark.parametrize("right", sorted(LAYOUTS))
@pytest.mark.parametrize("left", sorted(LAYOUTS))
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 3), (1, 7, 2), (6, 16, 17), (33, 3, 1)])
@pytest.mark.parametrize("onednn", [True, False])
def test_products_agree_with_double_precision(monkeypatch, onednn, shape, left, right):
    if onednn and not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        pytest.skip("torch without oneDNN")
    monkeypatch.setattr(module, "prefers_onednn_products", lambda: onednn)
    generator = torch.Generator().manual_seed(sum(shape))
    rows, inner, columns = shape
    a: Tensor = LAYOUTS[left](torch.randn(rows, inner, generator=generator))
    b: Tensor = LAYOUTS[right](torch.randn(inner, columns, generator=generator))
    torch.testing.assert_close(matrix_product(a, b).double(), a.double() @ b.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_products_of_nothing_are_torchs(monkeypatch, shape):
    monkeypatch.setattr(module, "prefers_onednn_products", lambda: True)
    monkeypatch.setattr(module, "onednn_linear", lambda *_: pytest.fail("oneDNN is asked"))
    rows, inner, columns = shape
    product = matrix_product(torch.ones(rows, inner), torch.ones(inner, columns))
    assert product.shape == (rows, columns)
    assert not product.any()


@pytest.mark.parametrize("preferred", [True, False])
@pytest.mark.parametrize(("left", "swapped"), [("rows", False), ("columns", True)])
def test_onednn_is_asked_where_it_is_preferred_and_gets_rows_first(monkeypatch, preferred, left, swapped):
    asked = []

    def onednn(input: Tensor, weight: Tensor) -> Tensor:
        asked.append((tuple(input.shape), tuple(weight.shape)))
        return input @ weight.t()

    monkeypatch.setattr(module, "prefers_onednn_products", lambda: preferred)
    monkeypatch.setattr(module, "onednn_linear", onednn)
    a, b = LAYOUTS[left](torch.randn(4, 5)), torch.randn(5, 3)
    torch.testing.assert_close(matrix_product(a, b), a @ b)
    assert asked == [((3, 5), (4, 5)) if swapped else ((4, 5), (3, 5))] * preferred


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_is_widened_where_the_processor_lacks_it(monkeypatch, fast):
    types = []
    monkeypatch.setattr(module, "bf16_is_fast", lambda: fast)
    monkeypatch.setattr(module, "prefers_onednn_products", lambda: types.append("float32") or False)
    a, b = torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(3, 2, dtype=torch.bfloat16)
    assert torch.equal(matrix_product(a, b), torch.full((2, 2), 3.0, dtype=torch.bfloat16))
    assert types == ["float32"] * (not fast)
