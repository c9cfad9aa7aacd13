"""The time at which this process began."""

import os
import time
from pathlib import Path

IMPORTED = time.monotonic()
LONGEST_LOADING = 60.0
"""Seconds. A process that is older when its first module is loaded did something else before, such as wait."""


def process_began() -> float:
    """The start of this process by `time.monotonic`; the time at which this module was loaded where it is unknown."""
    age = _age()
    began = IMPORTED if age is None else time.monotonic() - age
    return began if 0 <= IMPORTED - began <= LONGEST_LOADING else IMPORTED


def _age() -> float | None:
    """Seconds since this process began, by Linux's /proc (proc(5): field 22 of stat, in ticks since boot)."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
