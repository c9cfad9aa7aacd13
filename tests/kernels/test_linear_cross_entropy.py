import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recurlm.kernels import linear_cross_entropy as module
from recurlm.kernels.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference

POSITIONS, HIDDEN, VOCABULARY = 23, 6, 11
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}


def with_static_shapes(*args, **kwargs):
    return linear_cross_entropy(*args, skip_ignored=False, **kwargs)


BOTH = pytest.mark.parametrize("function", [linear_cross_entropy, with_static_shapes, linear_cross_entropy_reference])
FAST = pytest.mark.parametrize("function", [linear_cross_entropy, with_static_shapes])


def drawn(dtype: torch.dtype = torch.float64, *, bias: bool = True) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(POSITIONS, HIDDEN), (VOCABULARY, HIDDEN), *([(VOCABULARY,)] if bias else [])]
    leaves = [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for s in shapes]
    return leaves, torch.randint(VOCABULARY, (POSITIONS,), generator=generator)


def outsider(leaves: list[Tensor], target: Tensor, ignored: int = -100) -> tuple[Tensor, Tensor]:
    logits = F.linear(*leaves)
    arguments = {"ignore_index": ignored}
    return F.cross_entropy(logits, target, reduction="sum", **arguments), F.cross_entropy(
        logits, target, reduction="none", **arguments
    )


def call(function, leaves: list[Tensor], target: Tensor, **kwargs) -> tuple[Tensor, Tensor]:
    input, weight, *bias = leaves
    return function(input, weight, bias[0] if bias else None, target, **kwargs)


