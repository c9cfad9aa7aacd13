import errno
import math
import os

import pytest

from recurlm.progress import (
    PlainLines,
    WarningsOnly,
    duration,
    fitted,
    hours_minutes_seconds,
    open_watcher,
    perhaps_hung_up,
)


def test_a_terminal_that_hung_up_is_no_error_and_a_full_disk_is() -> None:
    with perhaps_hung_up():
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(OSError, match="No space"), perhaps_hung_up():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_output_that_is_no_terminal_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = open_watcher()
    assert type(watcher) is PlainLines
    watcher.say("first")
    watcher.tick(0.5, "half")
    watcher.step("second")
    watcher.close()
    assert capsys.readouterr() == ("", "first\nsecond\n")
    assert type(open_watcher(quiet=True)) is WarningsOnly


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "?"), (math.inf, "?"), (math.nan, "?"), (-1, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3661, "1:01:01")],
)
def test_seconds_in_hours_and_minutes(seconds: float | None, shown: str) -> None:
    assert hours_minutes_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (44.2, "45s"), (60, "1m"), (61, "1m01s"), (599, "9m59s"), (601, "11m"), (3600, "1h"), (5341, "1h30m")],
)
def test_seconds_as_a_time_limit_has_them(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (40, "0:48 left  epoch 3/20  perplexity 84.2"),
        (37, "0:48 left  epoch 3/20"),
        (21, "0:48 left  epoch 3/20"),
        (20, "0:48 left"),
        (9, "0:48 left"),
        (8, "0:48 le…"),
        (0, "…"),
    ],
)
def test_a_narrow_line_keeps_its_first_parts(width: int, shown: str) -> None:
    assert fitted("0:48 left  epoch 3/20  perplexity 84.2", width) == shown


def test_wide_characters_take_two_columns() -> None:
    assert fitted("语料  模型", 10) == "语料  模型"
    assert fitted("语料  模型", 9) == "语料"
