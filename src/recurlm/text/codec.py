"""Text <-> ids: a tokenization and a vocabulary that belong together."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.config import DocumentRule, TextOptions
from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError, InputError, RecurlmError
from recurlm.files import read_bounded
from recurlm.text.prose import Prose
from recurlm.text.sources import BLOCK_BYTES, Text
from recurlm.text.tokenization import LINE_FEED, BytePairs, Characters, Tokenization, Words
from recurlm.text.unknown import AS_UNK, UnknownRule
from recurlm.text.vocabulary import EOS, EOS_ID, Vocabulary
from recurlm.wording import counted, shown_name

VOCABULARY_FILE = "vocabulary.json"
TOKENIZER_FILE = "tokenizer.json"
IDS_AT_ONCE = 1 << 20
LEFT_OUT = -1
"""In place of an id: the model does not read this token."""

Ids = NDArray[np.unsignedinteger]
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class EncodedText:
    """A text as ids, every sentence closed by ``<eos>``.

    `characters` counts Unicode code points with line feeds; `oov` counts tokens that became ``<unk>``
    because the vocabulary lacks them (an ``<unk>`` that stands in the text itself is a word like any other).
    `missing` holds their positions in ids, or None where the encoder did not keep them; `left_out` counts the tokens
    among them that have no place in ids because the vocabulary has no ``<unk>``. `rule` says what they count. `part`
    is None for a whole text, else the number of its first tokens that ids hold; `digest` and `characters` are those of
    the whole text. `oov_is_bound` says that a part has at most `oov` unknown tokens. `cut` is what signatures say
    of how words were cut, empty for spaces. `file_starts` are the positions in ids, in rising order, at which a further
    file begins; the token before each is an ``<eos>``. `document` says where a carried state starts again from zero.
    """

    ids: Ids
    name: str
    digest: str
    characters: int
    oov: int = 0
    missing: NDArray[np.int64] | None = None
    left_out: int = 0
    rule: UnknownRule = AS_UNK
    part: int | None = None
    oov_is_bound: bool = False
    cut: str = ""
    file_starts: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    document: DocumentRule = "file"

    def first(self, tokens: int, unknown_id: int | None, *, whole_sentences: bool = False) -> "EncodedText":
        """The first tokens of the text; with `whole_sentences` only whole sentences, at least one."""
        if whole_sentences:
            fitting = self.ends[self.ends <= tokens]
            tokens = int(fitting[-1] if len(fitting) else self.ends[0])
        ids = self.ids[:tokens]
        part = replace(self, ids=ids, file_starts=self.file_starts[self.file_starts < tokens], part=tokens)
        if self.missing is not None:
            missing = self.missing[self.missing < tokens]
            return replace(part, missing=missing, oov=len(missing))
        written = 0 if unknown_id is None else _occurrences(self.ids, unknown_id)
        here = 0 if unknown_id is None else _occurrences(ids, unknown_id)
        # an <unk> that the text itself holds cannot be told from one that replaces an unknown token
        return replace(part, oov=min(here, self.oov), oov_is_bound=0 < self.oov < written)

    @cached_property
    def sentences(self) -> int:
        """Number of sentences, counted without the memory that their positions take."""
        return _occurrences(self.ids, EOS_ID)

    @cached_property
    def ends(self) -> Positions:
        """Position just after each sentence's ``<eos>``; found in blocks, so that nothing has the size of the text."""
        ends, found = np.empty(self.sentences, np.int64), 0
        for start, block in id_blocks(self.ids):
            here = np.flatnonzero(block == EOS_ID) + (start + 1)
            ends[found : found + len(here)] = here
            found += len(here)
        return ends

    @cached_property
    def further_documents(self) -> Positions:
        """The positions at which a further document begins by the text's own rule."""
        return self.document_starts(self.document)

    def begin_documents(self, positions: Positions) -> NDArray[np.bool_] | None:
        """Which of these positions begin a document, the first one included; None if the text is one document."""
        further = self.further_documents
        if not len(further):
            return None
        nearest = further[np.minimum(np.searchsorted(further, positions), len(further) - 1)]
        return np.asarray((positions == 0) | (positions == nearest))

    def document_starts(self, rule: DocumentRule) -> Positions:
        """The positions in ids, in rising order, at which a further document begins; the first document begins at 0.

        A file begins a document under every rule. So does, under `line`, every line, and under `blank-line` the first
        token after one or more blank lines, which are lines without a token.
        """
        if rule == "file":
            return self.file_starts
        if rule == "line":
            return self.ends[self.ends < len(self.ids)]
        return np.union1d(self.file_starts, self._after_blank_lines())

    def _after_blank_lines(self) -> Positions:
        if self.left_out:
            raise InputError(
                f"{self.name}: {counted(self.left_out, 'unknown token')} left out because the vocabulary has no <unk>, "
                'so text.document = "blank-line" cannot tell which lines are blank\n'
                "`recurlm vocabulary RUN --extend FILE --out NEW` adds words; --protocol sentence needs no documents"
            )
        ends_line = np.concatenate([[True, True], np.asarray(self.ids) == EOS_ID])
        after_blank = np.flatnonzero(ends_line[:-2] & ends_line[1:-1] & ~ends_line[2:])
        return after_blank[after_blank > 0]


