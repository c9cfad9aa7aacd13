"""The one way to read text: what ends a line, what separates words, and what to do about another encoding.

Text is UTF-8. A line ends at a line feed (U+000A); one carriage return directly before the line feed belongs to the
end. A byte order mark at the very start of a file is skipped. Words are separated by spaces (U+0020) and by nothing
else: a tab, a no-break space or U+2028 is part of a word. Where a format has fields, such as an utterance id before
the words, spaces and tabs separate the fields.
"""

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator

from recurlm.errors import InputError, RecurlmError

STANDARD_INPUT = "standard input"
"""The name in messages."""
BYTE_ORDER_MARK = codecs.BOM_UTF8
GZIP_MAGIC = b"\x1f\x8b"
DOCUMENT_MAGICS = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a zip archive, as files of Word, Excel, LibreOffice and EPUB are",
    b"\xd0\xcf\x11\xe0": "a file of an old version of Word or Excel",
    b"{\\rtf": "a document in RTF",
}
"""First bytes of documents that people take for texts, and what they are."""
SPACE = " "
_FIELD_SEPARATORS = re.compile(r"[ \t]+")
_SAMPLE_LINES = 1000
_SAMPLE_BYTES = 1 << 16


def words_of(text: str) -> list[str]:
    """The words of a line."""
    return [word for word in text.split(SPACE) if word]


def fields_of(line: str) -> list[str]:
    """The fields of a line."""
    stripped = line.strip(" \t")
    return _FIELD_SEPARATORS.split(stripped) if stripped else []


def first_field(line: str) -> tuple[str, str]:
    """The first field of a line, and what follows the spaces or tabs after it."""
    first, *rest = _FIELD_SEPARATORS.split(line.lstrip(" \t"), maxsplit=1)
    return first, rest[0] if rest else ""


def without_end(line: bytes) -> bytes:
    """A line without its line end."""
    return line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\n") else line


def decoded_lines(raw: Iterable[bytes], name: str, *, error: type[RecurlmError] = InputError) -> Iterator[str]:
    """Lines of UTF-8 without their line ends, each as soon as it comes.

    Raises `error`, with the line and what to do, where a line is not UTF-8.
    """
    lines = iter(raw)
    for number, line in enumerate(lines, 1):
        if number == 1:
            if advice := encoding_advice(line, name):
                raise error(f"{name} is not UTF-8 text: {advice}")
            line = line.removeprefix(BYTE_ORDER_MARK)
        if line == b"\n":
            yield ""
            continue
        try:
            yield without_end(line).decode()
        except UnicodeDecodeError as failure:
            # a pipe may stay open, so the sample is only what has come
            more = () if name == STANDARD_INPUT else itertools.islice(lines, _SAMPLE_LINES)
            advice = conversion_advice(line + b"".join(more), name)
            raise error(
                f"{name}, line {number}: not UTF-8 at byte {failure.start + 1} of the line\n{advice}"
            ) from failure


def encoding_advice(head: bytes, name: str) -> str:
    """What to do about a file whose first bytes show that it is no UTF-8 text; empty for other files."""
    if head.startswith(GZIP_MAGIC):
        if name == STANDARD_INPUT:
            return "it is a gzip file; unpack it before this command reads it: ... | gzip -dc | recurlm ..."
        return f"it is a gzip file; give its name the ending .gz, or unpack it: gzip -dc < {name} > unpacked.txt"
    for magic, kind in DOCUMENT_MAGICS.items():
        if head.startswith(magic):
            return f"it is {kind}\nsave its text as plain text in UTF-8 first, with the program that opens it"
    encoding = _wide_encoding(head)
    return f"it is {encoding}\n{_conversion(encoding, name)}" if encoding else ""


def conversion_advice(sample: bytes, name: str) -> str:
    """The command that converts a text to UTF-8, guessed from a sample that is not UTF-8."""
    return _conversion(_narrow_encoding(sample), name)


def _conversion(encoding: str, name: str) -> str:
    if name == STANDARD_INPUT:
        return f"convert it before this command reads it: ... | iconv -f {encoding} -t UTF-8 | recurlm ..."
    return f"convert it first: iconv -f {encoding} -t UTF-8 {name} > converted.txt"


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 by the byte order mark or by the places of zero bytes, else empty."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    sample = head[:_SAMPLE_BYTES]
    if len(sample) < 4 or b"\0" not in sample:
        return ""
    zeros = [sample[place::4].count(0) * 4 / len(sample) for place in range(4)]
    places = [place for place, share in enumerate(zeros) if share > 0.4]
    names = {(1, 2, 3): "UTF-32LE", (0, 1, 2): "UTF-32BE", (1, 3): "UTF-16LE", (0, 2): "UTF-16BE"}
    return names.get(tuple(places), "")


def _narrow_encoding(sample: bytes) -> str:
    """GB18030 where nearly all bytes above 0x7F come in its pairs; Windows-1252 where it has bytes 0x80 to 0x9F."""
    high = len(re.findall(rb"[\x80-\xff]", sample))
    pairs = len(re.findall(rb"[\xa1-\xf7][\xa1-\xfe]", sample))
    if pairs > 1 and 2 * pairs > 0.9 * high:
        return "GB18030"
    return "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", sample) else "LATIN1"


def quoted(token: str) -> str:
    """A cell of a tab-separated table: in quotes where it holds a quote, a tab or a line end."""
    if not set(token) & set('"\t\r\n'):
        return token
    return '"' + token.replace('"', '""') + '"'
