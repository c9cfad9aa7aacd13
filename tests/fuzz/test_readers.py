"""Every reader ends in the right result or in an error of the family, within bounds, whatever a file holds.

`./dev fuzz` tries more inputs than these.
"""

from pathlib import Path

import pytest

from fuzz.readers import READERS
from fuzz.run import findings, kept_inputs, numbered, scratch_folder
from fuzz.watch import Watch

CASES = 2_000
SEED = 1


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_rightly_or_refused(name: str) -> None:
    reader = READERS[name]
    with scratch_folder() as folder, Watch(Path(folder)) as watch:
        found = [finding.reason for finding in findings(reader, numbered(reader, SEED, CASES), watch)]
        assert not found
        assert watch.accepted, "not a single input was read, so no result was looked at"


@pytest.mark.parametrize("name", READERS)
def test_an_input_that_once_failed_fails_no_more(name: str) -> None:
    reader = READERS[name]
    with scratch_folder() as folder, Watch(Path(folder)) as watch:
        watch.warm_up(reader)
        wrong = {path.name: watch.finding(reader, path.read_bytes()) for path in kept_inputs(reader)}
    assert not {name: reason for name, reason in wrong.items() if reason is not None}
