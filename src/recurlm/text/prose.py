"""Words of raw prose: cut at Unicode's word boundaries, and joined again well enough to read.

The `regex` library finds the boundaries as UAX 29 defines them (https://www.unicode.org/reports/tr29/). Punctuation
stands apart, an apostrophe inside a word stays in it, and white space only separates.
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from recurlm.errors import UsageError
from recurlm.text.tokenization import LINE_FEED, Remembered
from recurlm.text.vocabulary import UNK

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f"
    "\U00020000-\U0003ffff]"
)
"""Characters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""

_DIGIT = re.compile(r"\d")
_QUOTE, _APOSTROPHE = '"', "'"
_CLOSING = frozenset(",.;:!?%…)]}’”»›" + "-‐‑—/")
_OPENING = frozenset("([{“‘„‚«‹¿¡$£€" + "-‐‑—/")
_BEFORE_APOSTROPHE = frozenset(',:;([{—“‘"')
"""After these a lone apostrophe opens a quotation; after a word or the end of a sentence it closes one."""


@dataclass(frozen=True)
class Prose:
    """Splits at Unicode's word boundaries. A written ``<unk>`` stays one token.

    lowercase: words in lower case · digits: ``mask`` writes every digit as 0.
    """

    lowercase: bool = False
    digits: Literal["keep", "mask"] = "keep"
    unit = "word"

    @property
    def cut(self) -> str:
        """What signatures say of the cut."""
        options = ["lowercase"] * self.lowercase + ["digits=mask"] * (self.digits == "mask")
        return f"prose({','.join(options)})" if options else "prose"

    def to_json(self) -> dict[str, Any]:
        """What vocabulary.json records of the cut."""
        return {"cut": "prose", "lowercase": self.lowercase, "digits": self.digits}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Prose":
        """Reads back what `to_json` gave. Raises ValueError for other values."""
        match values:
            case {"cut": "prose", "lowercase": bool(lowercase), "digits": "keep" | "mask" as digits}:
                return cls(lowercase, digits)
        raise ValueError('cut must be "prose", with lowercase true or false and digits "keep" or "mask"')

    def split(self, block: str) -> Iterator[str]:
        if self.lowercase:
            block = block.lower()
        if self.digits == "mask":
            block = _DIGIT.sub("0", block)
        if not block.isascii() and _marked_space().search(block):
            return itertools.chain.from_iterable(_tokens_of(line) for line in re.split("(\n)", block))
        return itertools.chain.from_iterable(map(_remembered.__getitem__, block.replace(LINE_FEED, " \n ").split(" ")))

    def join(self, tokens: Sequence[str]) -> str:
        """The text that these tokens spell, with spaces where English prose has them.

        A straight quote opens and closes by turns in each line.
        """
        pieces: list[str] = []
        before, glued, quoted = LINE_FEED, True, False
        for token in tokens:
            opens = token in _OPENING
            closes = token in _CLOSING
            if token == _QUOTE:
                opens, closes = not quoted, quoted
                quoted = not quoted
            elif token == _APOSTROPHE:
                opens = before == LINE_FEED or before in _BEFORE_APOSTROPHE
                closes = not opens
            elif token == LINE_FEED:
                opens, closes, quoted = True, True, False
            if not (glued or closes or _unspaced(before, token)):
                pieces.append(" ")
            pieces.append(token)
            before, glued = token, opens
        return "".join(pieces)

    def context(self, tokens: Sequence[str]) -> list[str]:
        """The fewest tokens after which a text joins on as it does after all these tokens."""
        line = list(itertools.takewhile(lambda token: token != LINE_FEED, reversed(tokens)))[::-1]
        if not line:
            return list(tokens[-1:])
        return [_QUOTE] * (line[:-2].count(_QUOTE) % 2) + line[-2:]


def _unspaced(before: str, token: str) -> bool:
    return bool(UNSPACED.match(before[-1]) and UNSPACED.match(token))


def _tokens_of(part: str) -> tuple[str, ...]:
    """The tokens of a part of a text that ends where a word or a line ends."""
    if part == LINE_FEED:
        return (LINE_FEED,)
    return tuple(itertools.filterfalse(str.isspace, _segments().findall(part)))


_remembered = Remembered(_tokens_of)


@cache
def _marked_space() -> Any:
    """The pattern of spaces with a mark, which belongs to them, so that no word begins after the first."""
    return _library().compile(r" \s*[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]")


@cache
def _segments() -> Any:
    """The pattern of everything between two word boundaries."""
    regex = _library()
    return regex.compile(rf"{UNK}|\b.+?\b", regex.WORD | regex.VERSION1 | regex.DOTALL)


def _library() -> Any:
    try:
        import regex
    except ImportError as error:
        raise UsageError("words of prose need the regex library: pip install regex") from error
    return regex
