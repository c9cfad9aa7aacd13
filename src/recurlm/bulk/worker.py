"""A worker of `score --out`: loads the model of a job once and scores the texts that it is asked for.

The first request is the job; its answer is the settings that every record holds. The others are texts to score, and
sums to sign.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recurlm.bulk.folder import Record, ScoresFolder
from recurlm.bulk.job import OpenedJob, ScoringJob
from recurlm.devices import keep_freed_memory
from recurlm.errors import InputError, RecurlmError
from recurlm.files import digest_of
from recurlm.scoring.scores import Totals
from recurlm.workers import Tell, Values, serve

TELL_SECONDS = 0.5


class ScoringWorker:
    """Answers the requests of `score_files`."""

    def __init__(self) -> None:
        self._opened: OpenedJob | None = None

    def answer(self, request: dict[str, Any], tell: Tell) -> Values:
        """The settings of a job, the record of a text, or the signature of several texts."""
        if "job" in request:
            keep_freed_memory()
            self._opened = OpenedJob.of(ScoringJob(**request["job"]))
            return {"settings": self._opened.settings(), "remark": self._opened.remark}
        assert self._opened is not None
        if "totals" in request:
            totals = Totals(**request["totals"])
            return {"signature": self._opened.signature(totals, request["texts"], request["seen"])}
        return _scored(self._opened, Path(request["file"]), Path(request["out"]), tell)


def _scored(opened: OpenedJob, file: Path, out: Path, tell: Tell) -> Values:
    """The record of a text, which is scored unless its scores are there. Raises errors that name the text."""
    folder = ScoresFolder(out, opened.job.layout)
    settings = opened.settings()
    try:
        digest = digest_of(file, error=InputError)
        found = folder.finished(file, settings, digest)
        if found is not None:
            return {"record": asdict(found), "skipped": True}
        text = opened.open(str(file))

        def recorded(output: str) -> Record:
            return Record.of(
                text.totals, input=digest, text=text.digest, seen=text.seen, settings=settings, output=output
            )

        pieces = text.output(_unwatched, _Progress(tell).done)
        return {"record": asdict(folder.write(file, pieces, recorded)), "skipped": False}
    except RecurlmError as error:
        said = str(error)
        raise type(error)(said if str(file) in said.partition("\n")[0] else f"{file}: {said}") from error


def _unwatched(lines: Iterable[str]) -> Iterator[str]:
    yield from lines


class _Progress:
    """Tells from time to time how many tokens of a text are scored."""

    def __init__(self, tell: Tell) -> None:
        self._tell, self._told, self._tokens = tell, time.monotonic(), 0

    def done(self, tokens: int) -> None:
        self._tokens += tokens
        if time.monotonic() - self._told > TELL_SECONDS:
            self._tell({"tokens": self._tokens})
            self._told = time.monotonic()


if __name__ == "__main__":
    serve(ScoringWorker().answer)
