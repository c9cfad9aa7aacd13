"""How large an untrusted file, its lines and its content may be; docs/limits.md lists every limit.

The environment variable RECURLM_LIMITS multiplies every limit; it is 1 where it is not set.
"""

import os

from recurlm.errors import UsageError

LIMITS_VARIABLE = "RECURLM_LIMITS"
LARGEST_DOCUMENT = 256 << 20
"""Bytes of a file that is read into memory at once: JSON, TOML, a vocabulary, a manifest."""
LONGEST_LINE = 64 << 20
"""Bytes of one line of a text."""
LONGEST_ENTRY = 1 << 20
"""Bytes of one line of a list, a lattice, an ARPA file or references."""
LARGEST_LIST = 1 << 30
"""Bytes of a list, a lattice or references, unpacked."""
LARGEST_EXPANDED = 64 << 30
"""Bytes of the content of a gzip file."""


def raised(limit: int) -> int:
    """A limit times RECURLM_LIMITS. Raises UsageError where that is not a number of at least 1."""
    written = os.environ.get(LIMITS_VARIABLE, "1")
    try:
        factor = float(written)
        if 1 <= factor <= 1e9:
            return int(limit * factor)
    except ValueError:
        pass
    raise UsageError(
        f"{LIMITS_VARIABLE}={written}: must be a number from 1 to 1e9; 10 makes every limit ten times larger"
    )


def how_to_raise() -> str:
    """The end of a message about a limit."""
    return f"\nif the file is right, raise the limits: {LIMITS_VARIABLE}=10 makes every one ten times larger"
