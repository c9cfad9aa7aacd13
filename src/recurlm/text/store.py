"""Token ids of a prepared corpus on disk, memory-mapped: a text of any size trains in bounded memory."""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recurlm.config import TextOptions
from recurlm.errors import CorruptFileError, InputError
from recurlm.files import remove_abandoned, sync_folder, temporary_folder
from recurlm.text.codec import Codec, EncodedText, Encoder, closed_blocks, train_tokenization
from recurlm.text.sources import Corpus, Text
from recurlm.text.tokenization import LINE_FEED, BytePairs, Tokenization
from recurlm.text.vocabulary import EOS, EOS_ID, UNK, Vocabulary

FORMAT = "recurlm store 3"
_CHUNK = 1 << 20

Report = Callable[[int], None]
Array = NDArray[Any]


@dataclass(frozen=True)
class PreparedCorpus:
    """A corpus as ids: the codec and the splits it has."""

    name: str
    codec: Codec
    splits: dict[str, EncodedText]

    def __getitem__(self, split: str) -> EncodedText:
        if split not in self.splits:
            raise InputError(f"{self.name}: has no {split} text; it has {', '.join(self.splits)}")
        return self.splits[split]


def prepare(
    corpus: Corpus,
    options: TextOptions,
    cache_directory: Path,
    report: Report | None = None,
    codec: Codec | None = None,
) -> PreparedCorpus:
    """Build the vocabulary from the training text and encode every split; a second call finds the work done.

    `report` is called with the number of characters read since its last call. The training text is read once:
    words get provisional ids by first appearance, and are renumbered when their counts are known. With `codec`
    nothing is built: every split is encoded with it.
    """
    remove_abandoned(cache_directory)
    folder = cache_directory / "prepared" / _key(corpus, options, codec)
    if not (folder / "store.json").is_file():
        with temporary_folder(folder.parent) as unfinished:
            _write(corpus, options, codec, unfinished, report or (lambda _: None))
            _sync_files(unfinished)
            _move_into_place(unfinished, folder)
    return _read(corpus.name, folder)


def _key(corpus: Corpus, options: TextOptions, codec: Codec | None) -> str:
    texts = [(split, text.sha256) for split, text in _texts(corpus)]
    given = [] if codec is None else [codec.files()]
    content = json.dumps([FORMAT, texts, options.model_dump(), *given], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def _texts(corpus: Corpus) -> list[tuple[str, Text]]:
    present = [("train", corpus.train), ("valid", corpus.valid), ("test", corpus.test)]
    return [(split, text) for split, text in present if text is not None]


def _move_into_place(unfinished: Path, folder: Path) -> None:
    try:
        os.replace(unfinished, folder)
    except OSError:
        # another process finished the same work first, or left a folder without its last file
        if not (folder / "store.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(unfinished, folder)
    sync_folder(folder.parent)


def _sync_files(folder: Path) -> None:
    """Bring every byte to the disk before the folder gets its name: a power cut must not leave a shorter text."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def _write(corpus: Corpus, options: TextOptions, codec: Codec | None, folder: Path, report: Report) -> None:
    description = {}
    if codec is None:
        tokenization = train_tokenization(options.unit, options.merges, corpus.train.lines())
        codec, description["train"] = _write_training_text(corpus.train, tokenization, options, folder, report)
    for split, text in _texts(corpus):
        if split not in description:
            description[split] = _write_text(text, codec, folder / f"{split}.ids")
    for name, content in codec.files().items():
        (folder / name).write_text(content, encoding="utf-8")
    sizes = {split: (folder / f"{split}.ids").stat().st_size for split in description}
    values = {"format": FORMAT, "dtype": _dtype(codec.vocabulary).name, "bytes": sizes, "splits": description}
    (folder / "store.json").write_text(json.dumps(values, indent=2), encoding="utf-8")


def _write_text(text: Text, codec: Codec, path: Path) -> dict[str, Any]:
    encoder = Encoder(codec)
    dtype = _dtype(codec.vocabulary)
    with path.open("wb") as file:
        for block in encoder.blocks(text):
            file.write(block.astype(dtype).tobytes())
    return _describe(text, encoder.characters, encoder.oov)


def _describe(text: Text, characters: int, oov: int) -> dict[str, Any]:
    return {"name": text.name, "digest": text.sha256, "characters": characters, "oov": oov}


def _dtype(vocabulary: Vocabulary) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2") if len(vocabulary) <= 1 << 16 else np.dtype("<u4")


def _write_training_text(
    text: Text, tokenization: Tokenization, options: TextOptions, folder: Path, report: Report
) -> tuple[Codec, dict[str, Any]]:
    """Write train.ids; the vocabulary is known only when all of the text has been read."""
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
            for ids in _chunks(file):
                target.write(renumber[ids].astype(dtype).tobytes())
    return Codec(tokenization, vocabulary), _describe(text, characters, _replaced(provisional, counts, vocabulary))


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
    """How many tokens of the training text became ``<unk>`` without being written so."""
    final = vocabulary.ids
    return sum(int(counts[i]) for token, i in provisional.items() if token not in final and token != LINE_FEED)


def _chunks(file: BinaryIO) -> Iterator[Array]:
    file.seek(0)
    while content := file.read(4 * _CHUNK):
        yield np.frombuffer(content, np.uint32)


def _read(name: str, folder: Path) -> PreparedCorpus:
    values = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    dtype = np.dtype(values["dtype"])
    splits = {}
    for split, description in values["splits"].items():
        path = folder / f"{split}.ids"
        if not path.is_file() or path.stat().st_size != values["bytes"][split]:
            raise CorruptFileError(
                f"{path}: shortened or missing since it was prepared; remove {folder} to prepare anew"
            )
        splits[split] = EncodedText(np.memmap(path, dtype, "r"), **description)
    return PreparedCorpus(name, Codec.load(folder), splits)
