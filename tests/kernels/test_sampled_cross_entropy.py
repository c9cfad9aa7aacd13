import pytest
import torch
from torch import Tensor

from recurlm.kernels.linear_cross_entropy import linear_cross_entropy_reference
from recurlm.kernels.sampled_cross_entropy import (
    Sample,
    draw_columns,
    inclusion_probabilities,
    sampled_cross_entropy,
    sampled_cross_entropy_reference,
)

COLUMNS, SIZE = 30, 11


def drawn_layer(bias: bool, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor | None], Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    input = torch.randn(20, 7, generator=generator, dtype=dtype).requires_grad_()
    weight = torch.randn(COLUMNS, 7, generator=generator, dtype=dtype).requires_grad_()
    offsets = torch.randn(COLUMNS, generator=generator, dtype=dtype).requires_grad_() if bias else None
    target = torch.randint(COLUMNS, (20,), generator=generator)
    target[::6] = -100
    inclusion = inclusion_probabilities(COLUMNS, SIZE, 0.75)
    sample = draw_columns(inclusion.cumsum(0), SIZE)
    return [input, weight, offsets], target, sample, inclusion.log().to(dtype)


def gradients(total: Tensor, layer: list[Tensor | None]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(total, [leaf for leaf in layer if leaf is not None])


@pytest.mark.parametrize(
    ("size", "exponent", "expected"),
    [
        # 2 / (1 + 1/2 + 1/3 + 1/4) = 0.96
        (2, 1.0, [0.96, 0.48, 0.32, 0.24]),
        # the first is certain, as 3 x 0.48 > 1; of the others 2 / (1/2 + 1/3 + 1/4) = 24 / 13
        (3, 1.0, [1.0, 12 / 13, 8 / 13, 6 / 13]),
        (1, 0.0, [0.25, 0.25, 0.25, 0.25]),
        (4, 1.0, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_inclusion_probabilities_by_hand(size, exponent, expected):
    found = inclusion_probabilities(4, size, exponent)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_columns_are_drawn_as_often_as_their_probabilities_say_and_never_twice():
    torch.manual_seed(5)
    inclusion = inclusion_probabilities(COLUMNS, SIZE, 0.75)
    cumulated, times = inclusion.cumsum(0), 20_000
    counts = torch.zeros(COLUMNS)
    for _ in range(times):
        sample = draw_columns(cumulated, SIZE)
        assert (sample.diff() > 0).all()
        counts[sample] += 1
    deviation = (inclusion * (1 - inclusion) / times).sqrt()
    assert ((counts / times - inclusion).abs() <= 5 * deviation + 1e-12).all()


@pytest.mark.parametrize("share", [0.0, 1 - 2**-53])
def test_the_ends_of_the_random_number_draw_real_columns(share, monkeypatch):
    monkeypatch.setattr(torch, "rand_like", lambda like: torch.full_like(like, share))
    cumulated = inclusion_probabilities(COLUMNS, SIZE, 0.75).cumsum(0)
    sample = draw_columns(cumulated, SIZE)
    assert sample[0] == 0
    assert (sample.diff() > 0).all()
    assert sample[-1] < COLUMNS


@pytest.mark.parametrize("skip_ignored", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_plain_twin(bias, skip_ignored):
    layer, target, sample, log_inclusion = drawn_layer(bias)
    total, losses = sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion), skip_ignored=skip_ignored)
    expected_total, expected = sampled_cross_entropy_reference(*layer, target, Sample(sample, log_inclusion))
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(total, expected_total)
    assert torch.equal(losses == 0, target == -100)
    for mine, other in zip(gradients(total, layer), gradients(expected_total, layer), strict=True):
        torch.testing.assert_close(mine, other)


def test_a_loss_by_hand():
    """Two of three columns drawn, the target not among them: ln(e^1 + e^2 / 0.5 + e^0 / 0.25) - 1."""
    input, weight = torch.ones(1, 1), torch.tensor([[2.0], [0.0], [1.0]])
    log_inclusion = torch.tensor([0.5, 0.25, 0.25]).log()
    total, _ = sampled_cross_entropy(
        input, weight, None, torch.tensor([2]), Sample(torch.tensor([0, 1]), log_inclusion)
    )
    torch.testing.assert_close(total, torch.tensor([2.718282 + 7.389056 / 0.5 + 1 / 0.25]).log().sum() - 1)


def test_a_sample_of_all_columns_is_the_softmax():
    layer, target, _, _ = drawn_layer(True)
    everything, certain = torch.arange(COLUMNS), torch.zeros(COLUMNS, dtype=torch.float64)
    total, losses = sampled_cross_entropy(*layer, target, Sample(everything, certain))
    expected_total, expected = linear_cross_entropy_reference(*layer, target)
    torch.testing.assert_close(losses, expected)
    for mine, other in zip(gradients(total, layer), gradients(expected_total, layer), strict=True):
        torch.testing.assert_close(mine, other)


def test_the_sum_of_exponentials_is_estimated_without_bias():
    """exp(loss) p(target) is the estimate of the softmax's sum over that of all columns: 1 on average."""
    torch.manual_seed(7)
    layer, target, _, log_inclusion = drawn_layer(True)
    cumulated = inclusion_probabilities(COLUMNS, SIZE, 0.75).cumsum(0)
    _, exact = linear_cross_entropy_reference(*layer, target)
    ratios = []
    for _ in range(4000):
        sample = draw_columns(cumulated, SIZE)
        with torch.no_grad():
            _, losses = sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion))
        ratios.append((losses - exact).exp())
    found = torch.stack(ratios)[:, target != -100]
    error = found.std(0) / len(ratios) ** 0.5
    assert ((found.mean(0) - 1).abs() < 5 * error).all()


def test_bfloat16_comes_close():
    layer, target, sample, log_inclusion = drawn_layer(True, torch.float32)
    expected, _ = sampled_cross_entropy_reference(*layer, target, Sample(sample, log_inclusion))
    with torch.autocast("cpu", torch.bfloat16):
        total, losses = sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion))
    assert losses.dtype == torch.float32
    torch.testing.assert_close(total, expected, rtol=0.02, atol=0)
    for mine, other in zip(gradients(total, layer), gradients(expected, layer), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - other).norm() < 0.03 * other.norm()


def test_nothing_to_predict_costs_nothing():
    layer, target, sample, log_inclusion = drawn_layer(True)
    total, losses = sampled_cross_entropy(*layer, torch.full_like(target, -100), Sample(sample, log_inclusion))
    assert total.item() == 0
    assert not losses.any()
    assert all(not gradient.any() for gradient in gradients(total, layer))


def test_without_skipping_nothing_is_asked_of_the_device(no_questions):
    layer, target, sample, log_inclusion = drawn_layer(True)
    cumulated = inclusion_probabilities(COLUMNS, SIZE, 0.75).cumsum(0)
    with no_questions():
        sample = draw_columns(cumulated, SIZE)
        total, _ = sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion), skip_ignored=False)
        total.backward()


def test_gradients_of_a_kept_graph_can_be_asked_for_twice():
    layer, target, sample, log_inclusion = drawn_layer(True)
    total, _ = sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion))
    first = torch.autograd.grad(2 * total, layer, retain_graph=True)
    second = torch.autograd.grad(2 * total, layer)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("wrong", [-1, COLUMNS])
def test_a_target_that_is_no_column_is_refused(wrong):
    layer, target, sample, log_inclusion = drawn_layer(True)
    target[1] = wrong
    with pytest.raises(IndexError):
        sampled_cross_entropy(*layer, target, Sample(sample, log_inclusion))
