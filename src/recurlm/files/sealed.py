"""Folders of the cache that hold what was computed once; each has a seal, a file with the digests of the others."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError
from recurlm.files import digest_of, read_bounded
from recurlm.files.locks import locked
from recurlm.files.partial import discard, sync_folder

_REMEMBERED = 256
"""Number of files whose digests one process remembers."""

Fingerprint = tuple[int, ...]


def write_seal(path: Path, values: Mapping[str, Any]) -> None:
    """Writes values and, as their `files`, the digests of all files beside it; and the digest of all that."""
    files = {each.name: digest_of(each) for each in sorted(path.parent.iterdir())}
    whole = {**values, "files": files}
    path.write_text(json.dumps({"store": whole, "sha256": _digest_of(whole)}, indent=2), encoding="utf-8")


def read_seal(path: Path, format: str) -> dict[str, Any]:
    """The values of a seal whose files are unaltered. Raises CorruptFileError for any other.

    Files that this process has verified and that have not changed since are not read again.
    """
    content = parse_json_object(read_bounded(path, error=CorruptFileError), str(path), file_names=True)
    values = content.get("store")
    if not isinstance(values, dict) or content.get("sha256") != _digest_of(values) or values.get("format") != format:
        raise CorruptFileError(f"{path}: altered since the text was prepared")
    files = values.get("files")
    if not isinstance(files, dict) or not all(_is_record(name, digest) for name, digest in files.items()):
        raise CorruptFileError(f"{path}: describes no prepared text")
    for name, digest in files.items():
        _verify_file(path.parent / name, digest, fingerprint(path.parent / name))
    return values


def move_into_place(unfinished: Path, folder: Path, check: Callable[[], object]) -> None:
    """Gives a finished folder its name; a folder of that name stays where `check` does not raise CorruptFileError.

    Others may be reading it. Every byte is on disk before the folder gets its name, so a power cut leaves no shorter
    file.
    """
    _sync_files(unfinished)
    with locked(folder.parent):
        if folder.exists() or folder.is_symlink():
            with suppress(CorruptFileError):
                check()
                return
            discard(folder)
        os.replace(unfinished, folder)
        sync_folder(folder.parent)


def fingerprint(path: Path) -> Fingerprint:
    """Values that change when a file is replaced or written. Raises CorruptFileError where it is missing."""
    try:
        status = path.stat()
    except OSError as error:
        raise CorruptFileError(f"{path}: missing since the text was prepared") from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_record(name: str, digest: Any) -> bool:
    return isinstance(digest, str) and Path(name).name == name


def _digest_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _sync_files(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


@lru_cache(_REMEMBERED)
def _verify_file(path: Path, digest: str, fingerprint: Fingerprint) -> None:
    """`fingerprint` makes the cache read a file again that was written since."""
    if digest_of(path) != digest:
        raise CorruptFileError(f"{path}: altered since the text was prepared")
