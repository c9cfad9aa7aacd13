"""Units that hold a span, on values written by hand."""

import numpy as np
import pytest

from recurlm.errors import InputError
from recurlm.inspection.spans import Holding, Place, other_places, units_that_hold
from recurlm.inspection.trace import LayerTrace, Trace

#                 a     (     b     )     c     (     d     e     )     f
HIGH = np.array([0.1, 0.9, 0.8, 0.9, 0.0, 0.7, 0.8, 0.9, 0.6, 0.1])
LOW = np.array([0.0, -0.5, -0.6, -0.5, 0.1, 0.0, 0.1, 0.0, 0.0, 0.1])
FLAT = np.full(10, 0.9)


def make_trace(*layers: list[np.ndarray]) -> Trace:
    traced = tuple(LayerTrace("LSTM", {"cell": np.stack(units, 1).astype(np.float32)}) for units in layers)
    zeros = np.zeros(10)
    return Trace(tuple(range(10)), zeros, zeros, zeros.astype(np.int64), ((),) * 10, traced)


def test_units_hold_a_span_where_they_change_at_its_ends():
    found = units_that_hold(make_trace([FLAT], [FLAT, HIGH, LOW]), 1, 4)
    assert [(each.layer, each.unit, each.sign) for each in found] == [(2, 2, 1), (2, 3, -1)]
    assert [each.margin for each in found] == pytest.approx([0.8 - 0.1, 0.5 - 0.0])
    assert [each.threshold for each in found] == pytest.approx([0.45, -0.25])


def test_other_places_are_where_most_of_the_units_are_beyond_their_thresholds():
    trace = make_trace([HIGH, LOW])
    high, low = Holding(1, 1, 1, 0.7, 0.45), Holding(1, 2, -1, 0.5, -0.25)
    assert other_places(trace, [high]) == [Place(5, 9, 1), Place(1, 4, 1)]
    assert other_places(trace, [high, low]) == [Place(1, 4, 2)]
    assert other_places(trace, []) == []


def test_a_span_at_the_beginning_is_held_against_the_empty_memory():
    falling = np.array([0.5, 0.4, 0.1, *[0.0] * 7])
    (held,) = units_that_hold(make_trace([falling]), 0, 2)
    assert held.margin == pytest.approx(0.4 - 0.1)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 3), (2, 11)])
def test_a_span_outside_of_the_text_is_refused(start, stop):
    with pytest.raises(InputError, match="the text has the tokens 1 to 10"):
        units_that_hold(make_trace([HIGH]), start, stop)


def test_a_part_that_no_layer_has_is_refused_with_those_there_are():
    with pytest.raises(InputError, match="the model has no forget; it has cell"):
        units_that_hold(make_trace([HIGH]), 1, 3, part="forget")
