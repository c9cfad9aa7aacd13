"""Where texts come from: named corpora, folders, files, gzip files and standard input."""

import difflib
import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO

from recurlm.documents import parse_toml
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.files import digest_of, opened, read_bounded, write_within
from recurlm.files.limits import LARGEST_EXPANDED
from recurlm.files.partial import keep, temporary_file
from recurlm.files.streams import bounded, gunzipped, raw_lines
from recurlm.files.suggestions import did_you_mean
from recurlm.text.download import download, matches
from recurlm.text.lines import STANDARD_INPUT, decoded_lines
from recurlm.text.members import is_pattern, is_table, joint_name, member_files, refuse_field
from recurlm.text.places import DATA_VARIABLE, DataPlaces
from recurlm.text.sources import BLOCK_BYTES, Corpus, Text, cut, whole_text
from recurlm.wording import shown_name

EMBEDDED = "python-docs"
PIPED_TEXT = "standard-input"
"""Name of a text that was read from standard input or a pipe, and of the folder in the cache that keeps it."""
SPLIT_NAMES = {"train": "train", "valid": "valid|validation|dev", "test": "test"}


@dataclass(frozen=True)
class CorpusFile:
    """A file of a named corpus. ``part`` is train, valid, test, or whole; ``digest`` is ``algorithm:hex``."""

    part: str
    file: str
    digest: str
    addresses: tuple[str, ...]
    size: int | None = None


@dataclass(frozen=True)
class NamedCorpus:
    """A row of the table ``corpora.toml``; a corpus without files is made on this machine."""

    name: str
    description: str
    licence: str
    citation: str
    files: tuple[CorpusFile, ...]


@cache
def named_corpora() -> dict[str, NamedCorpus]:
    """The table of named corpora, by name."""
    table = parse_toml(resources.files("recurlm.text").joinpath("corpora.toml").read_bytes(), "corpora.toml")
    return {name: _named_corpus(name, **row) for name, row in table.items()}


def named_corpus(name: str) -> NamedCorpus:
    """The corpus of this name. Raises InputError, with the nearest name, for another name."""
    try:
        return named_corpora()[name]
    except KeyError:
        raise InputError(f"no corpus is named {name!r}{_nearest(name)}; see: recurlm corpora") from None


def open_source(
    specification: str | Sequence[str], places: DataPlaces | None = None, *, field: str | None = None
) -> Corpus:
    """The corpus that a name, ``-`` (standard input), files (``.gz`` too), a folder, or a pattern stands for.

    The name of a corpus wins over a file or folder of the same name: write ``./ptb`` for the folder. A folder holds a
    training file, or files that are read together as several files are; `cut` divides a text that is not divided yet.
    `field` names the text in files of records. Without `places` the environment says where to look. Raises InputError,
    CorruptFileError (a file whose digest is wrong), DownloadError, or UsageError for texts that do not go together.
    """
    places = places or DataPlaces.from_environment()
    asked = (specification,) if isinstance(specification, str) else tuple(specification)
    if len(asked) > 1 and (named := [each for each in asked if each in named_corpora()]):
        raise UsageError(f"{named[0]} is a corpus by name; train on it alone, or give files (./{named[0]})")
    if len(asked) > 1 or _is_joined(asked[0]):
        return open_files(member_files(asked), joint_name(asked), field, places)
    refuse_field(field)
    return open_single(asked[0], places)


def open_files(
    paths: Sequence[Path], name: str, field: str | None, places: DataPlaces, digests: Sequence[str] | None = None
) -> Corpus:
    """The corpus of files that are joined to one text, in their order, and cut in three.

    `digests` are the hex SHA-256 of the files, where the caller has just computed them. Raises as `open_source`.
    """
    from recurlm.text.joining import join

    joined = join(paths, name, field, places, lambda path: open_text(path, places), digests)
    documents = len(joined.text.starts) + 1
    return Corpus(name, *cut(joined.text, place=name), files=joined.members, documents=documents, field=field)


def check_source(specification: str | Sequence[str], places: DataPlaces) -> None:
    """Raises, as `open_source` does, for texts that are not there; what a pipe holds stays unread.

    A single text is opened, which downloads a named corpus and unpacks a packed file; several are only looked for.
    """
    asked = (specification,) if isinstance(specification, str) else tuple(specification)
    if len(asked) > 1 or _is_joined(asked[0]):
        member_files(asked)
    elif not is_read_once(asked[0]):
        open_single(asked[0], places)


