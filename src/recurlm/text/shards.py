"""A text in shards: ranges of whole lines, each numbered on its own, so that several processes can prepare one text.

A shard is a folder: the numbers of its tokens by first appearance in it, these tokens, how often each occurs, and a
seal with the digests of the three. Vocabularies merge the shards in their order, which is as good as reading the text
from its beginning to its end.
"""

import hashlib
import itertools
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recurlm.errors import CorruptFileError, RecurlmWarning
from recurlm.files.partial import discard, temporary_folder
from recurlm.files.sealed import read_seal, write_seal
from recurlm.text.codec import closed_blocks
from recurlm.text.prose import Prose
from recurlm.text.sources import Text, ranges
from recurlm.text.tokenization import LINE_FEED, BytePairs, Characters, Tokenization, Words

FORMAT = "recurlm shard 1"
SHARD_BYTES = 32 << 20
BLOCK_BYTES = 1 << 16
"""So little that the tokens of a block stay in the processor's cache."""
NUMBERS_AT_ONCE = 1 << 20
SEAL, NUMBERS, TOKENS, COUNTS = "shard.json", "numbers.uint32", "tokens.txt", "counts.int64"

Id = TypeVar("Id", bound=np.unsignedinteger)
Report = Callable[[int], None]
"""Called with the number of characters read since its last call."""