@dataclass(frozen=True)
class Codec:
    """Encodes text into the ids of one vocabulary, and back."""

    tokenization: Tokenization
    vocabulary: Vocabulary

    def line(self, text: str, rule: UnknownRule = AS_UNK) -> tuple[list[int], list[str], list[bool]]:
        """Ids, tokens as written, and which of them the vocabulary lacks, for one line, ``<eos>`` not included.

        An unknown token has the id of ``<unk>``, or `LEFT_OUT` where the vocabulary has none and the rule needs none.
        Raises InputError for an unknown token where the rule needs an ``<unk>`` and the vocabulary has none, and for a
        token that is ``<eos>`` itself.
        """
        _check_characters(text)
        tokens = [token for token in self.tokenization.split(text) if token != LINE_FEED]
        if EOS in tokens:
            raise self.refusal(EOS)
        ids = self.vocabulary.ids
        missing = [token not in ids for token in tokens]
        unknown = self.vocabulary.unknown_id
        if unknown is None:
            unknown = LEFT_OUT
            if rule.needs_unk and any(missing):
                raise self.refusal(tokens[missing.index(True)])
        return [ids.get(token, unknown) for token in tokens], tokens, missing

    def text_ids(self, text: str) -> tuple[list[int], list[str]]:
        """Ids of a string whose line feeds are ``<eos>``, and the tokens that the vocabulary lacks.

        The end of the string does not end a line. Raises InputError as `line` does.
        """
        ids: list[int] = []
        unknown: list[str] = []
        for line in text.split("\n"):
            encoded, tokens, missing = self.line(line)
            ids += [*encoded, EOS_ID]
            unknown += itertools.compress(tokens, missing)
        return ids[:-1], unknown

    def encode(self, text: Text, rule: UnknownRule = AS_UNK, document: DocumentRule = "file") -> EncodedText:
        """A whole text as ids, in memory. Raises InputError with line and word as `line` does."""
        encoder = Encoder(self, rule)
        parts: list[NDArray[np.uint32]] = []
        missing: list[NDArray[np.int64]] = []
        length = 0
        for block, positions in encoder.marked_blocks(text):
            parts.append(block)
            missing.append(length + positions)
            length += len(block)
        if not length:
            raise InputError(f"{text.name}: the text is empty")
        ids = np.concatenate(parts)
        return EncodedText(
            ids,
            text.name,
            text.sha256,
            encoder.characters,
            encoder.oov,
            np.concatenate(missing),
            encoder.left_out,
            rule,
            cut=self.tokenization.cut,
            file_starts=file_starts(text, ids),
            document=document,
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The text these ids spell; ``<eos>`` becomes a line feed."""
        tokens = self.vocabulary.tokens
        return self.tokenization.join([LINE_FEED if index == EOS_ID else tokens[index] for index in ids])

    def context(self, ids: Sequence[int]) -> list[int]:
        """The fewest ids after which a text is spelled as it is after all these ids."""
        if not isinstance(self.tokenization, Prose):
            return list(ids[-1:])
        tokens = [LINE_FEED if index == EOS_ID else self.vocabulary.tokens[index] for index in ids]
        known = {LINE_FEED: EOS_ID, **dict(zip(tokens, ids, strict=True))}
        return [known[token] for token in self.tokenization.context(tokens)]

    def refusal(self, token: str, line: int | None = None) -> InputError:
        """The error for a written ``<eos>``, and for a token that a vocabulary without ``<unk>`` lacks."""
        place = "" if line is None else f"line {line}: "
        if token == EOS:
            return InputError(f"{place}holds the word {EOS} itself; the end of a line counts as {EOS}, so remove it")
        return InputError(
            f"{place}the token {token!r} is not in the vocabulary, which has no <unk>; "
            "change the text, train with text.unknown=true, or score with --oov skip or floor:LOGPROB"
        )

    def files(self) -> dict[str, str]:
        """Name and content of the files that a run folder keeps."""
        cut = self.tokenization.to_json() if isinstance(self.tokenization, Prose) else None
        files = {VOCABULARY_FILE: self.vocabulary.to_json(self.tokenization.unit, cut)}
        if isinstance(self.tokenization, BytePairs):
            files[TOKENIZER_FILE] = self.tokenization.serialized
        return files

    @classmethod
    def load(cls, folder: Path) -> "Codec":
        """Read back what `files` gave. Raises CorruptFileError naming the file."""
        path = folder / VOCABULARY_FILE
        values = parse_json_object(_read(path), str(path))
        vocabulary, unit = Vocabulary.from_values(values, str(path))
        if unit == "bpe":
            byte_pairs = _byte_pairs(folder / TOKENIZER_FILE)
            if vocabulary.tokens != (EOS, *byte_pairs.pieces):
                raise CorruptFileError(f"{path}: its tokens are not the pieces of {TOKENIZER_FILE} beside it")
            return cls(byte_pairs, vocabulary)
        return cls(_words(values, path) if unit == "word" else Characters(), vocabulary)


class Encoder:
    """Encodes a text block by block; counts its characters and its unknown tokens."""

    def __init__(self, codec: Codec, rule: UnknownRule = AS_UNK) -> None:
        self.codec = codec
        self.characters = 0
        self.oov = 0
        self.left_out = 0
        self._unknown = codec.vocabulary.unknown_id
        rule.check(self._unknown)
        self._ids = _Lookup(codec.vocabulary, refuse=self._unknown is None and rule.needs_unk)

    def blocks(self, text: Text) -> Iterator[NDArray[np.uint32]]:
        """Ids of each block of the text. Raises InputError naming text, line and word."""
        for ids, _ in self.marked_blocks(text):
            yield ids

    def marked_blocks(self, text: Text) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
        """Ids of each block, with the positions that hold ``<unk>`` for a token that the vocabulary lacks."""
        line = 1
        for block in closed_blocks(text):
            tokens = list(self.codec.tokenization.split(block))
            try:
                ids = np.fromiter(map(self._ids.__getitem__, tokens), np.uint32, len(tokens))
            except KeyError as error:
                token = str(error.args[0])
                at = line + tokens[: tokens.index(token)].count(LINE_FEED)
                raise InputError(f"{text.name}, {self.codec.refusal(token, at)}") from error
            self.characters += len(block)
            line += block.count(LINE_FEED)
            yield self._settled(ids)

    def ids_of(self, tokens: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """The id of each of some tokens (N,), the line feed among them, and whether the vocabulary lacks it (N,).

        Raises KeyError for a token that `blocks` would refuse.
        """
        ids = np.fromiter(map(self._ids.__getitem__, tokens), np.uint32, len(tokens))
        missing = ids == self._ids.absent
        if self._unknown is not None:
            ids[missing] = self._unknown
        return ids, missing

    def _settled(self, ids: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        missing = np.flatnonzero(ids == self._ids.absent)
        self.oov += len(missing)
        if self._unknown is None:
            self.left_out += len(missing)
            return np.delete(ids, missing) if len(missing) else ids, missing[:0]
        ids[missing] = self._unknown
        return ids, missing


class _Lookup(dict[str, int]):
    """Token to id; an unknown token gives `absent`, which is no id, or raises KeyError.

    A written ``<eos>`` raises KeyError too, since it would end a sentence in the middle of a line.
    """

    def __init__(self, vocabulary: Vocabulary, *, refuse: bool) -> None:
        super().__init__(vocabulary.ids)
        del self[EOS]
        self[LINE_FEED] = EOS_ID
        self.absent = len(vocabulary)
        self.refuse = refuse

    def __missing__(self, token: str) -> int:
        if self.refuse or token == EOS:
            raise KeyError(token)
        return self.absent


def _check_characters(text: str) -> None:
    """Raises InputError for characters that UTF-8 cannot hold, such as an argument in another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"not UTF-8 at character {error.start + 1} of the text {shown_name(text)!r:.60}") from None