def _is_joined(specification: str) -> bool:
    """Whether this one specification stands for files that are joined to one text."""
    if specification == "-" or specification in named_corpora():
        return False
    path = Path(specification)
    return is_pattern(specification) or (is_table(path) and path.is_file()) or (path.is_dir() and not split_files(path))


def open_single(specification: str, places: DataPlaces) -> Corpus:
    """The corpus of one specification, none of whose files are joined. Raises as `open_source`."""
    if specification in named_corpora():
        return _open_named(named_corpora()[specification], places)
    if Path(specification).is_dir():
        return _open_folder(Path(specification), places)
    if specification != "-" and not Path(specification).exists():
        hint = _nearest(specification) or did_you_mean(specification)
        raise InputError(f"no corpus and no file is named {specification!r}{hint}")
    text = open_text(specification, places)
    return Corpus(text.name, *cut(text))


def open_text(specification: str | Path, places: DataPlaces | None = None, *, largest: int = LARGEST_EXPANDED) -> Text:
    """The whole of one file as a text, uncut: ``-`` (standard input), a ``.gz`` file or any UTF-8 file.

    `largest` is the largest number of bytes that a ``.gz`` file may unpack to.
    Raises InputError (missing, empty, too large) or CorruptFileError (a ``.gz`` file that is cut short or altered).
    """
    cache = (places or DataPlaces.from_environment()).cache
    if str(specification) == "-":
        return whole_text(_spool(sys.stdin.buffer, STANDARD_INPUT, cache), PIPED_TEXT)
    path = Path(specification)
    if is_read_once(path):
        with opened(path, pipes=True) as pipe:
            return whole_text(_spool(pipe, str(path), cache), PIPED_TEXT)
    if path.suffix == ".gz":
        return whole_text(_decompressed(path, cache, largest), shown_name(Path(path.stem).stem))
    return whole_text(path, shown_name(path.stem))


def open_lines(file: str, places: DataPlaces | None = None) -> tuple[Iterator[str], Text | None]:
    """The lines of a file, which may be empty, and the file as a text; ``-`` is standard input.

    Lines of standard input come as they are written, whereas `open_text` waits for the last one; they are no text, and
    neither is an empty file. Raises as `open_text` does.
    """
    if file == "-":
        return decoded_lines(raw_lines(sys.stdin.buffer, STANDARD_INPUT), STANDARD_INPUT), None
    if Path(file).is_file() and not Path(file).stat().st_size:
        return iter(()), None
    text = open_text(file, places)
    return text.lines(), text


def is_read_once(specification: str | Path) -> bool:
    """Whether this is ``-`` (standard input), a pipe or a device, whose content can be read only once."""
    path = Path(specification)
    return str(specification) == "-" or (path.exists() and not path.is_file() and not path.is_dir())


def is_single_file(specification: str) -> bool:
    """Whether this names one text rather than a named corpus or a folder."""
    return specification not in named_corpora() and not Path(specification).is_dir()


def open_part(specification: str, split: str | None = None, places: DataPlaces | None = None) -> Text:
    """A text to measure: the named split; without a name the whole of a single file, the test split of a corpus."""
    if split is None and is_single_file(specification):
        return open_text(specification, places)
    return open_source(specification, places).split(split or "test")


def fetch_corpus(corpus: NamedCorpus, places: DataPlaces | None = None) -> dict[str, Path]:
    """Paths of the verified files of a named corpus, by part; files that are not found are downloaded or made.

    Raises CorruptFileError for a file in the data directory with another digest, and DownloadError.
    """
    places = places or DataPlaces.from_environment()
    if corpus.name == EMBEDDED:
        return _embedded_files(places.cache)
    paths = {}
    for file in corpus.files:
        paths[file.part] = local_file(corpus, file, places) or download(
            file.addresses, _cached(corpus, file, places), file.digest, size=file.size, offline=places.offline
        )
    return paths


def local_file(corpus: NamedCorpus, file: CorpusFile, places: DataPlaces) -> Path | None:
    """The verified file in the data directory or the cache; None if it is in neither.

    Raises CorruptFileError if the file in the data directory has another digest, InputError if the data directory is
    missing.
    """
    data = places.data_directory
    if data is not None:
        if not data.is_dir():
            raise InputError(f"the data directory {data} is missing; change --data-dir or {DATA_VARIABLE}")
        path = data / corpus.name / file.file
        if path.is_file():
            found = digest_of(path, file.digest.partition(":")[0])
            if found != file.digest:
                raise CorruptFileError(f"{path} has the digest {found}\nexpected {file.digest}; remove or replace it")
            return path
    cached = _cached(corpus, file, places)
    return cached if matches(cached, file.digest) else None


