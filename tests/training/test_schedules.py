import math

import pytest

from recurlm.config import ConstantSchedule, CosineSchedule, OneCycleSchedule, PlateauSchedule, StepSchedule
from recurlm.training.schedules import rate_factor


def test_constant_stays() -> None:
    assert rate_factor(ConstantSchedule(), share=0.7, epoch=9) == 1.0


def test_zaremba_small_halves_after_its_fourth_epoch() -> None:
    """Zaremba et al. 2014: rate 1 for four epochs, then halved after each, 13 in all."""
    schedule = StepSchedule(divisor=2.0, after=4)
    factors = [rate_factor(schedule, share=0, epoch=epoch) for epoch in range(13)]
    assert factors == [1, 1, 1, 1] + [2.0**-k for k in range(1, 10)]


def test_steps_can_be_wider_than_an_epoch() -> None:
    schedule = StepSchedule(divisor=10.0, after=2, every=3)
    factors = [rate_factor(schedule, share=0, epoch=epoch) for epoch in range(8)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_cosine_rises_in_a_line_and_falls_in_half_a_cosine() -> None:
    schedule = CosineSchedule(warmup=0.2, final=0.1)
    values = [rate_factor(schedule, share=share, epoch=0) for share in (0, 0.1, 0.2, 0.6, 1.0)]
    assert values == pytest.approx([0, 0.5, 1, 0.55, 0.1])


def test_one_cycle_against_torch() -> None:
    """`torch.optim.lr_scheduler.OneCycleLR` with cosine annealing, whose last step is at share 1."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    steps = 101
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps, pct_start=0.3, div_factor=25, final_div_factor=400, cycle_momentum=False
    )
    schedule = OneCycleSchedule(warmup=0.3, initial=1 / 25, final=1 / 10_000)
    # torch counts the phases in whole steps: the top is at step 0.3 * 101 - 1
    top = 0.3 * steps - 1
    for step in range(steps):
        share = 0.3 * step / top if step <= top else 0.3 + 0.7 * (step - top) / (steps - 1 - top)
        assert rate_factor(schedule, share=share, epoch=0) == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-9)
        if step < steps - 1:
            optimizer.step()
            theirs.step()


def test_plateau_divides_as_often_as_it_was_met() -> None:
    assert rate_factor(PlateauSchedule(divisor=4.0), share=0, epoch=0, reductions=3) == pytest.approx(1 / 64)


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_no_schedule_leaves_zero_to_one(share: float) -> None:
    for schedule in (CosineSchedule(), OneCycleSchedule()):
        factor = rate_factor(schedule, share=share, epoch=0)
        assert 0 <= factor <= 1
        assert math.isfinite(factor)
