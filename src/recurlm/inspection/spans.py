"""Units that hold something over exactly a span of a text, and the other places where they do.

The question is that of LSTMVis (Strobelt et al. 2018): a unit holds a span where its value lies beyond a threshold at
every token of the span and not at the tokens on either side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import InputError
from recurlm.inspection.trace import Trace, Values


@dataclass(frozen=True)
class Holding:
    """A unit that holds a span.

    layer, unit: counted from 1 · sign: +1 where its values are high over the span, -1 where they are low · margin: how
    far the span's weakest value lies from the strongest of its two neighbors · threshold: half way between them.
    """

    layer: int
    unit: int
    sign: int
    margin: float
    threshold: float


@dataclass(frozen=True)
class Place:
    """A span of tokens from `start` to before `stop`, and how many of the chosen units hold it."""

    start: int
    stop: int
    units: int


def units_that_hold(trace: Trace, start: int, stop: int, *, part: str = "cell", count: int = 10) -> list[Holding]:
    """The units whose values hold the tokens from `start` to before `stop`, largest margin first.

    `part` is cell, hidden, or a gate; a layer that lacks it is passed over. Raises InputError for a span outside of the
    text, and where no layer has the part.
    """
    if not 0 <= start < stop <= len(trace.ids):
        raise InputError(f"span {start + 1} to {stop}: the text has the tokens 1 to {len(trace.ids)}")
    found: list[Holding] = []
    for number, layer in trace.layers_with(part):
        values = layer.values[part]
        for sign in (1, -1):
            found += _holding(number, sign, sign * values, start, stop)
    return sorted(found, key=lambda holding: -holding.margin)[:count]


def other_places(trace: Trace, units: Sequence[Holding], *, part: str = "cell", count: int = 20) -> list[Place]:
    """The places where most of these units lie beyond their thresholds, most units and longest spans first."""
    layers = {number: layer.values[part] for number, layer in trace.layers_with(part)}
    if not units:
        return []
    held = np.stack([_is_beyond(layers[each.layer], each) for each in units])
    number = held.sum(0)
    runs = _runs(number * 2 > len(units))
    places = [Place(start, stop, int(number[start:stop].min())) for start, stop in runs]
    return sorted(places, key=lambda place: (-place.units, place.start - place.stop, place.start))[:count]


def _holding(layer: int, sign: int, values: Values, start: int, stop: int) -> list[Holding]:
    weakest = values[start:stop].min(0)
    around = values[[place for place in (start - 1, stop) if 0 <= place < len(values)]]
    strongest = around.max(0) if len(around) else np.full_like(weakest, -np.inf)
    # before the text a state is zero
    strongest = np.maximum(strongest, 0) if start == 0 else strongest
    margins = weakest - strongest
    return [
        Holding(layer, int(unit) + 1, sign, float(margins[unit]), sign * float(weakest[unit] + strongest[unit]) / 2)
        for unit in np.flatnonzero(margins > 0)
    ]


def _is_beyond(values: Values, holding: Holding) -> NDArray[np.bool_]:
    beyond: NDArray[np.bool_] = holding.sign * values[:, holding.unit - 1] > holding.sign * holding.threshold
    return beyond


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches of true flags, each from its first to after its last."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in changes.reshape(-1, 2)]
