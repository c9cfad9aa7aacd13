"""The exception family: one class for each exit code of the command line.

A message is one or two plain lines: what is wrong, where (file, line, key), what to do.
"""

import re

LONGEST_LINE = 500
"""Characters of one line of a message."""
MOST_LINES = 8


class RecurlmError(Exception):
    """Something failed; base of the family.

    Messages repeat parts of files and commands, so a long line is shortened in its middle, as are many lines, and what
    UTF-8 cannot hold is written as an escape.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # PEP 383 holds the bytes of names that are not UTF-8 as such halves
        named = _ESCAPED_BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", message)
        printable = named.encode(errors="backslashreplace").decode()
        lines = printable.split("\n")
        if len(lines) > MOST_LINES:
            lines = [*lines[: MOST_LINES // 2], "…", *lines[-MOST_LINES // 2 :]]
        super().__init__("\n".join(map(_shortened, lines)))


class UsageError(RecurlmError):
    """The command was called in a way that cannot be carried out."""

    exit_code = 2


class InputError(RecurlmError):
    """A text, vocabulary, recipe or model that cannot be used as it is."""

    exit_code = 3


class CorruptFileError(RecurlmError):
    """A file that is truncated, altered or not to be trusted."""

    exit_code = 4


class DownloadError(RecurlmError):
    """A corpus that could not be fetched and verified."""

    exit_code = 5


class StoppedError(RecurlmError):
    """Training stopped on request; a checkpoint was written and ``--resume`` goes on from it."""

    exit_code = 75


class RecurlmWarning(UserWarning):
    """Something to know about a file or a figure; the command line prints it as one line on stderr."""


_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} … {line[-half:]}"