def _cached(corpus: NamedCorpus, file: CorpusFile, places: DataPlaces) -> Path:
    return places.cache / "corpora" / corpus.name / file.file


def _named_corpus(name: str, *, files: dict[str, Any] | None = None, **row: str) -> NamedCorpus:
    parts = (
        CorpusFile(part=part, **{**file, "addresses": tuple(file["addresses"])}) for part, file in (files or {}).items()
    )
    return NamedCorpus(name=name, files=tuple(parts), **row)


def _open_named(corpus: NamedCorpus, places: DataPlaces) -> Corpus:
    paths = fetch_corpus(corpus, places)
    if "whole" in paths:
        train, valid, test = cut(whole_text(paths["whole"], corpus.name))
    else:
        train, valid, test = (Text(f"{corpus.name}/{part}", paths[part]) for part in SPLIT_NAMES)
    return Corpus(corpus.name, train, valid, test, corpus.licence, corpus.citation)


def _embedded_files(cache: Path) -> dict[str, Path]:
    from recurlm.text.python_docs import python_docs

    contents = {part: text.encode() for part, text in python_docs().items()}
    digests = {part: hashlib.sha256(content).hexdigest() for part, content in contents.items()}
    folder = cache / EMBEDDED / hashlib.sha256("".join(digests.values()).encode()).hexdigest()[:16]
    paths = {part: folder / f"{part}.txt" for part in contents}
    for part, path in paths.items():
        if not matches(path, f"sha256:{digests[part]}"):
            write_within(path.parent, path.name, contents[part])
    return paths


def _open_folder(folder: Path, places: DataPlaces) -> Corpus:
    name = shown_name(folder.resolve().name)
    paths = split_files(folder)
    train, valid, test = (
        Text(f"{name}/{split}", open_text(paths[split], places).path) if split in paths else None
        for split in SPLIT_NAMES
    )
    if train is None:
        raise InputError(
            f"{folder} has no training text; name one of its files train.txt, or name the files to train on"
        )
    return Corpus(name, train, valid, test)


def split_files(folder: Path) -> dict[str, Path]:
    """The train, valid and test texts of a folder, as far as it has them; regular files only."""
    found = {split: _split_file(folder, split, alternatives) for split, alternatives in SPLIT_NAMES.items()}
    return {split: path for split, path in found.items() if path is not None}


def _split_file(folder: Path, split: str, alternatives: str) -> Path | None:
    pattern = re.compile(rf"(?:[^.].*\.)?(?:{alternatives})(?:\.(?:txt|tokens|raw))?(?:\.gz)?")
    try:
        found = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file())
    except PermissionError:
        raise InputError(f"no permission to read the folder {folder}") from None
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(f"{folder} has more than one {split} text: {names}\nkeep one of them, or give one file")
    return found[0] if found else None


def _spool(stream: BinaryIO, name: str, cache: Path) -> Path:
    """Store the content of a stream under its digest, so that a later run finds it again."""
    folder = cache / PIPED_TEXT
    digest = hashlib.sha256()
    with temporary_file(folder) as file:
        for piece in bounded(_stream_bytes(stream), name):
            digest.update(piece)
            file.write(piece)
        target = folder / f"{digest.hexdigest()}.txt"
        keep(file, target)
    return target


def _stream_bytes(stream: BinaryIO) -> Iterator[bytes]:
    while piece := stream.read(BLOCK_BYTES):
        yield piece


def _decompressed(path: Path, cache: Path, largest: int) -> Path:
    """The content of a gzip file, stored under the digest of that file, with its own digest beside it."""
    with opened(path) as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
        target = cache / "decompressed" / digest / path.stem
        seal = target.with_name(f"{target.name}.sha256")
        if seal.is_file() and target.is_file() and read_bounded(seal).decode("latin-1") == digest_of(target):
            return target
        packed.seek(0)
        with temporary_file(target.parent) as file:
            content = hashlib.sha256()
            for piece in _stream_bytes(gunzipped(packed, str(path), largest)):
                content.update(piece)
                file.write(piece)
            keep(file, target)
    write_within(seal.parent, seal.name, f"sha256:{content.hexdigest()}".encode())
    return target


def _nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name, named_corpora(), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
