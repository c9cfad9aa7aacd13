"""The journal of a run: metrics.jsonl, one JSON object a line."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError
from recurlm.files import append_within, opened, write_within
from recurlm.files.errors import named_errors
from recurlm.files.streams import raw_lines


class Mirror(Protocol):
    """A second sink for log entries, such as TensorBoard."""

    def write(self, entry: Mapping[str, Any]) -> None:
        """Receives one entry."""

    def close(self) -> None:
        """Ends the sink."""


class Journal:
    """metrics.jsonl: one JSON object a line, appended while the run trains. `mirror` receives every entry too.

    Where `writes` is false, another process writes the journal of the run.
    """

    def __init__(self, path: Path, mirror: Mirror | None = None, *, writes: bool = True) -> None:
        self.path, self.mirror, self.writes = path, mirror, writes
        self._file: TextIO | None = None

    @contextmanager
    def open_at(self, *, step: int, epochs: int) -> Iterator[None]:
        """Inside, entries are appended; entries that a killed process wrote beyond this point of the run are removed.

        step: steps done · epochs: whole epochs done.
        """
        if not self.writes:
            yield
            return
        if self.path.exists() or self.path.is_symlink():
            self._remove_beyond(step, epochs)
        self._file = append_within(self.path.parent, self.path.name)
        try:
            yield
        finally:
            self._file.close()
            if self.mirror is not None:
                self.mirror.close()

    def write(self, entry: Mapping[str, Any]) -> None:
        """Appends one object; numbers that JSON cannot hold become null."""
        if not self.writes:
            return
        if self._file is None:
            raise ValueError("the journal is not open")
        cleaned = {key: _finite(value) for key, value in entry.items()}
        with named_errors(self.path):
            self._file.write(json.dumps(cleaned, allow_nan=False) + "\n")
            self._file.flush()
        if self.mirror is not None:
            self.mirror.write(entry)

    def _remove_beyond(self, step: int, epochs: int) -> None:
        with opened(self.path, error=CorruptFileError) as file:
            lines = raw_lines(file, str(self.path))
            kept = [line for line in lines if line.strip() and _belongs(line, step, epochs)]
        write_within(self.path.parent, self.path.name, b"".join(kept))


def _belongs(line: bytes, step: int, epochs: int) -> bool:
    try:
        entry = parse_json_object(line, "metrics")
        if entry.get("event") == "final":
            return False
        return bool(entry["epoch"] <= epochs if entry.get("event") == "epoch" else entry.get("step", 0) <= step)
    except (CorruptFileError, KeyError, TypeError):
        return False


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
