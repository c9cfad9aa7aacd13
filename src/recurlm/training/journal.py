"""What a run keeps of itself while it trains: metrics.jsonl, one JSON object a line."""

import json
import math
from pathlib import Path
from typing import Any, Protocol

from recurlm.documents import parse_json_object
from recurlm.errors import CorruptFileError
from recurlm.file_errors import named_errors
from recurlm.files import append_within, opened, write_within
from recurlm.streams import raw_lines


class Mirror(Protocol):
    """Someone else who keeps the journal's entries."""

    def write(self, entry: dict[str, Any]) -> None:
        """One entry."""

    def close(self) -> None:
        """No more will come."""


class Journal:
    """metrics.jsonl: one JSON object a line, appended as the run goes on."""

    def __init__(self, path: Path, *, step: int, epochs: int, mirror: Mirror | None = None) -> None:
        """Open after this step and so many whole epochs; what a killed run wrote beyond them is dropped.

        `mirror` gets every entry too.
        """
        self.path, self.mirror = path, mirror
        if path.exists() or path.is_symlink():
            with opened(path, error=CorruptFileError) as file:
                kept = [line for line in raw_lines(file, str(path)) if line.strip() and _belongs(line, step, epochs)]
            write_within(path.parent, path.name, b"".join(kept))
        self._file = append_within(path.parent, path.name)

    def write(self, entry: dict[str, Any]) -> None:
        """Append one object; numbers that JSON cannot hold become null."""
        cleaned = {key: _finite(value) for key, value in entry.items()}
        with named_errors(self.path):
            self._file.write(json.dumps(cleaned, allow_nan=False) + "\n")
            self._file.flush()
        if self.mirror is not None:
            self.mirror.write(entry)

    def close(self) -> None:
        """End the file."""
        self._file.close()
        if self.mirror is not None:
            self.mirror.close()


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
