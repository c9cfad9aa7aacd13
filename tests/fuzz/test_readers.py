"""Every reader ends in the right result or in an error of the family, within bounds, whatever a file holds.

`./dev test --all` tries more damaged files than `./dev test`, and `./dev fuzz` as many as its time allows.
"""

import sys
from pathlib import Path

import pytest

from fuzz import by_hand
from fuzz.mutate import LARGEST
from fuzz.readers import READERS
from fuzz.run import findings, kept_inputs, numbered, scratch_folder
from fuzz.watch import Watch

CASES = 400
"""A reader; half a minute for all readers together."""
ALL_CASES = 2_000
SEED = 1


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every line is counted, as for coverage, readers are several times slower."""
    if sys.gettrace() is not None:
        monkeypatch.setattr("fuzz.watch.SECONDS", 10.0)


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_rightly_or_refused(name: str, thorough: bool) -> None:
    reader, cases = READERS[name], ALL_CASES if thorough else CASES
    with scratch_folder() as folder, Watch(Path(folder)) as watch:
        found = [finding.reason for finding in findings(reader, numbered(reader, SEED, cases), watch)]
        assert not found
        assert watch.accepted, "not a single input was read, so no result was looked at"


@pytest.mark.parametrize("name", READERS)
def test_no_input_that_once_failed_or_means_harm_does_harm(name: str) -> None:
    reader = READERS[name]
    tried = by_hand.inputs(name) | kept_inputs(reader)
    with scratch_folder() as folder, Watch(Path(folder)) as watch:
        watch.warm_up(reader)
        wrong = {each: watch.finding(reader, content) for each, content in tried.items()}
    assert not {each: reason for each, reason in wrong.items() if reason is not None}
    assert max(map(len, tried.values())) <= LARGEST
