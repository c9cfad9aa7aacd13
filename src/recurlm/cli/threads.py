"""How threads wait for each other.

A thread that waits should spin shortly and then sleep: beside other work, long spinning slows training a hundredfold,
and no spinning at all costs half the speed of a quiet machine.
"""

import os

THREAD_SETTINGS = {"GOMP_SPINCOUNT": "2000"}


def settle_threads() -> None:
    """Set it for this process unless the user has; it must be said before torch is loaded."""
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in THREAD_SETTINGS.items():
            os.environ.setdefault(name, value)
