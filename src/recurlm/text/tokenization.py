"""From text to tokens and back: words, characters, byte pairs.

A line feed is a token of its own in each of them; the vocabulary calls it ``<eos>``.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from recurlm.errors import InputError, UsageError

LINE_FEED = "\n"


class Tokenization(Protocol):
    """A way of cutting text into tokens."""

    unit: str

    def split(self, block: str) -> Iterator[str]:
        """Tokens of a block of whole lines."""

    def join(self, tokens: Sequence[str]) -> str:
        """The text that these tokens spell; inverse of `split` up to runs of spaces."""


class Words:
    """Split at spaces, nothing else: the seed document's way."""

    unit = "word"

    def split(self, block: str) -> Iterator[str]:
        return filter(None, block.replace(LINE_FEED, " \n ").split(" "))

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens).replace(" \n ", LINE_FEED).replace(" \n", LINE_FEED).replace("\n ", LINE_FEED)


class Characters:
    """One token a Unicode code point."""

    unit = "character"

    def split(self, block: str) -> Iterator[str]:
        return iter(block)

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)


class BytePairs:
    """Byte-level byte-pair encoding (Sennrich et al. 2016) through the `tokenizers` library."""

    unit = "bpe"

    def __init__(self, serialized: str) -> None:
        self.serialized = serialized
        self._tokenizer = _tokenizers().Tokenizer.from_str(serialized)

    @classmethod
    def train(cls, lines: Iterable[str], size: int) -> "BytePairs":
        """Learn a vocabulary of `size` pieces from lines of text."""
        library = _tokenizers()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = library.decoders.ByteLevel()
        alphabet = library.pre_tokenizers.ByteLevel.alphabet()
        if size < len(alphabet):
            raise InputError(f"text.merges: {size} is less than the {len(alphabet)} single bytes; give at least that")
        trainer = library.trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(alphabet), show_progress=False)
        tokenizer.train_from_iterator(lines, trainer)
        return cls(tokenizer.to_str())

    @property
    def pieces(self) -> list[str]:
        """Every piece in the order of the library's ids."""
        return [self._tokenizer.id_to_token(index) for index in range(self._tokenizer.get_vocab_size())]

    def split(self, block: str) -> Iterator[str]:
        lines = block.split(LINE_FEED)
        for number, encoding in enumerate(self._tokenizer.encode_batch(lines)):
            yield from encoding.tokens
            if number < len(lines) - 1:
                yield LINE_FEED

    def join(self, tokens: Sequence[str]) -> str:
        pieces = "".join(tokens).split(LINE_FEED)
        return LINE_FEED.join(self._tokenizer.decoder.decode([piece]) if piece else "" for piece in pieces)


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError("byte pairs need the tokenizers library: pip install 'recurlm[bpe]'") from error
    return tokenizers