def assert_agrees(function, leaves: list[Tensor], target: Tensor, tolerance: float, **kwargs) -> None:
    total, losses = call(function, leaves, target, **kwargs)
    expected_total, expected = outsider(leaves, target, **kwargs)
    torch.testing.assert_close(total, expected_total, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(losses, expected.detach(), rtol=tolerance, atol=tolerance)
    assert not losses.requires_grad
    ours = torch.autograd.grad(total, leaves)
    theirs = torch.autograd.grad(expected_total, leaves)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@BOTH
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_agree_with_torch(function, dtype, bias):
    leaves, target = drawn(dtype, bias=bias)
    assert_agrees(function, leaves, target, TOLERANCE[dtype])


@pytest.mark.parametrize("block", [1, 4 * HIDDEN, VOCABULARY * HIDDEN])
@pytest.mark.parametrize("rows", [1, 7, 12, 1000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@FAST
def test_the_size_of_chunks_and_blocks_changes_nothing(monkeypatch, function, rows, block, dtype):
    monkeypatch.setattr(module, "CHUNK_BYTES", rows * VOCABULARY * dtype.itemsize)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", block)
    leaves, target = drawn(dtype)
    target[::4] = -100
    assert_agrees(function, leaves, target, TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("ignored", [-100, 0, 5])
def test_ignored_targets_neither_count_nor_teach(function, ignored):
    leaves, target = drawn()
    target[3:9] = ignored
    assert_agrees(function, leaves, target, 1e-10, ignored=ignored)
    total, losses = call(function, leaves, target, ignored=ignored)
    assert (losses[3:9] == 0).all()
    (gradient, *_) = torch.autograd.grad(total, leaves)
    assert (gradient[3:9] == 0).all()


@BOTH
def test_when_all_is_ignored_the_loss_and_its_gradients_are_zero(function):
    leaves, target = drawn()
    total, losses = call(function, leaves, torch.full_like(target, -100))
    assert total.item() == 0
    assert not losses.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(total, leaves))


@FAST
def test_large_logits_do_not_overflow(function):
    leaves, target = drawn(torch.float32)
    scaled = [(leaf.detach() * 300).requires_grad_() for leaf in leaves]
    total, _ = call(function, scaled, target)
    assert total.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(total, scaled))


def test_a_factor_on_the_loss_is_a_factor_on_the_gradients():
    leaves, target = drawn()
    plain = torch.autograd.grad(call(linear_cross_entropy, leaves, target)[0], leaves)
    scaled = torch.autograd.grad(call(linear_cross_entropy, leaves, target)[0] * -3.5, leaves)
    for one, other in zip(plain, scaled, strict=True):
        torch.testing.assert_close(other, -3.5 * one)


def test_a_retained_graph_gives_the_same_gradients_twice():
    leaves, target = drawn()
    total, _ = call(linear_cross_entropy, leaves, target)
    once = [gradient.clone() for gradient in torch.autograd.grad(2 * total, leaves, retain_graph=True)]
    kept = torch.autograd.grad(2 * total, leaves, retain_graph=True)
    again = torch.autograd.grad(3 * total, leaves)
    for first, second, third in zip(once, kept, again, strict=True):
        torch.testing.assert_close(second, first)
        torch.testing.assert_close(third, 1.5 * first)


def test_two_backward_passes_add_up_in_the_gradients():
    leaves, target = drawn()
    total, _ = call(linear_cross_entropy, leaves, target)
    expected = torch.autograd.grad(outsider(leaves, target)[0], leaves)
    (2 * total).backward(retain_graph=True)
    (3 * total).backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        torch.testing.assert_close(leaf.grad, 5 * gradient)


def test_a_weight_that_is_used_elsewhere_gathers_both_gradients():
    def loss(function, weight: Tensor, tokens: Tensor, target: Tensor) -> Tensor:
        embedded = torch.tanh(F.embedding(tokens, weight))
        return function(embedded, weight, None, target)[0] / len(tokens)

    torch.manual_seed(0)
    weight = torch.randn(VOCABULARY, HIDDEN, dtype=torch.float64, requires_grad=True)
    tokens, target = torch.randint(VOCABULARY, (2, POSITIONS))
    gradients = [
        torch.autograd.grad(loss(function, weight, tokens, target), weight)[0]
        for function in (linear_cross_entropy, lambda i, w, b, t: (F.cross_entropy(i @ w.t(), t, reduction="sum"),))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@FAST
def test_gradients_agree_with_finite_differences(function):
    leaves, target = drawn()
    target[2] = -100
    assert torch.autograd.gradcheck(lambda *xs: call(function, list(xs), target)[0], leaves)


def test_with_static_shapes_the_device_is_asked_nothing(no_questions):
    leaves, target = drawn()
    target[2] = -100
    with pytest.raises(AssertionError, match="asks"), no_questions():
        call(linear_cross_entropy, leaves, target)
    with no_questions():
        total, _ = call(with_static_shapes, leaves, target)
        total.backward()


def test_only_what_needs_a_gradient_gets_one():
    leaves, target = drawn()
    input, weight, bias = leaves
    total, _ = linear_cross_entropy(input, weight.detach(), bias.detach(), target)
    (gradient,) = torch.autograd.grad(total, input)
    torch.testing.assert_close(gradient, torch.autograd.grad(outsider(leaves, target)[0], input)[0])


def test_without_gradient_none_is_computed(monkeypatch):
    leaves, target = drawn()
    expected = call(linear_cross_entropy, leaves, target)[0].item()
    products: list[tuple[int, ...]] = []
    multiply = module.matrix_product
    monkeypatch.setattr(module, "matrix_product", lambda a, b: products.append(tuple(a.shape)) or multiply(a, b))
    with torch.no_grad():
        total, losses = call(linear_cross_entropy, leaves, target)
    assert not total.requires_grad
    assert total.item() == pytest.approx(expected, rel=1e-12)
    assert losses.sum().item() == pytest.approx(expected)
    assert products == [(POSITIONS, HIDDEN)]
    call(linear_cross_entropy, leaves, target)
    assert products[2:] == [(POSITIONS, VOCABULARY), (VOCABULARY, POSITIONS)]


def test_the_gradient_of_a_graph_that_is_not_kept_is_no_copy():
    leaves, target = drawn()
    total, _ = call(linear_cross_entropy, leaves, target)
    kept = total.grad_fn.saved_tensors[1].data_ptr()
    (total * 0.5).backward()
    assert leaves[1].grad.data_ptr() == kept
    with pytest.raises(RuntimeError, match="second time"):
        total.backward()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_two_runs_are_the_same_to_the_bit(precision):
    torch.set_num_threads(2)
    try:
        runs = []
        for _ in range(2):
            leaves, target = drawn(torch.float32)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
                total, losses = call(linear_cross_entropy, leaves, target)
            runs.append([total.detach(), losses, *torch.autograd.grad(total, leaves)])
        assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    finally:
        torch.set_num_threads(1)


@FAST
@pytest.mark.parametrize("bias", [True, False])
def test_bf16_autocast_is_close_and_keeps_sums_in_float32(function, bias):
    leaves, target = drawn(torch.float32, bias=bias)
    exact, exact_losses = outsider(leaves, target)
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = call(function, leaves, target)
    assert total.dtype == losses.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.01, atol=0.05)
    assert (losses - exact_losses).abs().max() > 1e-4, "bfloat16 was not used"
    for one, other in zip(torch.autograd.grad(total, leaves), torch.autograd.grad(exact, leaves), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.08)


@FAST
def test_bf16_input_gives_bf16_gradients(function):
    leaves, target = drawn(torch.bfloat16)
    total, losses = call(function, leaves, target)
    assert total.dtype == losses.dtype == torch.float32
    assert [gradient.dtype for gradient in torch.autograd.grad(total, leaves)] == [torch.bfloat16] * 3
