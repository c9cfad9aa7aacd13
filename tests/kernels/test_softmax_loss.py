"""Losses and errors of logits: the C++ and its plain twin, both against torch's own cross-entropy."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recurlm.kernels import softmax_loss as module
from recurlm.kernels.native import native_library, native_status
from recurlm.kernels.softmax_loss import masked_softmax_loss, softmax_loss, softmax_loss_native, softmax_loss_plain

needs_native = pytest.mark.skipif(native_library() is None, reason=f"no native library: {native_status()}")
BOTH = pytest.mark.parametrize("function", [softmax_loss_plain, pytest.param(softmax_loss_native, marks=needs_native)])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 5e-3}


def drawn(rows: int, size: int, dtype: torch.dtype, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + size)
    logits = (torch.randn(rows, size, generator=generator) * scale).to(dtype)
    return logits, torch.randn(size, generator=generator), torch.randint(size, (rows,), generator=generator)


def outsider(logits: Tensor, bias: Tensor | None, target: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and errors by autograd in float64."""
    total = logits.double() if bias is None else logits.double() + bias.double()
    total.requires_grad_()
    losses = F.cross_entropy(total, target, reduction="none")
    (error,) = torch.autograd.grad(losses.sum(), total)
    return losses.detach(), error


@BOTH
@DTYPES
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("rows", "size"), [(1, 2), (5, 1), (3, 15), (4, 16), (7, 17), (9, 65), (6, 1003)])
def test_losses_and_errors_are_torchs(function, rows, size, with_bias, dtype):
    logits, bias, target = drawn(rows, size, dtype)
    bias = bias if with_bias else None
    losses, error = outsider(logits, bias, target)
    ours, grad_bias = function(logits, bias, target, True)
    torch.testing.assert_close(ours.double(), losses, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(logits.double(), error, rtol=TOLERANCE[dtype], atol=TOLERANCE[torch.float32])
    assert (grad_bias is None) == (bias is None)
    if grad_bias is not None:
        torch.testing.assert_close(grad_bias.double(), error.sum(0), rtol=2e-5, atol=2e-5)


@BOTH
@DTYPES
def test_without_gradient_the_logits_stay(function, dtype):
    logits, bias, target = drawn(5, 33, dtype)
    before = logits.clone()
    losses, grad_bias = function(logits, bias, target, False)
    assert grad_bias is None
    assert torch.equal(logits, before)
    torch.testing.assert_close(losses.double(), outsider(logits, bias, target)[0], rtol=2e-6, atol=2e-6)


@BOTH
@DTYPES
def test_huge_logits_do_not_overflow(function, dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0] * 6, [-1e4] * 18]).to(dtype)
    exact, error = outsider(logits, None, torch.tensor([1, 3]))
    losses, _ = function(logits, None, torch.tensor([1, 3]), True)
    torch.testing.assert_close(losses.double(), exact, rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(logits.double(), error, rtol=TOLERANCE[dtype], atol=5e-4)


@BOTH
@DTYPES
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 7, 17])
def test_a_logit_that_is_not_finite_gives_such_a_loss(function, dtype, bad, place):
    logits, bias, target = drawn(3, 18, dtype)
    logits[1, place] = bad
    target[1] = place
    for gradient in (False, True):
        losses, _ = function(logits.clone(), bias, target, gradient)
        assert losses.isfinite().tolist() == [True, False, True]


