"""Which files several texts, patterns and folders stand for."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from recurlm.errors import InputError, UsageError
from recurlm.files.suggestions import did_you_mean
from recurlm.wording import shown_name

TEXT_ENDINGS = (".txt", ".txt.gz")
TABLE_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
"""Endings of files whose records are documents; --field says which value is the text."""


def is_table(path: str | Path) -> bool:
    """Whether a file holds records rather than lines of text, by its name."""
    return str(path).lower().endswith(TABLE_ENDINGS)


def is_pattern(specification: str) -> bool:
    """Whether this stands for files by * ? or [ ] rather than being the name of one."""
    return glob.has_magic(specification) and not Path(specification).exists()


def member_files(specifications: Sequence[str]) -> list[Path]:
    """The files that texts, patterns and folders stand for, sorted by their paths.

    A pattern passes hidden files over, and so does a folder, of which only files of texts and records count. Raises
    UsageError for standard input and for a file that is named twice, InputError for a text that is not there and for a
    pattern or folder without a file.
    """
    found = [path for each in specifications for path in _files_of(each)]
    paths = {path.resolve(): path for path in found}
    if len(paths) < len(found):
        twice = next(path for path in found if path != paths[path.resolve()] or found.count(path) > 1)
        raise UsageError(f"{twice}: named twice; give each text once")
    return sorted(paths)


def files_of_folder(folder: Path) -> list[Path]:
    """The files of texts and records in a folder, hidden ones left out. Raises InputError where there are none."""
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        raise InputError(f"no permission to read the folder {folder}") from None
    found = [path for path in entries if _is_text_or_table(path.name) and path.is_file()]
    if not found:
        raise InputError(
            f"{folder} has no training text: neither a file named train.txt nor files ending in "
            f"{', '.join((*TEXT_ENDINGS, *TABLE_ENDINGS[:2], TABLE_ENDINGS[-1]))}\n"
            f"other endings: recurlm train '{folder}/*.ENDING'"
        )
    return found


def _is_text_or_table(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*TEXT_ENDINGS, *TABLE_ENDINGS))


def _files_of(specification: str) -> Iterator[Path]:
    path = Path(specification)
    if specification == "-":
        raise UsageError("standard input is a text of its own; write it into a file to train on it beside others")
    if is_pattern(specification):
        matches = sorted(glob.glob(specification, recursive=True))
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise InputError(f"no file matches {shown_name(specification)}")
        yield from files
    elif path.is_dir():
        yield from files_of_folder(path)
    elif path.is_file():
        yield path
    elif path.exists():
        raise InputError(f"{path}: a pipe or device is a text of its own; write it into a file to train on it too")
    else:
        raise InputError(f"no file is named {shown_name(specification)!r}{did_you_mean(path)}")


def check_field(paths: Sequence[Path], field: str | None) -> None:
    """Raises UsageError where files hold records and no field says which value is the text, or the reverse."""
    tables = [path for path in paths if is_table(path)]
    if tables and field is None:
        raise UsageError(f"{tables[0]} holds records: say which of their fields is the text, such as --field text")
    if not tables and field is not None:
        raise UsageError(f"--field {field} belongs to .jsonl and .parquet files, and there is none")


def joint_name(specifications: Sequence[str]) -> str:
    """A name for texts that are read together: a folder's own, that of a pattern's folder, or the first file's."""
    first = Path(min(specifications))
    if len(specifications) > 1:
        return f"{shown_name(first.name.split('.')[0])}-and-{len(specifications) - 1}-more"
    if is_pattern(specifications[0]):
        plain = [part for part in first.resolve().parts if not glob.has_magic(part)]
        return shown_name(Path(plain[-1]).name) or "texts"
    return shown_name(first.resolve().name if first.is_dir() else first.name.split(".")[0])
