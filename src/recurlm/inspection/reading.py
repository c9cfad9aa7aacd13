"""A short text as the tokens of a model: how each is written, what the model reads, and how a picture names it."""

from collections.abc import Iterable
from typing import NamedTuple

from recurlm.errors import InputError
from recurlm.inspection.trace import MOST_TOKENS
from recurlm.text.codec import Codec
from recurlm.text.tokenization import Tokenization
from recurlm.text.vocabulary import EOS, EOS_ID, UNK

VISIBLE = {" ": "␣", "\t": "⇥", "\n": "⏎"}
_PRINTABLE_BYTES = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHER_BYTES = sorted(set(range(256)) - set(_PRINTABLE_BYTES))
_BYTES = {chr(byte): byte for byte in _PRINTABLE_BYTES} | {chr(256 + n): byte for n, byte in enumerate(_OTHER_BYTES)}
"""The alphabet of byte-level byte pairs: printable bytes stand for themselves, the others follow from U+0100 on."""


class ReadToken(NamedTuple):
    """One token: as written, ``<eos>`` between two lines; its id; whether the vocabulary lacks it."""

    token: str
    id: int
    missing: bool = False


Reading = tuple[ReadToken, ...]


def ids_of(reading: Reading) -> list[int]:
    """What the model reads."""
    return [each.id for each in reading]


def lines_of(text: str) -> list[str]:
    """The lines of a text, as they are read from a file."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_text(codec: Codec, lines: Iterable[str], name: str) -> Reading:
    """Lines as one document; the end of the last line is left out.

    Raises InputError for a text without tokens, for one of more than `MOST_TOKENS`, and for a token that the vocabulary
    lacks where it has no ``<unk>``; the message names the line.
    """
    tokens: list[ReadToken] = []
    for number, line in enumerate(lines, 1):
        try:
            ids, written, missing = codec.line(line)
        except InputError as error:
            raise InputError(f"{name}, line {number}: {error}") from error
        tokens += [*map(ReadToken, written, ids, missing), ReadToken(EOS, EOS_ID)]
        if len(tokens) > MOST_TOKENS + 1:
            raise InputError(f"{name}: more than {MOST_TOKENS:,} tokens up to line {number}; give fewer lines")
    while tokens and tokens[-1].id == EOS_ID:
        tokens.pop()
    if not tokens:
        raise InputError(f"{name}: the text is empty")
    return tuple(tokens)


def names_of(reading: Reading, tokenization: Tokenization) -> list[str]:
    """How pictures and tables name tokens: spaces visible, byte pairs as the text or the bytes that they stand for."""
    return [name_of(each.token, tokenization) for each in reading]


def name_of(token: str, tokenization: Tokenization) -> str:
    """How pictures and tables name a token."""
    if tokenization.unit == "bpe" and token not in (EOS, UNK):
        token = _decoded(token)
    if token == EOS:
        return "⏎"
    return "".join(VISIBLE.get(character, character) for character in token)


def _decoded(piece: str) -> str:
    content = bytes(_BYTES[character] for character in piece)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in content)
