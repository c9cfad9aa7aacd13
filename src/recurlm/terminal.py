"""Control characters of texts and vocabularies, shown escaped on a terminal, which would obey them."""

import re
from collections.abc import Iterable
from typing import Any, TextIO, cast

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 but tab and line feed, delete, C1, and marks that change the direction of what follows."""


def escaped(text: str) -> str:
    r"""The text with each control character as ``\u`` and four hex digits, as JSON has it."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Escaping:
    """A text stream that escapes what is written to it; everything else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(escaped(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def for_terminal(stream: TextIO) -> TextIO:
    """The stream, escaping if it is a terminal; files and pipes get every character as it is."""
    return cast("TextIO", _Escaping(stream)) if stream.isatty() else stream


def unescaped(stream: TextIO) -> TextIO:
    """The stream itself behind `for_terminal`, for a writer that moves the cursor and escapes texts on its own."""
    return stream.stream if isinstance(stream, _Escaping) else stream
