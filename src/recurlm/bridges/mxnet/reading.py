"""Opening the files that the user names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from recurlm.errors import InputError


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; InputError where there is none or it cannot be read."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        yield file
