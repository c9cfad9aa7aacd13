from collections.abc import Callable

import pytest

from recurlm.errors import UsageError
from recurlm.evaluation.options import need_natural, need_not_negative, need_positive, need_seed, need_share


@pytest.mark.parametrize(
    ("check", "first", "last", "below", "above"),
    [
        (need_natural, 1, 1_000_000, 0, 1_000_001),
        (need_positive, 5e-324, 1e6, 0.0, 1_000_000.1),
        (need_not_negative, 0.0, 1e6, -5e-324, 1_000_000.1),
        (need_share, 0.0, 0.9999999999999999, -5e-324, 1.0),
    ],
)
def test_an_option_may_be_its_first_and_its_last_value_and_nothing_beyond(
    check: Callable[..., None], first: float, last: float, below: float, above: float
) -> None:
    check(value=first, other=last)
    for wrong in (below, above, float("nan")):
        with pytest.raises(UsageError, match=r"value .*: must be"):
            check(other=first, value=wrong)


def test_a_seed_has_63_bits() -> None:
    need_seed(0)
    need_seed(2**63 - 1)
    for wrong in (-1, 2**63):
        with pytest.raises(UsageError, match="must be at least 0 and below"):
            need_seed(wrong)
