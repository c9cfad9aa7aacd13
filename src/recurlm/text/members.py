"""Which files several texts, patterns and folders stand for."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from recurlm.errors import InputError, UsageError
from recurlm.files.suggestions import did_you_mean
from recurlm.wording import shown_name

TEXT_ENDINGS = (".txt", ".txt.gz")
TABLE_ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
"""Endings of files whose records are documents; --field says which value is the text."""

_PART = re.compile(r"(?:.*\.)?(train|valid|validation|dev|test)(?:[-_.]?\d+(?:-of-\d+)?)?\.[a-z.]+")
"""The name of a file that is one part of a data set, such as test-00000-of-00001.parquet."""


def is_parquet(path: Path) -> bool:
    """Whether a file holds the rows of a parquet table, by its name."""
    return path.name.lower().endswith(".parquet")


def is_table(path: str | Path) -> bool:
    """Whether a file holds records rather than lines of text, by its name."""
    return str(path).lower().endswith(TABLE_ENDINGS)


def is_pattern(specification: str) -> bool:
    """Whether this stands for files by * ? or [ ] rather than being the name of one."""
    return glob.has_magic(specification) and not Path(specification).exists()


def member_files(specifications: Sequence[str]) -> list[Path]:
    """The files that texts, patterns and folders stand for, as absolute paths, sorted. Raises as `named_files`."""
    # the name of a link stays, since its ending says what the file holds
    return [Path(os.path.abspath(path)) for path in named_files(specifications)]


def named_files(specifications: Sequence[str]) -> list[Path]:
    """The files that texts, patterns and folders stand for, as they are named, sorted by absolute path.

    Neither a pattern nor a folder stands for hidden files. Of a folder, only files of texts and records count. Raises
    UsageError for standard input and for a file that is named twice, InputError for a text that is not there and for a
    pattern or folder without a file.
    """
    found = sorted((path for each in specifications for path in _files_of(each)), key=os.path.abspath)
    seen: set[Path] = set()
    for path in found:
        file = path.resolve()
        if file in seen:
            raise UsageError(f"{path}: named twice; give each text once")
        seen.add(file)
    return found


def files_of_folder(folder: Path) -> list[Path]:
    """The files of texts and records in a folder, hidden ones left out.

    Raises InputError where there are none, and where they are the parts of a data set, since parts that were kept apart
    would be mixed.
    """
    try:
        entries = sorted(folder.iterdir())
    except PermissionError:
        raise InputError(f"no permission to read the folder {folder}") from None
    found = [_regular(path) for path in entries if _is_text_or_table(path.name) and not path.is_dir()]
    _refuse_parts(folder, found)
    if not found:
        raise InputError(
            f"{folder} has no training text: neither a file named train.txt nor files ending in "
            f"{', '.join((*TEXT_ENDINGS, *TABLE_ENDINGS[:2], TABLE_ENDINGS[-1]))}\n"
            f"{_other_places(folder, entries)}"
        )
    return found


def _other_places(folder: Path, entries: Sequence[Path]) -> str:
    """What to type for the files that a folder holds elsewhere, or with other endings."""
    if any(path.is_dir() and not path.name.startswith(".") for path in entries):
        return f"files of the folders in it: recurlm train '{folder}/**/*.txt'"
    return f"other endings: recurlm train '{folder}/*.ENDING'"


def _refuse_parts(folder: Path, files: Sequence[Path]) -> None:
    parts = {match[1]: path.name for path in files if (match := _PART.fullmatch(path.name.lower()))}
    if len(parts) > 1:
        raise InputError(
            f"{folder} holds the parts of a data set ({', '.join(parts.values())}), and files that are read together "
            "are cut in three again\nname the files to train on, such as: recurlm train "
            f"'{folder}/{'train*' if 'train' in parts else next(iter(parts.values()))}'"
        )


def _regular(path: Path) -> Path:
    """The same path. Raises InputError where it is missing, a link to nothing, a pipe or a device."""
    if path.is_file():
        return path
    if path.exists():
        raise InputError(f"{path} is a pipe or device, a text of its own; write it into a file to read it with others")
    if path.is_symlink():
        raise InputError(f"{path} is a link to a file that is not there; remove the link, or bring the file back")
    raise InputError(f"no file is named {shown_name(path)!r}{did_you_mean(path)}")


def _is_text_or_table(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*TEXT_ENDINGS, *TABLE_ENDINGS))


def _files_of(specification: str) -> Iterator[Path]:
    path = Path(specification)
    if specification == "-":
        raise UsageError("standard input is a text of its own; write it into a file to read it with others")
    if is_pattern(specification):
        matches = sorted(glob.glob(specification, recursive=True))
        files = [_regular(Path(match)) for match in matches if not Path(match).is_dir()]
        if not files:
            raise InputError(f"no file matches {shown_name(specification)}")
        yield from files
    elif path.is_dir():
        yield from files_of_folder(path)
    else:
        yield _regular(path)


def refuse_field(field: str | None) -> None:
    """Raises UsageError for a field of texts that are no records."""
    if field is not None:
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
