"""Numbers and file names in messages."""

import re
from pathlib import Path

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
"""Python's stand-in for a byte of a file name that is not UTF-8 (PEP 383)."""


def counted(number: int, singular: str, plural: str = "") -> str:
    """A count and its noun, such as "1 epoch" or "16,000 epochs". Without `plural` an s is added."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def shown_name(name: str | Path) -> str:
    """A text that contains file names, with each byte that is not UTF-8 as its value, such as \\xe9."""
    return _ESCAPED_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", str(name))


def readable(token: str) -> str:
    """The token, in quotes where a reader would not see it in a line."""
    return token if token.isprintable() and token.strip() else repr(token)
