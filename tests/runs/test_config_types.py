import pytest

from recurlm.errors import CorruptFileError
from recurlm.runs.config_types import check_types


@pytest.mark.parametrize(
    ("key", "allowed", "beyond"),
    [
        ("seed", [-(2**63), 0, 2**64 - 1], [-(2**63) - 1, 2**64, 1.0, True, "1"]),
        ("threads", [1, 65_536], [0, 65_537, 2.0]),
        ("precision", ["fp32", "bf16"], ["fp16", None]),
        ("time_limit", [None, 0.5, 90.0], ["90", True]),
        ("start", [None, {"run": "a", "model": "b"}], [{"run": "a"}, {"run": "a", "model": "b", "more": 1}]),
        ("corpus", [{"source": "a"}, {"source": "a", "name": "b", "splits": {}}], [{}, {"source": 1}, "a"]),
        ("extended", [{"file": "a", "init": "mean", "added": ["b"]}], [{"file": "a", "init": "mean", "added": "b"}]),
        ("versions", [{}, {"torch": "2"}], [{"torch": 2}]),
        ("device", ["cpu", "caf\udce9"], [1, None]),
    ],
)
def test_a_value_may_be_its_first_and_its_last_and_nothing_beyond(key, allowed, beyond):
    for value in allowed:
        check_types({key: value, "unknown key": object()}, "config.json")
    for value in beyond:
        with pytest.raises(CorruptFileError, match=rf"config.json: {key}"):
            check_types({key: value}, "config.json")
