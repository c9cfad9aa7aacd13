"""A run's metrics.jsonl as server-sent events: the id of an event is the number of its line."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from recurlm.documents import json_text
from recurlm.files import opened
from recurlm.studio.folder import StudioFolder

PAUSE = 0.5
"""Seconds between two looks at the file."""
QUIET_LOOKS = 30
"""Looks without news before a comment is sent, which notices a client that has gone."""


@dataclass
class GrowingFile:
    """The whole lines of a file that grows, and that is replaced by a shorter one when training resumes."""

    path: Path
    lines: int = 0
    _offset: int = 0
    _file: tuple[int, int] | None = None

    def skip(self, lines: int) -> bool:
        """Passes over lines that a reader has. Returns False, at the start, where the file has fewer."""
        read = self.new_lines()
        if len(read) >= lines:
            self._offset -= sum(len(line) + 1 for line in read[lines:])
            self.lines = lines
            return True
        self.lines = self._offset = 0
        return False

    @property
    def is_replaced(self) -> bool:
        """Whether another file has taken the place of the one read so far."""
        found = self._status()
        return self._file is not None and found is not None and (found[:2] != self._file or found[2] < self._offset)

    def restart(self) -> None:
        """Begins at the first line."""
        self.lines, self._offset, self._file = 0, 0, None

    def new_lines(self) -> list[bytes]:
        """The whole lines since the last look."""
        status = self._status()
        if status is None:
            return []
        self._file = status[:2]
        with opened(self.path) as file:
            file.seek(self._offset)
            whole, _, _ = file.read().rpartition(b"\n")
        if not whole:
            return []
        found = whole.split(b"\n")
        self._offset += len(whole) + 1
        self.lines += len(found)
        return found

    def _status(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino, status.st_size


async def metrics_events(folder: StudioFolder, name: str, after: int, *, follow: bool) -> AsyncIterator[bytes]:
    """The lines after a number of lines, and those to come while the run trains; then `end` with the run's state.

    `reset` says that the lines told before no longer count: the run went on from an earlier step.
    """
    file, quiet = GrowingFile(folder.metrics(name)), 0
    if after and not file.skip(after):
        yield _event("reset", "{}", 0)
    while True:
        state = await asyncio.to_thread(folder.state, name)
        if file.is_replaced:
            file.restart()
            yield _event("reset", "{}", 0)
        first, found = file.lines, file.new_lines()
        for number, line in enumerate(found, first + 1):
            yield f"id: {number}\ndata: {line.decode('utf-8', 'replace')}\n\n".encode()
        if state != "running" or not follow:
            # the state was read before the lines, so none can be missing
            yield _event("end", json_text({"state": state}), file.lines)
            return
        quiet = 0 if found else quiet + 1
        if quiet and quiet % QUIET_LOOKS == 0:
            yield b": waiting\n\n"
        await asyncio.sleep(PAUSE)


def _event(kind: str, data: str, lines: int) -> bytes:
    return f"event: {kind}\nid: {lines}\ndata: {data}\n\n".encode()
