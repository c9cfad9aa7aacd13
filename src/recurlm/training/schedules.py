"""The learning rate as a function of the progress of the run."""

import math

from recurlm.config import (
    ConstantSchedule,
    CosineSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    StepSchedule,
)

Schedule = ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule | PlateauSchedule


def rate_factor(schedule: Schedule, *, share: float, epoch: int, reductions: int = 0) -> float:
    """The factor of the highest learning rate.

    share: fraction of the run that is done, 0 to 1, in steps or in time · epoch: whole epochs done ·
    reductions: number of plateaus met so far.
    """
    if isinstance(schedule, StepSchedule):
        return float(schedule.divisor ** -max(0, -(-(epoch + 1 - schedule.after) // schedule.every)))
    if isinstance(schedule, CosineSchedule):
        return _warmup_and_cosine(share, schedule.warmup, 0.0, schedule.final, linear=True)
    if isinstance(schedule, OneCycleSchedule):
        return _warmup_and_cosine(share, schedule.warmup, schedule.initial, schedule.final, linear=False)
    if isinstance(schedule, PlateauSchedule):
        return float(schedule.divisor**-reductions)
    return 1.0


def _warmup_and_cosine(share: float, warmup: float, initial: float, final: float, *, linear: bool) -> float:
    share = min(max(share, 0.0), 1.0)
    if share < warmup:
        risen = share / warmup
        return initial + (1 - initial) * (risen if linear else _cosine_rise(risen))
    fallen = (share - warmup) / (1 - warmup)
    return 1 + (final - 1) * _cosine_rise(fallen)


def _cosine_rise(share: float) -> float:
    return (1 - math.cos(math.pi * share)) / 2
