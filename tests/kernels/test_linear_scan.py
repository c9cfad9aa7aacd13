import numpy as np
import pytest
import torch
from torch import Tensor

from recurlm.kernels.linear_scan import linear_scan, parallel_scan, scan_by_steps


def drawn(steps: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(steps)
    keep, new = torch.rand(steps, 3, 4, dtype=dtype), torch.randn(steps, 3, 4, dtype=dtype)
    keep[steps // 2, 0] = 0  # a gate may close altogether
    return keep, new, torch.randn(3, 4, dtype=dtype)


@pytest.mark.parametrize("scan", [scan_by_steps, parallel_scan, linear_scan])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 35, 100])
def test_a_scan_is_the_sum_over_all_earlier_steps(scan, steps):
    keep, new, first = drawn(steps)
    scanned = scan(keep, new, first).numpy()
    k, v = keep.numpy(), new.numpy()
    for n in range(steps):
        # S_n = sum over m of new_m times all keeps after m, and the first state times all of them
        expected = sum(v[m] * np.prod(k[m + 1 : n + 1], axis=0) for m in range(n + 1))
        expected = expected + first.numpy() * np.prod(k[: n + 1], axis=0)
        np.testing.assert_allclose(scanned[n], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_gradients_of_the_parallel_scan(steps):
    assert torch.autograd.gradcheck(parallel_scan, [part.requires_grad_() for part in drawn(steps)])


def test_in_float32_the_parallel_scan_stays_by_the_steps():
    for scans in zip(*(_values_and_gradients(scan) for scan in (parallel_scan, scan_by_steps)), strict=True):
        torch.testing.assert_close(*scans, rtol=1e-5, atol=1e-5)


def _values_and_gradients(scan) -> list[Tensor]:
    given = [part.requires_grad_() for part in drawn(200, torch.float32)]
    scanned = scan(*given)
    return [scanned, *torch.autograd.grad((scanned * scanned.detach().cos()).sum(), given)]
