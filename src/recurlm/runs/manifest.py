"""The manifest of a folder: the digest of every file, to which a file is held when it is read."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError
from recurlm.files import read_bounded

MANIFEST_FILE = "manifest.json"

Entries = dict[str, str | list[str]]
"""File name to SHA-256; while a file is being replaced, to the digests of the old and the new content."""


def digest(content: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(content).hexdigest()


def accepted_digests(entry: str | list[str]) -> list[str]:
    """The digests that an entry accepts."""
    return [entry] if isinstance(entry, str) else entry


def manifest_bytes(entries: Entries) -> bytes:
    """The content of a manifest."""
    return json.dumps({"sha256": dict(sorted(entries.items()))}, indent=2).encode()


def read_manifest(path: Path) -> Entries:
    """The entries of a manifest. Raises CorruptFileError if the file is missing or damaged."""
    if not path.exists():
        raise CorruptFileError(f"{path}: missing, so the files beside it cannot be verified")
    entries = parse_json_object(read_bounded(path, error=CorruptFileError), str(path)).get("sha256")
    if not isinstance(entries, dict) or not all(map(_is_entry, entries, entries.values())):
        raise CorruptFileError(f"{path}: not a manifest")
    return entries


def read_verified(folder: Path, name: str, entries: Entries, largest: int) -> bytes:
    """The content of a file of at most `largest` bytes, held to its entry.

    Raises CorruptFileError if the file is missing, altered, too large, not a regular file, or has no entry.
    """
    path = folder / name
    if name not in entries:
        raise CorruptFileError(f"{path}: the manifest does not know this file")
    if not os.path.exists(path):  # accepts names too long for any file, which Path.exists does not
        raise CorruptFileError(f"{path}: missing, though the manifest lists it")
    content = read_bounded(path, largest, error=CorruptFileError)
    if digest(content) not in accepted_digests(entries[name]):
        raise CorruptFileError(f"{path}: altered or truncated since it was written (its SHA-256 is another)")
    return content


def _is_entry(name: str, accepted: Any) -> bool:
    """Whether this is the plain name of a file with its digest, or with two digests."""
    plain = name not in ("", ".", "..") and not set(name) & set("/\\\0")
    digests = [accepted] if isinstance(accepted, str) else accepted
    return plain and isinstance(digests, list) and all(isinstance(each, str) for each in digests)
