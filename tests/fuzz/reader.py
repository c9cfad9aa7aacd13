"""What a fuzzer needs to know of one reader."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz.mutate import Form

TEXT = Form()


@dataclass(frozen=True)
class Reader:
    """A reader of one kind of file.

    seeds: sound files of that kind, made when first asked for · check: writes an input into a folder, reads it, and
    raises AssertionError where what was read is not right; errors of the reader pass through.
    """

    name: str
    make_seeds: Callable[[], list[bytes]]
    check: Callable[[bytes, Path], None]
    form: Form = TEXT

    @functools.cached_property
    def seeds(self) -> list[bytes]:
        """Sound files."""
        return self.make_seeds()


def once(make: Callable[[Path], None], place: Path) -> Path:
    """The folder, made at the first call."""
    if not place.exists():
        make(place)
    return place
