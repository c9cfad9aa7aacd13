"""Every reader of files that may come from outside, by name."""

from fuzz import downloads, foreign_files, own_files
from fuzz.reader import Reader

READERS: dict[str, Reader] = {
    reader.name: reader for reader in (*own_files.READERS, *foreign_files.READERS, *downloads.READERS)
}
