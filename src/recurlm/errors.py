"""The exceptions: one class for each exit code of the command line.

A message is one or two plain lines: what is wrong, where (file, line, key), and what to do.
"""

from recurlm.wording import shown_name

LONGEST_MESSAGE_LINE = 500
"""Characters of one line of a message."""
MOST_LINES = 8


class RecurlmError(Exception):
    """Base class: something failed.

    Messages repeat parts of files and commands. A long line, or a long list of lines, is shortened in its middle.
    Characters that UTF-8 cannot encode are escaped.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        printable = shown_name(message).encode(errors="backslashreplace").decode()
        lines = printable.split("\n")
        if len(lines) > MOST_LINES:
            lines = [*lines[: MOST_LINES // 2], "…", *lines[-MOST_LINES // 2 :]]
        super().__init__("\n".join(map(_shortened, lines)))


class UsageError(RecurlmError):
    """The command cannot be carried out as it was called."""

    exit_code = 2


class InputError(RecurlmError):
    """A text, vocabulary, recipe or model cannot be used as it is."""

    exit_code = 3


class CorruptFileError(RecurlmError):
    """A file is truncated, altered or not to be trusted."""

    exit_code = 4


class DownloadError(RecurlmError):
    """A corpus could not be fetched and verified."""

    exit_code = 5


class StoppedError(RecurlmError):
    """Training stopped on request. It wrote a checkpoint, and `--resume` continues from it."""

    exit_code = 75


KINDS = {
    kind.exit_code: kind
    for kind in (RecurlmError, UsageError, InputError, CorruptFileError, DownloadError, StoppedError)
}
"""The class of each exit code."""


class RecurlmWarning(UserWarning):
    """A remark about a file or a figure. The command line prints it as one line on stderr."""


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_MESSAGE_LINE:
        return line
    half = LONGEST_MESSAGE_LINE // 2
    return f"{line[:half]} … {line[-half:]}"