@BOTH
def test_a_word_that_is_impossible_does_not_disturb_the_others(function):
    logits, bias, target = drawn(2, 40, torch.float32)
    logits[:, 16:32] = -math.inf
    target[:] = 3
    exact, error = outsider(logits, bias, target)
    losses, _ = function(logits, bias, target, True)
    torch.testing.assert_close(losses.double(), exact, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(logits.double(), error, rtol=2e-6, atol=2e-6)


@BOTH
@pytest.mark.parametrize("wrong", [-1, 18])
def test_a_target_that_is_no_column_is_refused(function, wrong):
    logits, bias, target = drawn(3, 18, torch.float32)
    target[2] = wrong
    with pytest.raises((IndexError, RuntimeError)):
        function(logits, bias, target, True)


@needs_native
@DTYPES
def test_threads_share_the_rows_without_changing_the_losses(dtype):
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            logits, bias, target = drawn(64, 101, dtype)
            losses, grad_bias = softmax_loss_native(logits, bias, target, True)
        finally:
            torch.set_num_threads(1)
        results.append((losses, logits, grad_bias))
    for losses, logits, grad_bias in results[1:]:
        assert torch.equal(losses, results[0][0])
        assert torch.equal(logits, results[0][1])
        torch.testing.assert_close(grad_bias, results[0][2], rtol=1e-5, atol=1e-5)


def test_without_a_library_the_plain_twin_runs(monkeypatch):
    monkeypatch.setattr(module, "native_library", lambda: None)
    monkeypatch.setattr(module, "softmax_loss_native", lambda *arguments: pytest.fail("the native twin ran"))
    logits, bias, target = drawn(3, 18, torch.float32)
    losses, _ = softmax_loss(logits, bias, target, False)
    torch.testing.assert_close(losses.double(), outsider(logits, bias, target)[0], rtol=2e-6, atol=2e-6)


@needs_native
def test_with_a_library_the_native_twin_runs_except_in_double_precision(monkeypatch):
    called = []
    native = module.softmax_loss_native
    monkeypatch.setattr(module, "softmax_loss_native", lambda *a: called.append(a[0].dtype) or native(*a))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        softmax_loss(*drawn(3, 18, dtype), False)
    assert called == [torch.float32, torch.bfloat16]


@DTYPES
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("target_of_the_masked", [-100, 0, 7])
def test_masked_rows_come_to_nothing_and_the_others_to_the_plain_twins_values(with_bias, target_of_the_masked, dtype):
    logits, bias, target = drawn(9, 65, dtype)
    bias = bias if with_bias else None
    real = torch.tensor([True, False, True, True, True, False, True, True, False])
    expected = logits[real]
    expected_losses, expected_grad_bias = softmax_loss_plain(expected, bias, target[real], True)
    target[~real] = target_of_the_masked
    losses, grad_bias = masked_softmax_loss(logits, bias, target, True, real)
    torch.testing.assert_close(losses[real], expected_losses, rtol=2e-6, atol=2e-6)
    torch.testing.assert_close(logits[real], expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[torch.float32])
    assert not losses[~real].any()
    assert not logits[~real].any()
    assert (grad_bias is None) == (bias is None)
    if grad_bias is not None:
        # the sum is of errors as they are stored
        torch.testing.assert_close(grad_bias, expected_grad_bias, rtol=2e-5, atol=len(real) * TOLERANCE[dtype])


def test_a_masked_loss_without_gradient_leaves_the_logits():
    logits, bias, target = drawn(5, 33, torch.float32)
    before, real = logits.clone(), torch.tensor([True, True, False, True, True])
    losses, grad_bias = masked_softmax_loss(logits, bias, target, False, real)
    assert grad_bias is None
    assert torch.equal(logits, before)
    torch.testing.assert_close(losses[real], outsider(logits, bias, target)[0][real].float(), rtol=2e-6, atol=2e-6)


def test_the_error_of_a_sure_prediction_keeps_its_digits_in_bfloat16():
    """p - 1 of a p that was rounded before would be 0 or 1/256."""
    logits, target = torch.tensor([[7.0, 0.0, 0.0]], dtype=torch.bfloat16), torch.tensor([0])
    expected = outsider(logits, None, target)[1]
    masked_softmax_loss(logits, None, target, True, torch.tensor([True]))
    assert logits[0, 0].item() == pytest.approx(expected[0, 0].item(), rel=5e-3)
