"""How threads wait for each other.

A waiting thread should spin briefly and then sleep. Long spinning slows training a hundredfold on a busy machine; no
spinning at all costs half the speed on a quiet one.
"""

import os

THREAD_SETTINGS = {"GOMP_SPINCOUNT": "2000"}


def settle_threads() -> None:
    """Set how long threads of this process spin, unless the user has; call this before torch is loaded."""
    if "OMP_WAIT_POLICY" not in os.environ:
        for name, value in THREAD_SETTINGS.items():
            os.environ.setdefault(name, value)
