import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from recurlm.training.journal import Journal


class Kept:
    """A mirror that keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[Mapping[str, Any]] = []
        self.closed = False

    def write(self, entry: Mapping[str, Any]) -> None:
        self.entries.append(entry)

    def close(self) -> None:
        self.closed = True


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_a_killed_process_wrote_beyond_the_checkpoint_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    kept = [
        {"event": "begin"},
        {"event": "step", "step": 7},
        {"event": "epoch", "epoch": 2, "step": 9},
        {"event": "resume", "step": 8},
    ]
    removed = [
        {"event": "step", "step": 9},
        {"event": "epoch", "epoch": 3, "step": 1},
        {"event": "epoch"},
        {"event": "final", "step": 1},
        {"event": "step", "step": "x"},
    ]
    lines = [json.dumps(entry) for pair in zip(kept, removed, strict=False) for entry in pair]
    path.write_text("\n".join([*lines, "", json.dumps(removed[-1]), "[1]", '{"event": "step", "st']))
    with Journal(path).open_at(step=8, epochs=2):
        pass
    assert entries(path) == kept


def test_entries_are_appended_at_once_and_mirrored(tmp_path: Path) -> None:
    path, mirror = tmp_path / "metrics.jsonl", Kept()
    journal = Journal(path, mirror)
    with journal.open_at(step=0, epochs=0):
        journal.write({"event": "step", "loss": math.nan, "lr": -math.inf, "step": 3, "seconds": 0.5})
        assert entries(path) == [{"event": "step", "loss": None, "lr": None, "step": 3, "seconds": 0.5}]
        journal.write({"event": "epoch", "epoch": 1})
        assert not mirror.closed
    assert [entry["event"] for entry in mirror.entries] == ["step", "epoch"]
    assert math.isnan(mirror.entries[0]["loss"])
    assert mirror.closed
    with journal.open_at(step=3, epochs=1):
        journal.write({"event": "step", "step": 4})
    assert [entry["event"] for entry in entries(path)] == ["step", "epoch", "step"]


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl", Kept())
    with pytest.raises(ValueError, match="not open"):
        journal.write({})
    with journal.open_at(step=0, epochs=0):
        pass
    with pytest.raises(ValueError, match="closed"):
        journal.write({})


def test_a_link_in_the_place_of_the_journal_is_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text('{"event": "begin"}\n')
    path = tmp_path / "metrics.jsonl"
    path.symlink_to(outside)
    with Journal(path).open_at(step=0, epochs=0):
        pass
    assert not path.is_symlink()
    assert outside.read_text() == '{"event": "begin"}\n'
