"""The exception family: one class for each exit code of the command line.

A message is one or two plain lines: what is wrong, where (file, line, key), what to do.
"""


class RecurlmError(Exception):
    """Something failed; base of the family."""

    exit_code = 1


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
