"""Token ids of a prepared corpus on disk, memory-mapped: a text of any size trains in bounded memory."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurlm.capacity import shared_processors
from recurlm.config import DocumentRule, TextOptions
from recurlm.errors import CorruptFileError, InputError, RecurlmWarning
from recurlm.files.partial import remove_abandoned, resumable_folder, temporary_folder
from recurlm.files.sealed import Fingerprint, fingerprint, move_into_place, read_seal, write_seal
from recurlm.text.codec import Codec, EncodedText, Encoder, Ids, file_starts, id_blocks, train_tokenization
from recurlm.text.preparing import number
from recurlm.text.shards import SHARD_BYTES, Merged, Report, Shard, shards_of
from recurlm.text.sources import Corpus, Text
from recurlm.text.tokenization import LINE_FEED, BytePairs, Tokenization
from recurlm.text.vocabulary import EOS, UNK, Vocabulary

FORMAT = "recurlm store 4"
STORE_FILE = "store.json"
_REMEMBERED = 256
"""Number of files whose digests one process remembers."""


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
    processes: int | None = None,
) -> PreparedCorpus:
    """Build the vocabulary from the training text and encode every split; a second call reads the stored result.

    `report` is called with the number of characters read since its last call. Each text is read once, in shards; with
    several shards it is read by `processes` processes (None: as many as there are processors), and a call that was
    interrupted goes on in the next one. With `codec` no vocabulary is built; every split is encoded with the codec.
    """
    remove_abandoned(cache)
    folder = cache / "prepared" / _key(corpus, options, codec)
    if (found := _found(corpus, folder, options)) is not None:
        return found
    is_large = any(text.size > SHARD_BYTES for _, text in _texts(corpus))
    with resumable_folder(folder) if is_large else temporary_folder(folder.parent) as place:
        with suppress(CorruptFileError):
            return _read(corpus.name, folder, options.document)  # what the process made that this one waited for
        tokenization = codec.tokenization if codec else train_tokenization(options, corpus.train.lines())
        shards = [shard for split, text in _texts(corpus) for shard in shards_of(text, split, place)]
        merged = Merged()
        number(shards, tokenization, processes or shared_processors(), report or (lambda _: None), merged.add)
        codec = codec or _codec(corpus.train, merged, tokenization, options)
        with temporary_folder(folder.parent) as unfinished:
            _write(corpus, codec, shards, merged, unfinished)
            move_into_place(unfinished, folder, lambda: _read(corpus.name, folder, options.document))
    return _read(corpus.name, folder, options.document)


def _found(corpus: Corpus, folder: Path, options: TextOptions) -> PreparedCorpus | None:
    """What an earlier call stored; None, with a warning, where it was altered."""
    if not folder.exists() and not folder.is_symlink():
        return None
    try:
        return _read(corpus.name, folder, options.document)
    except CorruptFileError as error:
        warnings.warn(f"{error}; preparing the text again", RecurlmWarning, stacklevel=3)
        return None


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


def _codec(text: Text, merged: Merged, tokenization: Tokenization, options: TextOptions) -> Codec:
    """The tokenization with the vocabulary of a training text. Raises InputError for a text to learn nothing from."""
    found = zip(merged.tokens, merged.counts("train").tolist(), strict=True)
    counts = {token: count for token, count in found if count and token != LINE_FEED}
    _check_tokens(text, counts)
    if isinstance(tokenization, BytePairs):
        return Codec(tokenization, Vocabulary((EOS, *tokenization.pieces)))
    vocabulary = Vocabulary.build(
        counts,
        order=options.order,
        minimum_count=1 if UNK in counts else options.minimum_count,
        maximum_size=options.maximum_size,
        unknown=options.unknown,
    )
    return Codec(tokenization, vocabulary)


def _check_tokens(text: Text, counts: Mapping[str, int]) -> None:
    if sum(counts.values()) < 2:
        raise InputError(f"{text.name}: fewer than two tokens; a language model needs a text to learn from")
    if EOS in counts:
        raise InputError(
            f"{text.name}: holds the word {EOS} itself; every line end counts as {EOS} already, so remove it"
        )


def _write(corpus: Corpus, codec: Codec, shards: Sequence[Shard], merged: Merged, folder: Path) -> None:
    """Writes the ids of every split, the vocabulary, and the seal."""
    ids, missing = _final_ids(corpus, codec, merged)
    splits: dict[str, StoredSplit] = {}
    for split, text in _texts(corpus):
        path, own = folder / f"{split}.ids", [shard for shard in shards if shard.split == split]
        with path.open("wb") as file:
            for block in (block for shard in own for block in merged.renumbered(shard, ids)):
                file.write(block.tobytes())
        oov, characters = int(merged.counts(split)[missing].sum()), sum(shard.characters for shard in own)
        splits[split] = StoredSplit(text.name, text.sha256, characters, oov)
        if len(text.starts):
            file_starts(text, np.memmap(path, ids.dtype, "r")).tofile(folder / f"{split}.starts")
    for name, content in codec.files().items():
        (folder / name).write_text(content, encoding="utf-8")
    described = {split: asdict(stored) for split, stored in splits.items()}
    write_seal(folder / STORE_FILE, {"format": FORMAT, "dtype": ids.dtype.name, "files": {}, "splits": described})


def _final_ids(corpus: Corpus, codec: Codec, merged: Merged) -> tuple[Ids, NDArray[np.bool_]]:
    """The id of each merged token, and whether the vocabulary lacks it. Raises InputError as `Codec.encode` does."""
    encoder = Encoder(codec)
    try:
        ids, missing = encoder.ids_of(merged.tokens)
    except KeyError:
        for _, text in _texts(corpus):
            for _ in encoder.blocks(text):
                pass  # finds the line
        raise
    return ids.astype("<u2" if len(codec.vocabulary) <= 1 << 16 else "<u4"), missing


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
    if any(int(block.max()) >= size for _, block in id_blocks(ids)):
        raise CorruptFileError(f"{path}: holds ids beyond the {size:,} tokens of the vocabulary")
