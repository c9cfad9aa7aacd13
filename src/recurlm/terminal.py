"""Control characters of texts and vocabularies. A terminal obeys them, so output to a terminal escapes them."""

import re
from collections.abc import Iterable
from typing import Any, TextIO, cast

_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""C0 except tab and line feed; delete; C1; marks that change the direction of the following text."""


def escaped(text: str) -> str:
    r"""The text with each control character as `\u` and four hex digits, as in JSON."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Escaping:
    """A text stream that escapes what is written to it and passes everything else on to the stream."""

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
    """The stream, with escapes if it is a terminal. Files and pipes get every character unchanged."""
    return cast("TextIO", _Escaping(stream)) if stream.isatty() else stream


def unescaped(stream: TextIO) -> TextIO:
    """The stream behind `for_terminal`, for a writer that moves the cursor and escapes texts itself."""
    return stream.stream if isinstance(stream, _Escaping) else stream
