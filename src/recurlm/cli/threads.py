"""How threads wait for each other.

A waiting thread should spin briefly and then sleep. Long spinning slows training a hundredfold on a busy machine; no
spinning at all costs half the speed on a quiet one.
"""

import os
from importlib.util import find_spec
from pathlib import Path

SPIN = {"GOMP_SPINCOUNT": "2000"}
SPIN_IN_COMPANY = {"OMP_WAIT_POLICY": "active"}
"""Where several threads compute side by side, as in a server, GNU's OpenMP spins 100 times; with this, 1,000 times.

Other OpenMP libraries would spin without end.
"""


def thread_settings() -> dict[str, str]:
    """The variables that settle how long threads spin, for the OpenMP library that torch brings."""
    return SPIN | (SPIN_IN_COMPANY if _has_gnu_openmp() else {})


def settle_threads() -> None:
    """Set how long threads of this process spin, unless the user has; call this before torch is loaded."""
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
        os.environ.update(thread_settings())


def _has_gnu_openmp() -> bool:
    torch = find_spec("torch")
    return torch is not None and torch.origin is not None and any((Path(torch.origin).parent / "lib").glob("libgomp*"))
