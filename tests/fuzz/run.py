"""Cases of one reader, numbered: the seed, the reader's name and the number give the input."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz.mutate import mutated
from fuzz.reader import Reader
from fuzz.watch import Watch

INPUTS = Path(__file__).parent / "inputs"
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Finding:
    """An input that a reader did wrong with, and what was wrong."""

    reader: str
    reason: str
    content: bytes

    @property
    def name(self) -> str:
        """Of the file that keeps the input."""
        return f"{self.reason.split(':')[0]}-{hashlib.sha256(self.content).hexdigest()[:10]}"

    def keep(self) -> Path:
        """Write the input beside those that failed before."""
        path = INPUTS / self.reader / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path


def case(reader: Reader, seed: int, number: int) -> bytes:
    """The input of this number."""
    return mutated(reader.seeds, reader.form, Random(f"{seed}/{reader.name}/{number}"))


def kept_inputs(reader: Reader) -> dict[str, bytes]:
    """The inputs that once failed, by the names of their files."""
    return {path.name: path.read_bytes() for path in sorted((INPUTS / reader.name).glob("*"))}


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """In memory where the system has such a place: thousands of small files are written there."""
    return tempfile.TemporaryDirectory(prefix="recurlm-fuzz-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)


def findings(reader: Reader, inputs: Iterator[bytes], watch: Watch) -> Iterator[Finding]:
    """What is wrong with these inputs, each kind once."""
    seen = set()
    watch.warm_up(reader)
    for content in inputs:
        reason = watch.finding(reader, content)
        if reason is not None and (kind := ":".join(reason.split(":")[:3])) not in seen:
            seen.add(kind)
            yield Finding(reader.name, reason, content)


def numbered(reader: Reader, seed: int, count: int | None, until: float | None = None) -> Iterator[bytes]:
    """The first `count` inputs, or as many as can be tried before a time of the monotonic clock."""
    number = 0
    while (count is None or number < count) and (until is None or time.monotonic() < until):
        yield case(reader, seed, number)
        number += 1
