"""What the commands share: data on stdout, progress and messages on stderr, options met more than once."""

import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

PROGRESS_SECONDS = 0.5

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder that `train` wrote.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
DataDirectoryOption = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="RECURLM_DATA_DIR", help="Folder searched for corpora before the network."),
]
CacheDirectoryOption = Annotated[
    Path | None,
    typer.Option("--cache-dir", envvar="RECURLM_CACHE_DIR", help="Folder for downloads and prepared texts."),
]
OfflineOption = Annotated[bool, typer.Option("--offline", envvar="RECURLM_OFFLINE", help="Never use the network.")]
UnknownOption = Annotated[
    str,
    typer.Option(
        "--oov",
        metavar="RULE",
        help="Unknown words: unk, counted as <unk>; skip, not counted; floor:LOGPROB, charged that much in nats.",
    ),
]
StateInOption = Annotated[
    Path | None,
    typer.Option("--state-in", metavar="FILE", help="Go on from this state, instead of from nothing read."),
]
StateOutOption = Annotated[
    Path | None, typer.Option("--state-out", metavar="FILE", help="Keep the state after the text in this file.")
]
DeviceOption = Annotated[str, typer.Option("--device", envvar="RECURLM_DEVICE", help="auto, cpu or cuda.")]


def print_json(value: dict[str, Any] | list[Any]) -> None:
    """One JSON value on one line of stdout; NaN and infinity are refused by the standard and become null."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def readable(token: str) -> str:
    """A token as it can stand in a line: in quotes where it would not be seen."""
    return token if token.isprintable() and token.strip() else repr(token)


def message(text: str) -> None:
    """One plain line on stderr."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """A line on stderr that is written over, where someone looks on: what has been done, how quickly."""

    def __init__(self, total_bytes: int | None) -> None:
        self.total, self.bytes, self.lines, self.tokens = total_bytes, 0, 0, 0
        self.begun = self.shown = time.monotonic()
        self.is_seen = sys.stderr.isatty() and not sys.stdout.isatty()

    def watch(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines, counted as they are read."""
        for line in lines:
            self.bytes += len(line.encode()) + 1
            yield line

    def done(self, tokens: int) -> None:
        """One line more."""
        self.lines += 1
        self.tokens += tokens
        if self.is_seen and time.monotonic() - self.shown > PROGRESS_SECONDS:
            self.shown = time.monotonic()
            self._write(self._text())

    def close(self) -> None:
        """Leave no line behind."""
        if self.is_seen:
            self._write("")

    def _text(self) -> str:
        share = f"{min(self.bytes / self.total, 1):.0%}  " if self.total else ""
        rate = self.tokens / (self.shown - self.begun)
        return f"{share}{self.lines:,} lines  {self.tokens:,} tokens  {rate:,.0f} tokens/s"

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
