"""From text to tokens and back: words, characters, byte pairs.

In each tokenization a line feed is one token, which the vocabulary calls ``<eos>``.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError, UsageError

LINE_FEED = "\n"
PLURALS = {"word": "words", "character": "characters", "bpe": "pieces"}
"""The tokens of each unit, in messages."""
REMEMBERED_WORDS, LONGEST_REMEMBERED = 1 << 16, 32
"""How many words keep their tokens, and the characters of the longest one: some ten megabytes for most texts."""

_SPACE_BEFORE_WORD = re.compile(r" (?=\S)")


class Tokenization(Protocol):
    """A way of cutting text into tokens."""

    unit: str

    @property
    def cut(self) -> str:
        """What signatures say of the cut; empty where tokens are cut in the only way that their unit has."""

    def split(self, block: str) -> Iterator[str]:
        """Tokens of a block of whole lines."""

    def join(self, tokens: Sequence[str]) -> str:
        """The text that these tokens spell; inverse of `split` up to runs of spaces."""


class Words:
    """Splits at spaces and at nothing else, as the seed document does."""

    unit = "word"
    cut = ""

    def split(self, block: str) -> Iterator[str]:
        return filter(None, block.replace(LINE_FEED, " \n ").split(" "))

    def join(self, tokens: Sequence[str]) -> str:
        return " ".join(tokens).replace(" \n ", LINE_FEED).replace(" \n", LINE_FEED).replace("\n ", LINE_FEED)


class Characters:
    """One token for each Unicode code point."""

    unit = "character"
    cut = ""

    def split(self, block: str) -> Iterator[str]:
        return iter(block)

    def join(self, tokens: Sequence[str]) -> str:
        return "".join(tokens)


class Remembered(dict[str, tuple[str, ...]]):
    """The tokens of words, cut once where a word is short: most words of a text are frequent ones."""

    def __init__(self, cut: Callable[[str], tuple[str, ...]]) -> None:
        self._cut = cut

    def __missing__(self, word: str) -> tuple[str, ...]:
        tokens = self._cut(word)
        if len(word) <= LONGEST_REMEMBERED:
            if len(self) >= REMEMBERED_WORDS:
                self.clear()
            self[word] = tokens
        return tokens


class BytePairs:
    """Byte-level byte-pair encoding (Sennrich et al. 2016) through the `tokenizers` library."""

    unit = "bpe"
    cut = ""

    def __init__(self, serialized: str, place: str = "tokenizer.json") -> None:
        """Read back the JSON in `serialized`. Raises CorruptFileError, naming `place`, for any other tokenizer."""
        self.serialized = serialized
        found = parse_json_object(serialized, place)
        try:
            # the library would build any tokenizer that the file describes, with unbounded patterns and fills
            self._tokenizer = _byte_level(*_vocabulary_and_merges(found))
        except ValueError as error:
            raise CorruptFileError(f"{place}: not a tokenizer of this program: {error}") from error
        self._pieces = self.pieces
        self._pieces_of = Remembered(self._pieces_of_word)

    @classmethod
    def train(cls, lines: Iterable[str], size: int) -> "BytePairs":
        """Learn a vocabulary of `size` pieces from lines of text."""
        library = _tokenizers()
        tokenizer = _byte_level({}, [])
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
        for number, line in enumerate(block.split(LINE_FEED)):
            if number:
                yield LINE_FEED
            # the library cuts before such a space too, so a word has the same pieces in every line
            words = _SPACE_BEFORE_WORD.sub("\n ", line).split("\n")
            yield from itertools.chain.from_iterable(map(self._pieces_of.__getitem__, words))

    def join(self, tokens: Sequence[str]) -> str:
        pieces = "".join(tokens).split(LINE_FEED)
        return LINE_FEED.join(self._tokenizer.decoder.decode([piece]) if piece else "" for piece in pieces)

    def _pieces_of_word(self, word: str) -> tuple[str, ...]:
        return tuple(map(self._pieces.__getitem__, self._tokenizer.encode(word).ids))


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError("byte pairs need the tokenizers library: pip install tokenizers") from error
    return tokenizers


def _byte_level(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """A tokenizer of the library with this program's settings. Raises ValueError where merges and pieces differ."""
    library = _tokenizers()
    try:
        tokenizer = library.Tokenizer(library.models.BPE(vocabulary, merges))
    except Exception as error:  # the library raises no other type
        raise ValueError(str(error)) from error
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


def _vocabulary_and_merges(found: dict[str, Any]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The learned parts of the library's JSON. Raises ValueError where the rest is not as `train` writes it."""
    usual = json.loads(_byte_level({}, []).to_str())
    model = found.get("model")
    if not isinstance(model, dict):
        raise ValueError("model: not an object")
    _check_settings(found, usual, except_for=("version", "model"))
    _check_settings(model, usual["model"], except_for=("vocab", "merges"))
    return _pieces_to_ids(model.get("vocab")), _merge_pairs(model.get("merges"))


def _check_settings(found: dict[str, Any], usual: dict[str, Any], *, except_for: tuple[str, ...]) -> None:
    for key in found.keys() - set(except_for):
        # other versions of the library may write further settings, turned off
        if found[key] != usual.get(key) and found[key] is not None and found[key] is not False:
            raise ValueError(f"{key}: {found[key]!r:.60} where {usual.get(key)!r:.60} is usual")


def _pieces_to_ids(vocabulary: Any) -> dict[str, int]:
    if not isinstance(vocabulary, dict) or not all(type(index) is int for index in vocabulary.values()):
        raise ValueError("model.vocab: not an object of pieces and ids")
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"model.vocab: its ids are not 0 to {len(vocabulary) - 1}, each once")
    absent = set(_tokenizers().pre_tokenizers.ByteLevel.alphabet()) - vocabulary.keys()
    if absent:
        raise ValueError(f"model.vocab: lacks {len(absent)} of the single bytes")
    return vocabulary


def _merge_pairs(merges: Any) -> list[tuple[str, str]]:
    """Pairs of pieces; older versions of the library write each pair as one string."""
    if not isinstance(merges, list):
        raise ValueError("model.merges: not a list")
    pairs = [each.split(" ") if isinstance(each, str) else each for each in merges]
    if not all(isinstance(each, list) and list(map(type, each)) == [str, str] for each in pairs):
        raise ValueError("model.merges: not pairs of pieces")
    return [(first, second) for first, second in pairs]
