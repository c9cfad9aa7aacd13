"""Token ids of a prepared corpus on disk, memory-mapped: a text of any size trains in bounded memory."""

import hashlib
import itertools
import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recurlm.config import DocumentRule, TextOptions
from recurlm.errors import CorruptFileError, InputError, RecurlmWarning
from recurlm.files.partial import remove_abandoned, temporary_folder
from recurlm.files.sealed import Fingerprint, fingerprint, move_into_place, read_seal, write_seal
from recurlm.text.codec import Codec, EncodedText, Encoder, closed_blocks, file_starts, train_tokenization
from recurlm.text.sources import Corpus, Text
from recurlm.text.tokenization import LINE_FEED, BytePairs, Tokenization
from recurlm.text.vocabulary import EOS, EOS_ID, UNK, Vocabulary

FORMAT = "recurlm store 4"
STORE_FILE = "store.json"
_IDS_AT_ONCE = 1 << 20
_REMEMBERED = 256
"""Number of files whose digests one process remembers."""

Report = Callable[[int], None]
Array = NDArray[Any]


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus as ids: its codec and its splits."""

    name: str
    codec: Codec
    splits: dict[str, EncodedText]

    def __getitem__(self, split: str) -> EncodedText:
        if split not in self.splits:
            raise InputError(f"{self.name}: has no {split} text; it has {', '.join(self.splits)}")
        return self.splits[split]


@dataclass(frozen=True)
class StoredSplit:
    """What store.json records of a split; the fields are those of `EncodedText`."""

    name: str
    digest: str
    characters: int
    oov: int


def prepare(
    corpus: Corpus,
    options: TextOptions,
    cache: Path,
    report: Report | None = None,
    codec: Codec | None = None,
) -> PreparedCorpus:
    """Build the vocabulary from the training text and encode every split; a second call reads the stored result.

    `report` is called with the number of characters read since its last call. The training text is read once:
    words get provisional ids by first appearance, and are renumbered when their counts are known. With `codec`
    no vocabulary is built; every split is encoded with the codec.
    """
    remove_abandoned(cache)
    folder = cache / "prepared" / _key(corpus, options, codec)
    if folder.exists() or folder.is_symlink():
        try:
            return _read(corpus.name, folder, options.document)
        except CorruptFileError as error:
            warnings.warn(f"{error}; preparing the text again", RecurlmWarning, stacklevel=2)
    with temporary_folder(folder.parent) as unfinished:
        _write(corpus, options, codec, unfinished, report or (lambda _: None))
        move_into_place(unfinished, folder, lambda: _read(corpus.name, folder, options.document))
    return _read(corpus.name, folder, options.document)


def _key(corpus: Corpus, options: TextOptions, codec: Codec | None) -> str:
    texts = [(split, text.sha256, *_starts_digest(text)) for split, text in _texts(corpus)]
    given = [] if codec is None else [codec.files()]
    # versions that knew only spaces had no such keys, and what they prepared still holds; documents change no id
    at_spaces = set() if options.cut == "prose" else {"cut", "lowercase", "digits"}
    content = json.dumps([FORMAT, texts, options.model_dump(exclude={"document", *at_spaces}), *given], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _starts_digest(text: Text) -> list[str]:
    return [hashlib.sha256((text.starts - text.start).tobytes()).hexdigest()] if len(text.starts) else []


def _texts(corpus: Corpus) -> list[tuple[str, Text]]:
    present = [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]
    return [(split, text) for split, text in present if text is not None]


def _write(corpus: Corpus, options: TextOptions, codec: Codec | None, folder: Path, report: Report) -> None:
    splits: dict[str, StoredSplit] = {}
    if codec is None:
        tokenization = train_tokenization(options, corpus.train.lines())
        codec, splits["train"] = _write_training_text(corpus.train, tokenization, options, folder, report)
    for split, text in _texts(corpus):
        if split not in splits:
            splits[split] = _write_text(text, codec, folder / f"{split}.ids")
        if len(text.starts):
            ids = np.memmap(folder / f"{split}.ids", _dtype(codec.vocabulary), "r")
            file_starts(text, ids).tofile(folder / f"{split}.starts")
    for name, content in codec.files().items():
        (folder / name).write_text(content, encoding="utf-8")
    values = {
        "format": FORMAT,
        "dtype": _dtype(codec.vocabulary).name,
        "files": {},
        "splits": {split: asdict(stored) for split, stored in splits.items()},
    }
    write_seal(folder / STORE_FILE, values)


def _write_text(text: Text, codec: Codec, path: Path) -> StoredSplit:
    encoder = Encoder(codec)
    dtype = _dtype(codec.vocabulary)
    with path.open("wb") as file:
        for block in encoder.blocks(text):
            file.write(block.astype(dtype).tobytes())
    return StoredSplit(text.name, text.sha256, encoder.characters, encoder.oov)


def _dtype(vocabulary: Vocabulary) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2") if len(vocabulary) <= 1 << 16 else np.dtype("<u4")


def _write_training_text(
    text: Text, tokenization: Tokenization, options: TextOptions, folder: Path, report: Report
) -> tuple[Codec, StoredSplit]:
    """Write train.ids; the vocabulary is complete only after the whole text."""
    provisional: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    provisional[LINE_FEED] = provisional.default_factory()  # type: ignore[misc]
    counts = np.zeros(1 << 16, np.int64)
    characters = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for block in closed_blocks(text):
            ids = np.fromiter(map(provisional.__getitem__, tokenization.split(block)), np.uint32)
            counts = _add_counts(counts, ids, len(provisional))
            file.write(ids.tobytes())
            characters += len(block)
            report(len(block))
        _check_tokens(text, counts, provisional)
        vocabulary = _vocabulary(tokenization, provisional, counts, options)
        renumber = _renumbering(provisional, vocabulary)
        dtype = _dtype(vocabulary)
        with (folder / "train.ids").open("wb") as target:
            for ids in _provisional_ids(file):
                target.write(renumber[ids].astype(dtype).tobytes())
    replaced = _replaced(provisional, counts, vocabulary)
    return Codec(tokenization, vocabulary), StoredSplit(text.name, text.sha256, characters, replaced)


def _add_counts(counts: Array, ids: Array, types: int) -> Array:
    if types > len(counts):
        counts = np.concatenate([counts, np.zeros(max(len(counts), types - len(counts)), np.int64)])
    counts[:types] += np.bincount(ids, minlength=types)
    return counts


def _check_tokens(text: Text, counts: Array, provisional: dict[str, int]) -> None:
    if int(counts.sum() - counts[provisional[LINE_FEED]]) < 2:
        raise InputError(f"{text.name}: fewer than two tokens; a language model needs a text to learn from")
    if EOS in provisional:
        raise InputError(
            f"{text.name}: holds the word {EOS} itself; every line end counts as {EOS} already, so remove it"
        )


def _vocabulary(
    tokenization: Tokenization, provisional: dict[str, int], counts: Array, options: TextOptions
) -> Vocabulary:
    if isinstance(tokenization, BytePairs):
        return Vocabulary((EOS, *tokenization.pieces))
    by_appearance = {token: int(counts[index]) for token, index in provisional.items() if token != LINE_FEED}
    return Vocabulary.build(
        by_appearance,
        order=options.order,
        minimum_count=1 if UNK in by_appearance else options.minimum_count,
        maximum_size=options.maximum_size,
        unknown=options.unknown,
    )


def _renumbering(provisional: dict[str, int], vocabulary: Vocabulary) -> Array:
    unknown = vocabulary.ids.get(UNK, EOS_ID)
    final = vocabulary.ids
    renumber = np.fromiter((final.get(token, unknown) for token in provisional), np.uint32, len(provisional))
    renumber[provisional[LINE_FEED]] = EOS_ID
    return renumber


def _replaced(provisional: dict[str, int], counts: Array, vocabulary: Vocabulary) -> int:
    """Number of tokens of the training text that became ``<unk>``, without those that the text writes so."""
    final = vocabulary.ids
    return sum(int(counts[i]) for token, i in provisional.items() if token not in final and token != LINE_FEED)


def _provisional_ids(file: BinaryIO) -> Iterator[Array]:
    file.seek(0)
    while content := file.read(4 * _IDS_AT_ONCE):
        yield np.frombuffer(content, np.uint32)


def _read(name: str, folder: Path, document: DocumentRule) -> PreparedCorpus:
    """The corpus of a folder; `document` is the rule of its texts. Raises CorruptFileError where a file was altered.

    Files that this process has verified and that have not changed since are not read again.
    """
    values = _read_description(folder / STORE_FILE)
    codec = Codec.load(folder)
    splits = {}
    for split, description in values["splits"].items():
        path = folder / f"{split}.ids"
        _verify_ids(path, values["dtype"], len(codec.vocabulary), fingerprint(path))
        ids = np.memmap(path, values["dtype"], "r")
        starts = folder / f"{split}.starts"
        found = np.fromfile(starts, np.int64) if starts.name in values["files"] else np.zeros(0, np.int64)
        splits[split] = EncodedText(
            ids, **description, cut=codec.tokenization.cut, document=document, file_starts=found
        )
    return PreparedCorpus(name, codec, splits)


def _read_description(place: Path) -> dict[str, Any]:
    values = read_seal(place, FORMAT)
    match values:
        case {"dtype": "uint16" | "uint32", "files": dict(files), "splits": dict(splits)} if all(
            f"{split}.ids" in files and _is_description(each) for split, each in splits.items()
        ):
            return values
    raise CorruptFileError(f"{place}: describes no prepared text")


def _is_description(value: Any) -> bool:
    match value:
        case {"name": str(), "digest": str(), "characters": int(), "oov": int()}:
            return len(value) == 4 and min(value["characters"], value["oov"]) >= 0
    return False


@lru_cache(_REMEMBERED)
def _verify_ids(path: Path, dtype: str, size: int, fingerprint: Fingerprint) -> None:
    try:
        ids = np.memmap(path, dtype, "r")
    except ValueError as error:
        raise CorruptFileError(f"{path}: not a file of {dtype} ids") from error
    if any(int(ids[start : start + _IDS_AT_ONCE].max()) >= size for start in range(0, len(ids), _IDS_AT_ONCE)):
        raise CorruptFileError(f"{path}: holds ids beyond the {size:,} tokens of the vocabulary")
