"""The texts that a model learned from, as a run records them: recognized when measured, opened only if unaltered."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recurlm.errors import CorruptFileError, InputError
from recurlm.files import digest_of
from recurlm.text.corpora import named_corpora, open_files, open_single, open_text, split_files
from recurlm.text.places import DataPlaces
from recurlm.text.sources import Corpus, Text, cut

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class LearnedText:
    """A text that a model learned from: a range of the bytes of a file.

    digest: hex SHA-256 of the range · whole: hex SHA-256 of the file · start, size: the range in bytes. All but the
    digest are None where they were not recorded.
    """

    digest: str
    whole: str | None = None
    start: int | None = None
    size: int | None = None

    @classmethod
    def of(cls, text: Text) -> "LearnedText":
        """The record of a text."""
        return cls(text.sha256, file_digest(text), text.start, text.size)

    def overlaps(self, text: Text) -> bool:
        """Whether a text is this one, or shares bytes with it in the same file or a copy of the file."""
        if text.sha256 == self.digest:
            return True
        if self.start is None or self.size is None or self.whole is None:
            return False
        apart = text.start >= self.start + self.size or self.start >= text.start + text.size
        return not apart and file_digest(text) == self.whole

    def to_json(self) -> dict[str, Any]:
        """The object that config.json and ARPA files hold."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any, place: str) -> "LearnedText":
        """Read back what `to_json` gave. Raises CorruptFileError naming `place`."""
        match value:
            case {"digest": str(), "whole": str() | None, "start": int() | None, "size": int() | None} if (
                len(value) == 4
            ):
                return cls(**value)
        raise CorruptFileError(f"{place}: describes no text that a model learned from")


def file_digest(text: Text) -> str:
    """Hex SHA-256 of the whole file that a text is a part of."""
    whole = text.start == 0 and text.size == os.stat(text.path).st_size
    return text.sha256 if whole else digest_of(text.path).removeprefix("sha256:")


def describe(corpus: Corpus) -> dict[str, Any]:
    """What config.json records of the texts of a corpus, to find and to recognize them."""
    parts = {name: text for name in PARTS if (text := getattr(corpus, name)) is not None}
    cut = len({text.path for text in parts.values()}) < len(parts)
    described: dict[str, Any] = {
        "whole": {"digest": file_digest(corpus.train), "bytes": os.stat(corpus.train.path).st_size} if cut else None,
        "splits": {name: {"digest": text.sha256, "bytes": text.size} for name, text in parts.items()},
        "learned": [each.to_json() for each in (LearnedText.of(corpus.train), *_learned_files(corpus))],
    }
    if corpus.files:
        files = [{"path": each.path, "digest": each.digest, "bytes": each.bytes} for each in corpus.files]
        described |= {"files": files, "field": corpus.field}
    return described


def _learned_files(corpus: Corpus) -> Iterator[LearnedText]:
    """Those of several files that the model learns from, at least in part, each as a text of its own."""
    for member in corpus.files:
        if member.text is not None and member.start < corpus.train.start + corpus.train.size:
            yield LearnedText(member.text)


RECORDED_COUNTS = ("bytes", "tokens", "sentences", "oov")