@dataclass(frozen=True)
class Shard:
    """A range of a text, the split that the text is, and the folder for what is made of the range."""

    text: Text
    split: str
    folder: Path

    def write(self, tokenization: Tokenization, report: Report = lambda _: None) -> None:
        """Numbers the tokens of the range, and makes the folder, whole or not at all. Raises InputError as `Text`."""
        numbers: _Numbers | _CharacterNumbers = (
            _CharacterNumbers() if isinstance(tokenization, Characters) else _Numbers(tokenization)
        )
        characters = 0
        with temporary_folder(self.folder.parent) as unfinished:
            with (unfinished / NUMBERS).open("wb") as file:
                for block in closed_blocks(self.text, BLOCK_BYTES):
                    file.write(numbers.of(block).tobytes())
                    characters += len(block)
                    report(len(block))
            tokens = numbers.tokens()
            counts = np.zeros(len(tokens), np.int64)
            for found in _blocks_of(unfinished / NUMBERS):
                counts += np.bincount(found, minlength=len(tokens))
            (unfinished / TOKENS).write_bytes("\n".join(tokens[1:]).encode())
            (unfinished / COUNTS).write_bytes(counts.tobytes())
            write_seal(unfinished / SEAL, {**self._origin(tokenization), "characters": characters})
            unfinished.rename(self.folder)

    def is_kept(self, tokenization: Tokenization) -> bool:
        """Whether an earlier process finished the shard and its files are unaltered; a damaged one is removed."""
        if not self.folder.exists():
            return False
        try:
            if self._seal.items() >= self._origin(tokenization).items():
                return True
        except CorruptFileError as error:
            warnings.warn(f"{error}; preparing this part again", RecurlmWarning, stacklevel=2)
        self.__dict__.pop("_seal", None)
        discard(self.folder)
        return False

    @property
    def characters(self) -> int:
        """Characters of the range, line feeds included."""
        count: int = self._seal["characters"]
        return count

    @property
    def tokens(self) -> list[str]:
        """The distinct tokens in the order of their first appearance, the line feed before the others."""
        content = (self.folder / TOKENS).read_bytes().decode()
        return [LINE_FEED, *(content.split("\n") if content else ())]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each of `tokens` occurs."""
        return np.fromfile(self.folder / COUNTS, np.int64)

    def numbers(self) -> Iterator[NDArray[np.uint32]]:
        """The tokens of the range, as positions in `tokens`, block by block."""
        return _blocks_of(self.folder / NUMBERS)

    @cached_property
    def _seal(self) -> dict[str, Any]:
        return read_seal(self.folder / SEAL, FORMAT)

    def _origin(self, tokenization: Tokenization) -> dict[str, Any]:
        """What the seal says of how the shard was made; the name of its folder says of which text."""
        cut = json.dumps(described(tokenization), sort_keys=True)
        origin = {"start": self.text.start, "bytes": self.text.size}
        return {"format": FORMAT, **origin, "tokenization": hashlib.sha256(cut.encode()).hexdigest()}


class _Numbers:
    """Numbers the tokens of blocks by first appearance; the line feed is number 0."""

    def __init__(self, tokenization: Tokenization) -> None:
        self._split = tokenization.split
        self._numbers = _by_appearance()

    def of(self, block: str) -> NDArray[np.uint32]:
        """The numbers of the tokens of a block."""
        return np.fromiter(map(self._numbers.__getitem__, self._split(block)), np.uint32)

    def tokens(self) -> list[str]:
        """The tokens in the order of their numbers."""
        return list(self._numbers)


class _CharacterNumbers:
    """The same for characters, by a table of all code points."""

    def __init__(self) -> None:
        self._tokens = [LINE_FEED]
        self._table = np.full(sys.maxunicode + 1, _NO_NUMBER, np.uint32)
        self._table[ord(LINE_FEED)] = 0

    def of(self, block: str) -> NDArray[np.uint32]:
        """The numbers of the characters of a block."""
        points = np.frombuffer(block.encode("utf-32-le"), "<u4")
        numbers: NDArray[np.uint32] = self._table[points]
        new = dict.fromkeys(points[numbers == _NO_NUMBER].tolist())
        for point in new:
            self._table[point] = len(self._tokens)
            self._tokens.append(chr(point))
        return np.take(self._table, points) if new else numbers

    def tokens(self) -> list[str]:
        """The characters in the order of their numbers."""
        return self._tokens


def shards_of(text: Text, split: str, folder: Path) -> list[Shard]:
    """The shards of a text, in order, with their folders in `folder`."""
    return [Shard(each, split, folder / f"{split}-{index:05}") for index, each in enumerate(ranges(text, SHARD_BYTES))]


class Merged:
    """The tokens of all shards that were added, in the order of first appearance, the line feed before the others."""

    def __init__(self) -> None:
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._numbers = _by_appearance()

    @property
    def tokens(self) -> list[str]:
        """All distinct tokens."""
        return list(self._numbers)

    def add(self, shard: Shard) -> None:
        """Adds the shard that follows those before; a file beside it keeps the positions of its tokens in `tokens`."""
        tokens = shard.tokens
        positions = np.fromiter(map(self._numbers.__getitem__, tokens), np.uint32, len(tokens))
        _positions_file(shard).write_bytes(positions.tobytes())
        counts = _grown(self._counts.get(shard.split, _NONE), len(self._numbers))
        counts[positions] += shard.counts
        self._counts[shard.split] = counts

    def counts(self, split: str) -> NDArray[np.int64]:
        """How often each of `tokens` occurs in a split."""
        return _grown(self._counts[split], len(self._numbers))[: len(self._numbers)]

    def renumbered(self, shard: Shard, ids: NDArray[Id]) -> Iterator[NDArray[Id]]:
        """The ids of an added shard, block by block, where `ids` has one for each of `tokens`."""
        here = ids[np.fromfile(_positions_file(shard), np.uint32)]
        for numbers in shard.numbers():
            yield here[numbers]


_NONE = np.zeros(0, np.int64)
_NO_NUMBER = np.iinfo(np.uint32).max


def _blocks_of(path: Path) -> Iterator[NDArray[np.uint32]]:
    """The numbers in a file, block by block."""
    with path.open("rb") as file:
        while len(block := np.fromfile(file, np.uint32, NUMBERS_AT_ONCE)):
            yield block


def _positions_file(shard: Shard) -> Path:
    return shard.folder.with_suffix(".positions")


def _by_appearance() -> defaultdict[str, int]:
    """Numbers tokens as they are asked for; the line feed is number 0."""
    return defaultdict(itertools.count(1).__next__, {LINE_FEED: 0})


def _grown(counts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The counts with room for so many, and for more where they had too little."""
    missing = length - len(counts)
    return counts if missing <= 0 else np.concatenate([counts, np.zeros(max(len(counts), missing), np.int64)])


def described(tokenization: Tokenization) -> dict[str, Any]:
    """A tokenization as JSON, for another process."""
    if isinstance(tokenization, BytePairs):
        return {"unit": "bpe", "tokenizer": tokenization.serialized}
    return tokenization.to_json() if isinstance(tokenization, Prose) else {"unit": tokenization.unit}


def tokenization_of(values: Mapping[str, Any]) -> Tokenization:
    """Reads back what `described` gave."""
    match values:
        case {"unit": "bpe", "tokenizer": str(serialized)}:
            return BytePairs(serialized)
        case {"unit": "character"}:
            return Characters()
        case {"unit": "word"}:
            return Words()
    return Prose.from_json(values)
