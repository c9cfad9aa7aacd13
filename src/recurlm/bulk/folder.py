"""A folder of scores: one file for each text, and a record that says what the file belongs to.

A record is written before its file, so a file without a record was not written here, and a record without a file is
that of a text whose scores were not finished.
"""

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recurlm.documents import json_text, parse_record
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.evaluation.perplexity import finite
from recurlm.files import digest_of, read_bounded, write_within
from recurlm.files.partial import keep, temporary_file
from recurlm.scoring.scores import Totals

RECORDS = ".recurlm-scores"
ENDINGS = {"text": ".scores.txt", "lines": ".lines.tsv"}
"""What the names of files of scores end in, where it is not the name of the format."""


@dataclass(frozen=True)
class Record:
    """What a file of scores belongs to, and the sums over it.

    text: hex SHA-256 of the text, unpacked; empty for an empty one · input: digest of the file that was scored ·
    settings: as `OpenedJob.settings` · output: digest of the file of scores · nats, known_nats: None where infinite.
    """

    input: str
    text: str
    seen: bool
    settings: dict[str, Any]
    output: str
    lines: int
    tokens: int
    nats: float | None
    oov: int
    known_tokens: int
    known_nats: float | None

    @classmethod
    def of(cls, totals: Totals, **values: Any) -> "Record":
        """The record of a text with these sums."""
        sums = asdict(totals) | {"nats": finite(totals.nats), "known_nats": finite(totals.known_nats)}
        return cls(**values, **sums)

    def add_to(self, totals: Totals) -> None:
        """Adds the sums to those of other texts."""
        totals.lines += self.lines
        totals.tokens += self.tokens
        totals.nats += math.inf if self.nats is None else self.nats
        totals.oov += self.oov
        totals.known_tokens += self.known_tokens
        totals.known_nats += math.inf if self.known_nats is None else self.known_nats


@dataclass(frozen=True)
class ScoresFolder:
    """A folder of scores in one format."""

    path: Path
    layout: str

    def output(self, file: str | Path) -> Path:
        """The file of scores of a text: its name, without .gz, and the ending of the format."""
        name = Path(file).name
        stem = name[: -len(".gz")] if name.lower().endswith(".gz") else name
        return self.path / f"{stem}{ENDINGS.get(self.layout, f'.{self.layout}')}"

    def check_names(self, files: Sequence[Path]) -> None:
        """Raises UsageError where two texts would have one file of scores, or a file of scores is itself a text."""
        owners: dict[Path, Path] = {}
        texts = {os.path.realpath(file) for file in files}
        for file in files:
            output = self.output(file)
            other = owners.setdefault(output, file)
            if other is not file:
                raise UsageError(
                    f"{other} and {file} would both be scored into {output}; rename one, or score them into two folders"
                )
            if os.path.realpath(output) in texts:
                raise UsageError(f"{output} is one of the texts; name another --out")

    def check_settings(self, files: Iterable[Path], settings: Mapping[str, Any]) -> None:
        """Raises InputError for the first file of scores that belongs to another model or to other options."""
        for file in files:
            output = self.output(file)
            if os.path.lexists(output):
                self._check(output, self._record(output), settings)

    def finished(self, file: Path, settings: Mapping[str, Any], digest: str) -> Record | None:
        """The record of a text whose scores are there, whole and of these settings; None where there are none.

        `digest` is that of the text's file. Raises InputError where the scores are those of something else.
        """
        output = self.output(file)
        if not os.path.lexists(output):
            return None
        record = self._record(output)
        self._check(output, record, settings)
        if record.input != digest:
            raise InputError(f"{output} has the scores of {file} as it was before; remove it to score the text again")
        if digest_of(output, error=InputError) != record.output:
            raise InputError(f"{output} was altered since it was written; remove it to score {file} again")
        return record

    def write(self, file: Path, pieces: Iterable[str], recorded: Callable[[str], Record]) -> Record:
        """Writes a file of scores whole or not at all; `recorded` makes its record from its digest."""
        output, digest = self.output(file), hashlib.sha256()
        with temporary_file(self.path, output) as unfinished:
            for piece in pieces:
                content = piece.encode(errors="surrogateescape")
                digest.update(content)
                unfinished.write(content)
            record = recorded(f"sha256:{digest.hexdigest()}")
            place = self._place(output)
            write_within(place.parent, place.name, json_text(asdict(record), indent=2).encode())
            keep(unfinished, output)
        return record

    def _place(self, output: Path) -> Path:
        return self.path / RECORDS / f"{output.name}.json"

    def _record(self, output: Path) -> Record:
        """Raises InputError for a file that has no record, CorruptFileError for a damaged record."""
        place = self._place(output)
        if not place.is_file():
            raise InputError(f"{output} was not written by this command; move it away, or name another --out")
        return parse_record(Record, read_bounded(place, error=CorruptFileError), str(place))

    def _check(self, output: Path, record: Record, settings: Mapping[str, Any]) -> None:
        differing = [name for name, value in settings.items() if record.settings.get(name) != value]
        if differing:
            name = differing[0]
            raise InputError(
                f"{output} was scored with another {_shown(name)} ({record.settings.get(name)}, not {settings[name]}); "
                "name another --out, or remove the file"
            )


def _shown(setting: str) -> str:
    """A setting as the user knows it."""
    words = {"model": "model", "state": "state", "recurlm": "version of recurlm", "regions": "--region-column"}
    return words.get(setting, f"--{setting.replace('_', '-')}")