@dataclass(frozen=True)
class RecordedCorpus:
    """The corpus of a run, as its config.json records it.

    A run folder may come from anywhere, so what it names is opened only if it is a corpus by name, or a regular file
    or a folder of them with the recorded sizes and digests.
    """

    place: str
    source: str
    splits: Mapping[str, Mapping[str, Any]]
    whole: Mapping[str, Any]
    learned: tuple[LearnedText, ...]
    files: tuple[Mapping[str, Any], ...] = ()
    field: str | None = None
    name: str = ""

    @classmethod
    def from_config(cls, config: Mapping[str, Any], place: str) -> "RecordedCorpus":
        """Read ``corpus`` of a config.json; `place` is the run's. Raises CorruptFileError."""
        corpus: Any = config.get("corpus")
        if not isinstance(corpus, dict) or not isinstance(corpus.get("source"), str):
            raise CorruptFileError(f"{place}: config.json describes no corpus")
        splits, whole = corpus.get("splits") or {}, corpus.get("whole") or {}
        if not _are_records(splits) or not _are_records({"whole": whole}):
            raise CorruptFileError(f"{place}: config.json describes no splits of its corpus")
        files, field = corpus.get("files", []), corpus.get("field")
        if not isinstance(files, list) or not all(map(_is_file_record, files)) or not isinstance(field, str | None):
            raise CorruptFileError(f"{place}: config.json does not describe the files of its corpus")
        learned = tuple(_learned(corpus, splits, place))
        return cls(place, corpus["source"], splits, whole, learned, tuple(files), field, str(corpus.get("name", "")))

    def part(self, name: str, places: DataPlaces | None = None) -> Text:
        """The text of a split. Raises InputError where it is missing, CorruptFileError where it was altered."""
        self._check_recorded(name)
        text = self._opened(places).split(name)
        self._check(name, text)
        return text

    def open(self, places: DataPlaces | None = None) -> Corpus:
        """All recorded texts of the corpus. Raises as `part` does."""
        self._check_recorded("train")
        corpus = self._opened(places)
        for name in self.splits:
            self._check(name, corpus.split(name))
        return corpus

    def learned_from(self, text: Text) -> bool:
        """Whether the model learned from a text or from a part of it."""
        return any(each.overlaps(text) for each in self.learned) or self._is_beginning(text)

    def altered(self, text: Text, specification: str = "") -> str | None:
        """A warning where a text comes from the source of the run and the source has changed since."""
        given = specification or str(text.path)
        recorded = self._recorded_digest(given)
        if recorded is None:
            altered = self._is_altered_source(given, text)
        else:
            altered = digest_of(Path(given)) != f"sha256:{recorded}"
        if not altered:
            return None
        return (
            f"{given} is no longer the text that {self.place} learned from: figures on it may be "
            "of lines that the model has learned"
        )

    def _recorded_digest(self, path: str) -> str | None:
        """The digest of one of several files; None for a path that is none of them."""
        digests: dict[str, str] = {record["path"]: record["digest"] for record in self.files}
        return digests.get(os.path.abspath(path)) or digests.get(os.path.realpath(path))

    def _is_altered_source(self, specification: str, text: Text) -> bool:
        beside = () if self.files else (text.path, text.path.parent)
        places = (Path(specification), *beside)
        return any(map(self._is_source, places)) and self._differs(text)

    def _differs(self, text: Text) -> bool:
        known = {record.get("digest") for record in (*self.splits.values(), self.whole)}
        if not self.whole and text.start == 0 and text.sha256 not in known:
            with suppress(InputError):  # version 0.1.0 recorded the parts of a file alone
                return cut(text)[0].sha256 not in known
        return text.sha256 not in known

    @cached_property
    def _size(self) -> int | None:
        """Bytes of the file that was cut in three; None where they were not recorded."""
        return self.whole.get("bytes")

    def _is_source(self, path: Path) -> bool:
        return self.source not in ("", *named_corpora()) and Path(self.source).resolve() == path.resolve()

    def _is_beginning(self, text: Text) -> bool:
        """Version 0.1.0 recorded neither the file nor the range; the training part is the beginning of a file."""
        return not self.whole and text.start == 0 and self._is_source(text.path)

    def _opened(self, places: DataPlaces | None) -> Corpus:
        if not self.source:
            raise InputError("name a text: this model does not say which corpus it learned from")
        places = places or DataPlaces.from_environment()
        if self.files:
            return self._opened_files(places)
        if self.source not in named_corpora():
            self._check_files(Path(self.source), places)
        return open_single(self.source, places)

    def _opened_files(self, places: DataPlaces) -> Corpus:
        """The files that were joined; each must be a regular file of its size and digest."""
        paths, digests = [Path(record["path"]) for record in self.files], [record["digest"] for record in self.files]
        for path, record in zip(paths, self.files, strict=True):
            status = self._status(path)
            as_recorded = stat.S_ISREG(status.st_mode) and status.st_size == record["bytes"]
            if not as_recorded or digest_of(path) != f"sha256:{record['digest']}":
                raise self._altered(path)
        return open_files(paths, self.name, self.field, places, digests)

    def _status(self, path: Path) -> os.stat_result:
        """The status of a file or folder of the corpus. Raises InputError where it is missing."""
        try:
            return path.stat()
        except (OSError, ValueError) as error:
            raise InputError(f"{self.place}: its text {path} is not there; {_ADVICE}") from error

    def _check_files(self, path: Path, places: DataPlaces | None) -> None:
        """Before a byte is read, refuse files that are not regular or do not have the recorded size."""
        mode = self._status(path).st_mode
        if stat.S_ISDIR(mode):
            for name, file in split_files(path).items():
                self._check_file(file, self.splits.get(name, {}).get("bytes"), places)
        elif stat.S_ISREG(mode) and self.source != "-":
            self._check_file(path, self._size, places)
        else:
            raise CorruptFileError(f"{self.place}: its text {path} is neither a regular file nor a folder; {_ADVICE}")

    def _check_file(self, path: Path, size: int | None, places: DataPlaces | None) -> None:
        if size is None:
            return
        if path.suffix == ".gz":
            try:
                open_text(path, places, largest=size)
            except InputError as error:
                raise self._altered(path) from error
        elif path.stat().st_size != size:
            raise self._altered(path)

    def _check_recorded(self, name: str) -> None:
        """A text without a recorded digest is never opened."""
        if self.source and not ({"digest"} & {*self.splits.get(name, ()), *self.whole}):
            raise CorruptFileError(f"{self.place}: config.json has no digest of its {name} text; {_ADVICE}")

    def _check(self, name: str, text: Text) -> None:
        recorded = self.splits.get(name, {}).get("digest")
        found, expected = text.sha256, recorded
        if recorded is None and self.whole:  # a search leaves the test text unread
            found, expected = file_digest(text), self.whole.get("digest")
        if found != expected:
            raise self._altered(text.path)

    def _altered(self, path: Path) -> CorruptFileError:
        return CorruptFileError(
            f"{path} is no longer the text that {self.place} learned from; bring it back, or\n{_ADVICE}"
        )


_ADVICE = "name a text on the command line to measure that"


def _is_file_record(value: Any) -> bool:
    match value:
        case {"path": str(), "digest": str(), "bytes": int()}:
            return len(value) == 3
    return False


def _are_records(splits: Any) -> bool:
    """Whether this is an object of records, whose digest is a string and whose counts are whole numbers, if present."""
    return isinstance(splits, dict) and all(
        isinstance(record, dict)
        and isinstance(record.get("digest", ""), str)
        and all(isinstance(record.get(key, 0), int) for key in RECORDED_COUNTS)
        for record in splits.values()
    )


def _learned(corpus: Mapping[str, Any], splits: Mapping[str, Any], place: str) -> Iterator[LearnedText]:
    """The texts that were learned from; a run of version 0.1.0 records only the digest of the training text."""
    if "learned" not in corpus:
        if "digest" in splits.get("train", {}):
            yield LearnedText(splits["train"]["digest"])
        return
    if not isinstance(corpus["learned"], list):
        raise CorruptFileError(f"{place}: config.json describes no corpus")
    for value in corpus["learned"]:
        yield LearnedText.from_json(value, place)