def file_starts(text: Text, ids: Ids) -> Positions:
    """The positions in the ids of a text at which its further files begin: each follows the ``<eos>`` of a line."""
    lines = text.lines_before_starts()
    found, before = [lines[:0]], 0
    for start, block in id_blocks(ids) if len(lines) else ():
        ends = start + np.flatnonzero(block == EOS_ID) + 1
        here = lines[(lines > before) & (lines <= before + len(ends))]
        found.append(ends[here - before - 1])
        before += len(ends)
    return np.concatenate(found)


def id_blocks(ids: Ids) -> Iterator[tuple[int, Ids]]:
    """Ids that are mapped from a file, block by block with the position of each, so that little is in memory."""
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield start, np.asarray(ids[start : start + IDS_AT_ONCE])


def _occurrences(ids: Ids, index: int) -> int:
    return sum(int(np.count_nonzero(block == index)) for _, block in id_blocks(ids))


def closed_blocks(text: Text, size: int = BLOCK_BYTES) -> Iterator[str]:
    """Blocks of about `size` bytes; the last one ends with a line feed even where the file does not."""
    for block in text.blocks(size):
        if block.endswith(LINE_FEED):
            yield block
        else:
            yield block + LINE_FEED


def _read(path: Path) -> bytes:
    if not path.exists():
        raise CorruptFileError(f"{path}: missing; the folder is not whole")
    return read_bounded(path, error=CorruptFileError)


def _words(values: Mapping[str, Any], path: Path) -> Words | Prose:
    """How the words of a vocabulary are cut; a vocabulary that does not say is cut at spaces."""
    if values.get("cut", "spaces") == "spaces":
        return Words()
    try:
        return Prose.from_json(values)
    except ValueError as error:
        raise CorruptFileError(f"{path}: {error}") from error


def _byte_pairs(path: Path) -> BytePairs:
    content = _read(path)
    _check_byte_level(parse_json_object(content, str(path)), path)
    try:
        return BytePairs(content.decode())
    except RecurlmError:
        raise
    except Exception as error:
        raise CorruptFileError(f"{path}: not a tokenizer: {error}") from error


def _check_byte_level(values: dict[str, Any], path: Path) -> None:
    """Raises CorruptFileError for any other pipeline of the library, some of which take unbounded memory or time."""
    parts = {name: values.get(name) for name in ("pre_tokenizer", "model", "decoder")}
    kinds = {name: part.get("type") if isinstance(part, dict) else None for name, part in parts.items()}
    absent = ("truncation", "padding", "normalizer", "post_processor", "added_tokens")
    if kinds != {"pre_tokenizer": "ByteLevel", "model": "BPE", "decoder": "ByteLevel"} or any(
        values.get(name) for name in absent
    ):
        raise CorruptFileError(f"{path}: not a tokenizer of byte pairs as this program writes it")


def train_tokenization(options: TextOptions, lines: Iterable[str]) -> Tokenization:
    """The tokenization of a recipe; byte pairs are learned from the lines of the training text.

    `auto` cuts at spaces here: `train` chooses the cut of a user's own text before it prepares the text.
    """
    if options.unit == "bpe":
        assert options.merges is not None
        return BytePairs.train(lines, options.merges)
    if options.unit == "character":
        return Characters()
    return Prose(options.lowercase, options.digits) if options.cut == "prose" else Words()
